"""The direction of imports, held by what a fresh interpreter has loaded."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

HEAVY = "torch transformers ray adapters peft datasets"
CONCLUDING = "matplotlib scipy sklearn"


def loaded(module: str, forbidden: str) -> list[str]:
    """Which of ``forbidden`` an interpreter holds after importing ``module``."""
    code = f"import sys, {module}; print(*[name for name in {forbidden.split()!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("analysis.results", f"{HEAVY} {CONCLUDING} optuna"),
        ("tunekit", f"{HEAVY} {CONCLUDING}"),
        ("tunekit.schema", f"{HEAVY} pandas numpy"),
        ("tunekit.tasks", f"{HEAVY} sklearn pandas numpy"),
        ("tunekit.planning.plan", HEAVY),
        ("tunekit.store.requests", HEAVY),
        ("tunekit.commands.grid", HEAVY),
        ("tunekit.commands.search", HEAVY),
        ("tunekit.commands.results", f"{HEAVY} optuna"),
        ("tunekit.engine.run", "ray adapters"),
        ("tunekit.methods._bottleneck", "ray adapters peft"),
    ],
)
def test_what_must_stay_light_stays_light(module, forbidden):
    assert loaded(module, forbidden) == []


def test_the_check_can_fail():
    assert loaded("tunekit.runner.trainables", HEAVY) != []
