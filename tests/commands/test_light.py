"""Commands that train nothing answer at once: what a fresh interpreter holds after help, a typo, a plan or a status."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.support.model_folders import byte_level, write_model
from tests.support.stores import ask
from tunekit.commands.command_line import COMMANDS
from tunekit.store.result_store import ResultStore

HEAVY = ("torch", "ray", "transformers", "adapters", "peft", "sklearn", "scipy", "matplotlib", "statsmodels")
FOR_DATA = ("pandas", "pyarrow", "datasets")
RUN = """
import sys
from tunekit.commands.command_line import main
try:
    code = main(sys.argv[1:])
except SystemExit as left:
    code = left.code or 0
sys.stderr.write(" ".join(["LOADED", *sys.modules]))
sys.exit(code)
"""


def loaded_by(*words: object) -> tuple[int, set[str], str]:
    """Run a command in a fresh interpreter: its exit code, the packages that were loaded, and its standard output."""
    command = [sys.executable, "-c", RUN, *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return run.returncode, set(run.stderr.rpartition("LOADED")[2].split()), run.stdout


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_loads_nothing_heavy(words):
    code, loaded, out = loaded_by(*words)
    assert code == 0
    assert "tunekit" in out
    assert not loaded & {*HEAVY, *FOR_DATA}


@pytest.mark.parametrize(
    "words",
    [
        ["exprot"],
        *([name, "--nonsense"] for name in COMMANDS),
        ["run", "--models", "bertt", "--methods", "full"],
        ["run", "--datasets", "demoo"],
        ["run", "--preset", "demmo"],
        ["run", "--method-params", "lora.rank=3"],
        ["search", "--preset", "demo", "--sampler", "grid"],
        ["search", "--models", "bertt", "--methods", "full"],
        ["run", "--config", "nothere.yaml"],
        *([name, "nothere"] for name in ("status", "verify", "audit", "gc")),
        ["export", "nothere", "--to", "x", "--model", "minilm", "--dataset", "demo", "--method", "lora"],
        ["predict", "nothere", "rows.csv"],
        ["report", "nothere", "--out", "o"],
        ["paper", "nothere.yaml", "--out", "o"],
        ["doctor", "nothere.yaml"],
        ["memory", "--model", "bertt"],
    ],
    ids=" ".join,
)
def test_a_typo_loads_nothing_heavy(words):
    code, loaded, _ = loaded_by(*words)
    assert code == 2
    assert not loaded & {*HEAVY, *FOR_DATA}


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("words", [["run"], ["run", "--preset", "demo"], ["search", "--preset", "demo"]], ids=" ".join)
def test_a_dry_run_loads_nothing_heavy(words, form, tmp_path):
    code, loaded, out = loaded_by(*words, "--dry-run", "--format", form, "--storage", tmp_path)
    assert code == 0
    assert out
    assert not loaded & set(HEAVY)


def test_a_dry_run_over_a_store_and_its_status_load_nothing_heavy(tmp_path, make_spec):
    ask(ResultStore(tmp_path / "demo"), [make_spec()])
    for words in (["status", tmp_path / "demo"], ["run", "--preset", "demo", "--dry-run", "--storage", tmp_path]):
        code, loaded, _ = loaded_by(*words)
        assert code == 0
        assert not loaded & set(HEAVY)


def test_a_dry_run_over_a_folder_of_a_model_loads_nothing_heavy(tmp_path):
    folder = write_model(tmp_path / "model", byte_level(), {}, model_type="roberta", max_shard_size="3KB")
    words = ("run", "--models", folder, "--methods", "full", "--datasets", "demo", "--dry-run", "--storage", tmp_path)
    code, loaded, out = loaded_by(*words)
    assert code == 0
    assert "heads are drawn from the seed" in out
    assert not loaded & set(HEAVY)


def test_import_tunekit_loads_nothing_heavy():
    code = "import sys, tunekit; assert tunekit.Block and tunekit.plan; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & set(HEAVY)


def test_the_check_can_fail():
    run = RUN.replace("code = main(sys.argv[1:])", "import sklearn, pandas; code = 0")
    loaded = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False).stderr.split()
    assert {"sklearn", "pandas"} <= set(loaded)
