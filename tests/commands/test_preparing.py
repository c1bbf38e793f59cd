"""Before a run: what is tried with PyTorch and what is trusted, and how memory limits the trials at a time."""

import json
import subprocess
import sys

import pytest

import tunekit as tk
from tests.conftest import ROOT
from tests.support.model_folders import byte_level, write_model
from tests.support.trials import build, specify
from tunekit.commands import preparing
from tunekit.engine.memory import predicted_peak
from tunekit.memory.trial import PROCESS_BYTES
from tunekit.planning.options import RunOptions
from tunekit.planning.plan import plan_sweep
from tunekit.store.result_store import ResultStore

DRIVER = """
import contextlib, json, sys
from tunekit.commands import training

def train(*rest, **more):
    import tunekit.runner.grid
    from ray.air._internal import usage
    from ray.tune.utils.callback import _create_default_callbacks
    callbacks = _create_default_callbacks([])
    usage.tag_callbacks(callbacks)
    loggers = [type(one).__name__ for one in callbacks]
    print(json.dumps([loggers, sorted(sys.modules)]))
    sys.exit(0)

training.start_ray = lambda options, num_trials: contextlib.nullcontext()
training.train = train
from tunekit.commands.command_line import main
main(sys.argv[1:])
"""
"""A driver up to the first trial, without a Ray; it prints the loggers of Tune and the modules that it has loaded."""
HEAVY = {"torch", "transformers", "adapters", "peft", "sklearn", "optuna", "mlflow", "wandb"}
FREE = 2_400_000_000


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Prepare the trials of a block with so many bytes free: the resources, the notes, and whether models were tried.

    A trial that is tried takes 100 MiB beside its process.
    """

    def prepare(free=10**12, side_by_side=1, **block):
        tried, notes = [], []
        monkeypatch.setattr(preparing, "_try_models", lambda *rest: tried.append(1) or PROCESS_BYTES + 100 * 2**20)
        monkeypatch.setattr(preparing.machine, "free_bytes", lambda: free)
        monkeypatch.setattr(preparing.machine, "cores", lambda: 4)
        chosen = {"models": ("tiny-bert",), "datasets": ("demo",), "methods": ("full",), "seeds": (1, 2, 3, 4)} | block
        sweep, store = tk.plan(tk.Block(**chosen)), ResultStore(tmp_path / "sweep")
        store.root.mkdir(exist_ok=True)
        pending = plan_sweep(sweep, store).pending(retry_failed=False)
        resources = preparing.prepare(
            sweep, pending, store, RunOptions(), notes.append, num_trials=4, side_by_side=side_by_side
        )
        return resources.max_concurrent, notes, bool(tried)

    return prepare


@pytest.mark.slow
def test_the_driver_of_models_that_come_with_tunekit_loads_no_torch(tmp_path):
    words = ["run", "--models", "minilm", "tiny-roberta", "--methods", "full", "lora", "--datasets", "demo"]
    run = subprocess.run(
        [sys.executable, "-c", DRIVER, *words, "--storage", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    loggers, loaded = json.loads(run.stdout)
    assert "TBXLoggerCallback" in loggers
    assert "tensorboardX" in loaded
    assert not HEAVY & set(loaded)


def test_what_comes_with_tunekit_is_not_tried(prepared):
    limit, notes, tried = prepared()
    assert (limit, tried) == (None, False)
    assert any(line.startswith("Demo: 600 train") for line in notes)


def test_a_folder_of_the_users_own_is_tried(prepared, tmp_path):
    folder = write_model(tmp_path / "model", byte_level(), {}, model_type="roberta")
    assert prepared(models=(str(folder),), methods=("head",))[2]


def test_a_precision_that_not_every_machine_computes_is_tried(prepared):
    assert prepared(precision="bf16")[2]


def test_a_plugin_is_tried(prepared, monkeypatch):
    monkeypatch.setattr(preparing.plugins, "active", lambda: ("plugin",))
    assert prepared()[2]


def test_models_are_tried_where_memory_may_be_short(prepared):
    """A process takes 530 MiB, and a trial that was tried 100 more: three find room, and one of eight together."""
    limit, notes, tried = prepared(free=FREE, epochs=1, batch_size=600)
    assert (limit, tried) == (3, True)
    assert notes[-1].startswith("3 of 4 trials at a time")
    assert prepared(free=FREE, side_by_side=8)[0] == 1


@pytest.mark.parametrize("method", ["full", "lora", "adapter", "pfeiffer", "head"])
@pytest.mark.parametrize("model", ["tiny-bert", "tiny-roberta", "tiny-modernbert"])
def test_no_trial_exceeds_the_bytes_that_its_longest_text_stands_for(model, method):
    spec = specify(model=model, method=method, epochs=1, train_limit=None, batch_size=8)
    built, network = build(spec)
    exact = predicted_peak(spec, network.config.to_dict(), built.splits, len(built.data.label_names), gpu=False)
    trial = type("Planned", (), {"spec": spec})
    most = preparing._most_bytes([trial], {"demo": built.data})
    exact, most = exact - PROCESS_BYTES, most - PROCESS_BYTES
    assert exact / 1.01 < most < 20 * exact
    longest = max(int(split.tokens.lengths.max()) for split in built.splits.values())
    assert longest <= preparing._longest_text(built.data) + preparing.MOST_SPECIAL_TOKENS
