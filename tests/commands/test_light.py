"""Commands that train nothing answer at once: what a fresh interpreter holds after help, a typo, a plan or a status."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from tests.conftest import ROOT
from tests.support.model_folders import byte_level, write_model
from tests.support.stores import ask
from tunekit.commands.command_line import COMMANDS
from tunekit.store.result_store import ResultStore

HEAVY = ("torch", "ray", "transformers", "adapters", "peft", "sklearn", "scipy", "matplotlib", "statsmodels")
FOR_DATA = ("pandas", "pyarrow", "datasets")
RUN = """
import contextlib, io, json, sys
from tunekit.commands.command_line import main
found = []
for words in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = main(words)
        except SystemExit as left:
            code = left.code or 0
    found.append((code, sorted(sys.modules), out.getvalue()))
print(json.dumps(found))
"""
TYPOS = [
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
]


def found_by(*commands: Sequence[object], run: str = RUN) -> Iterator[tuple[int, set[str], str]]:
    """Run commands one after another in a fresh interpreter.

    Yields for each its exit code, the modules that it and those before it have loaded, and its standard output.
    """
    words = json.dumps([[str(word) for word in words] for words in commands])
    done = subprocess.run([sys.executable, "-c", run, words], capture_output=True, text=True, cwd=ROOT, check=True)
    for code, loaded, out in json.loads(done.stdout):
        yield code, set(loaded), out


@pytest.mark.slow
def test_help_loads_nothing_heavy():
    commands = [["--help"], *([name, "--help"] for name in COMMANDS)]
    for words, (code, loaded, out) in zip(commands, found_by(*commands), strict=True):
        assert code == 0, words
        assert "tunekit" in out, words
        assert not loaded & {*HEAVY, *FOR_DATA}, words


@pytest.mark.slow
def test_a_typo_loads_nothing_heavy():
    for words, (code, loaded, _) in zip(TYPOS, found_by(*TYPOS), strict=True):
        assert code == 2, words
        assert not loaded & {*HEAVY, *FOR_DATA}, words


@pytest.mark.slow
def test_a_dry_run_over_a_store_and_its_status_load_nothing_heavy(tmp_path, make_spec):
    ask(ResultStore(tmp_path / "demo"), [make_spec()])
    plans = [["run"], ["run", "--preset", "demo"], ["search", "--preset", "demo"]]
    commands = [
        ["status", tmp_path / "demo"],
        *([*plan, "--dry-run", "--storage", tmp_path] for plan in plans),
        *([*plan, "--dry-run", "--format", "json", "--storage", tmp_path / "new"] for plan in plans),
    ]
    for words, (code, loaded, out) in zip(commands, found_by(*commands), strict=True):
        assert code == 0, words
        assert out, words
        assert not loaded & set(HEAVY), words


@pytest.mark.slow
def test_a_dry_run_over_a_folder_of_a_model_loads_nothing_heavy(tmp_path):
    folder = write_model(tmp_path / "model", byte_level(), {}, model_type="roberta", max_shard_size="3KB")
    words = ("run", "--models", folder, "--methods", "full", "--datasets", "demo", "--dry-run", "--storage", tmp_path)
    ((code, loaded, out),) = found_by(words)
    assert code == 0
    assert "heads are drawn from the seed" in out
    assert not loaded & set(HEAVY)


@pytest.mark.slow
def test_import_tunekit_loads_nothing_heavy():
    code = "import sys, tunekit; assert tunekit.Block and tunekit.plan; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & set(HEAVY)


@pytest.mark.slow
def test_the_driver_of_a_grid_or_search_loads_no_torch_with_the_runner():
    code = "import sys, tunekit.runner.grid, tunekit.runner.search; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "ray.tune" in loaded
    assert not loaded & {"torch", "transformers", "sklearn", "scipy"}


@pytest.mark.slow
def test_ray_can_start_before_ray_tune_is_loaded():
    code = "import sys, tunekit.runner.session; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "ray" in loaded
    assert not loaded & {"ray.tune", "torch", "pandas"}


@pytest.mark.slow
def test_the_check_can_fail():
    run = RUN.replace("code = main(words)", "import scipy, pandas; code = 0")
    [(_, loaded, _)] = found_by(["--help"], run=run)
    assert {"scipy", "pandas"} <= loaded
