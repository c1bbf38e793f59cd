"""A tracked sweep, from its command to each tracker's own client, which shows what the store holds."""

from importlib.util import find_spec

import pytest

from tests.support.trackers import logged, needs
from tunekit.commands.command_line import main
from tunekit.store.result_store import ResultStore
from tunekit.trackers.available import PACKAGES

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("cluster"), pytest.mark.timeout(400)]
CELLS = ["--models", "tiny-bert", "--datasets", "demo", "--methods", "full", "lora", "--seeds", "1"]
SHRUNK = ["--train-limit", "48", "--epochs", "2", "--max-concurrent", "1"]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, cluster):
    """A sweep with every tracker that is installed, run twice, as a user who repeats the command does.

    Return its folder and its trials.
    """
    folder = tmp_path_factory.mktemp("tracked")
    words = ["run", *CELLS, *SHRUNK, "--sweep", "tracked", "--storage", str(folder)]
    words += ["--track", *(name for name, package in PACKAGES.items() if find_spec(package))]
    with pytest.MonkeyPatch.context() as patched:
        for name in ("MLFLOW_TRACKING_URI", "WANDB_BASE_URL"):
            patched.delenv(name, raising=False)
        patched.setenv("WANDB_MODE", "offline")
        assert main(words) == main(words) == 0
    store = ResultStore(folder / "tracked")
    trials, damaged = store.trials()
    assert (len(trials), damaged) == (2, [])
    return store.root, trials


def curve(trial) -> list[tuple[int, float]]:
    """Each epoch's macro-F1 on validation, as the store has it."""
    return [(one.epoch, one.val_macro_f1) for one in trial.epochs]


def test_tensorboard(tracked):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder, trials = tracked
    for trial in trials:
        [run] = (folder / "tensorboard").glob(f"*{trial.spec.trial_id[:8]}")
        events = reader.EventAccumulator(str(run)).Reload()
        scalars = events.Scalars("val_macro_f1")
        assert [one.step for one in scalars] == [epoch for epoch, _ in curve(trial)]
        assert [one.value for one in scalars] == pytest.approx([score for _, score in curve(trial)])


@needs("mlflow")
def test_mlflow_with_sqlite(tracked):
    from mlflow.tracking import MlflowClient

    folder, trials = tracked
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tracked").experiment_id])
    assert len(runs) == len(trials)
    for trial in trials:
        [run] = [one for one in runs if one.data.params["trial_id"] == trial.spec.trial_id]
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "val_macro_f1")
        assert sorted((one.step, one.value) for one in history) == curve(trial)
        assert run.data.metrics["final_test_macro_f1"] == trial.epochs[-1].test_macro_f1


@needs("wandb")
def test_wandb_offline(tracked):
    folder, trials = tracked
    for trial in trials:
        [run] = (folder / "wandb").glob(f"offline-run-*-{trial.spec.trial_id}-*/run-*.wandb")
        assert [(row["_step"], row["val_macro_f1"]) for row in logged(run)] == curve(trial)
