"""The direction of imports, held by what a fresh interpreter has loaded."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

HEAVY = "torch transformers ray adapters peft datasets"
CONCLUDING = "matplotlib scipy sklearn"


def loaded(modules: str, forbidden: str) -> list[str]:
    """Which of ``forbidden`` an interpreter holds after importing ``modules``."""
    code = f"import sys, {modules}; print(*[name for name in {forbidden.split()!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("tunekit.schema, tunekit.tasks", f"{HEAVY} sklearn pandas numpy"),
        ("tunekit, tunekit.commands.results, analysis.results", f"{HEAVY} {CONCLUDING} optuna"),
        ("tunekit.planning.plan, tunekit.store.requests, tunekit.commands.grid, tunekit.commands.search", HEAVY),
        ("tunekit.engine.run, tunekit.methods._bottleneck", "ray adapters peft"),
    ],
)
def test_what_must_stay_light_stays_light(modules, forbidden):
    assert loaded(modules, forbidden) == []


def test_the_check_can_fail():
    assert loaded("tunekit.runner.trainables", HEAVY) != []
