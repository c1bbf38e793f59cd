"""Trackers are fed from a store; each is read back by its own reader, and none shows an epoch twice."""

import threading
import time
from dataclasses import replace

import pytest

from tests.support.canaries import holding
from tests.support.records import FINGERPRINT, record, summary
from tests.support.trackers import logged, needs
from tests.support.trials import specify
from tunekit.schema import Status, TrialSpec
from tunekit.store.result_store import ResultStore
from tunekit.trackers import feed as feed_module
from tunekit.trackers.feed import Feed, Feeds, reason_of

SPECS = [specify(seed=1), specify(seed=2), specify(seed=1, learning_rate=1e-3)]
CANARIES = {
    "WANDB_API_KEY": "c0ffee" * 6 + "1234",
    "MLFLOW_TRACKING_PASSWORD": "hunter2-canary",
    "SOME_TOKEN": "tok-9876",
}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty sweep, with secrets in the environment and no tracker's server configured."""
    for name in ("MLFLOW_TRACKING_URI", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(feed_module, "CLOSE_SECONDS", 200.0)
    root = tmp_path / "sweep"
    root.mkdir()
    return ResultStore(root)


def write(store: ResultStore, spec: TrialSpec, epochs: int, status: Status | None = None) -> TrialSpec:
    """The trial's records up to an epoch, and its end."""
    folder = store.open_trial(spec, FINGERPRINT)
    store.write_epochs(folder, [record(epoch) for epoch in range(1, epochs + 1)])
    if status:
        store.write_summary(folder, summary(status, None if status is Status.COMPLETED else "broke"))
    return spec


def two_starts(name: str, store: ResultStore) -> list[str]:
    """A sweep that was stopped and goes on, and is then run once more; returns what was said."""
    notes: list[str] = []
    with Feeds([name], store, notes.append) as feeds:
        feeds.add([write(store, SPECS[0], 1)])
        feeds.add([write(store, SPECS[0], 2), write(store, SPECS[1], 2, Status.COMPLETED)])
    with Feeds([name], store, notes.append) as feeds:
        feeds.add([write(store, SPECS[0], 1)])  # taken up from an earlier checkpoint
        feeds.add([write(store, SPECS[0], 3, Status.COMPLETED), write(store, SPECS[2], 1, Status.DIVERGED)])
    with Feeds([name], store, notes.append) as feeds:
        feeds.add(SPECS)
    return notes


def test_tensorboard_shows_each_epoch_once_under_readable_names(store):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert two_starts("tensorboard", store) == []
    runs = {path.name: path for path in (store.root / "tensorboard").iterdir()}
    assert set(runs) == {f"{spec.label} · {spec.trial_id[:8]}" for spec in SPECS}
    for spec, epochs in zip(SPECS, (3, 2, 1), strict=True):
        events = reader.EventAccumulator(str(runs[f"{spec.label} · {spec.trial_id[:8]}"])).Reload()
        assert [(one.step, one.value) for one in events.Scalars("val_macro_f1")] == [
            (n, 0.5) for n in range(1, epochs + 1)
        ]
        assert [one.step for one in events.Scalars("final_test_macro_f1")] == [epochs]
        assert "_hparams_/session_start_info" in events.summary_metadata
        content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        assert b"lora.r" in content
        assert b"learning_rate" in content
    assert holding(store.root, CANARIES.values()) == []


@needs("mlflow")
@pytest.mark.timeout(240)
@pytest.mark.slow
def test_mlflow_shows_each_epoch_once(store):
    assert two_starts("mlflow", store) == []
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{store.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sweep")
    runs = {run.data.params["trial_id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {spec.trial_id for spec in SPECS}
    for spec, epochs, status in zip(SPECS, (3, 2, 1), ("FINISHED", "FINISHED", "FAILED"), strict=True):
        run = runs[spec.trial_id]
        assert run.info.status == status
        assert run.info.run_name.startswith(spec.label)
        assert run.data.params["lora.r"] == str(spec.method_params["r"])
        history = client.get_metric_history(run.info.run_id, "val_macro_f1")
        assert sorted((one.step, one.value) for one in history) == [(n, 0.5) for n in range(1, epochs + 1)]
        assert run.data.metrics["final_test_macro_f1"] == 0.5
    assert holding(store.root, CANARIES.values()) == []


@needs("wandb")
@pytest.mark.timeout(240)
def test_wandb_offline_runs_hold_each_epoch_once(store):
    assert two_starts("wandb", store) == []
    for spec, epochs in zip(SPECS, (3, 2, 1), strict=True):
        [run] = (store.root / "wandb").glob(f"offline-run-*-{spec.trial_id}-*/run-*.wandb")
        rows = logged(run)
        assert [(row["_step"], row["val_macro_f1"]) for row in rows] == [(n, 0.5) for n in range(1, epochs + 1)]
    assert holding(store.root, CANARIES.values()) == []


class Stub:
    """A tracker under the test's hand."""

    def __init__(self) -> None:
        self.synced: list[int] = []

    def sync(self, trial) -> None:
        self.synced.append(len(trial.epochs))

    def close(self) -> None:
        pass


def ended(feed: Feed, seconds: float) -> None:
    feed.finish()
    feed.wait(seconds)


def test_a_tracker_that_raises_is_said_once_without_secrets_and_gets_all_when_it_is_back(store):
    class Down(Stub):
        down = True

        def sync(self, trial) -> None:
            if self.down:
                raise ConnectionError(f"no route to https://me:pw@host/?k={CANARIES['SOME_TOKEN']}\nmore")
            super().sync(trial)

    notes: list[str] = []
    tracker = Down()
    feed = Feed("stub", store, lambda: tracker, notes.append)
    for epochs in (1, 2):
        feed.add([write(store, SPECS[0], epochs)])
        time.sleep(0.1)
    assert len(notes) == 1
    assert notes[0].startswith("stub: ConnectionError: no route to https://***@host/?k=***; trials go on")
    Down.down = False
    ended(feed, 30)
    assert (tracker.synced, len(notes)) == ([2], 1)


def test_what_a_tracker_never_took_is_said_at_the_end(store):
    def broken() -> Stub:
        raise ImportError("no such thing")

    notes: list[str] = []
    feed = Feed("stub", store, broken, notes.append)
    feed.add([write(store, SPECS[0], 1)])
    ended(feed, 30)
    assert notes[0].startswith("stub: ImportError: no such thing")
    assert notes[1] == "stub: 1 trial not tracked in full; the same command sends the rest"


def test_a_tracker_that_hangs_holds_nobody_up(store):
    class Hanging(Stub):
        go = threading.Event()

        def sync(self, trial) -> None:
            self.go.wait(60)
            super().sync(trial)

    notes: list[str] = []
    tracker = Hanging()
    feed = Feed("stub", store, lambda: tracker, notes.append)
    for number in range(50):
        feed.add([write(store, SPECS[0], 1 + number % 3), SPECS[1]])
    assert len(feed._waiting) <= 2  # as many as there are trials, not as there were epochs
    ended(feed, 0.3)
    assert notes == ["stub: 2 trials not tracked in full; the same command sends the rest"]
    tracker.go.set()


def test_other_code_of_the_same_trial_is_another_run(store):
    from tunekit.trackers.tracker import run_key

    folder = store.open_trial(SPECS[0], FINGERPRINT)
    first = run_key(store.read(folder))
    other = store.open_trial(SPECS[0], replace(FINGERPRINT, code="other"))
    assert run_key(store.read(other)) != first


@pytest.mark.parametrize(
    ("name", "message"), [("comet", "unknown tracker 'comet'"), ("wandb", "--track wandb needs the package wandb")]
)
def test_an_unknown_tracker_or_a_missing_package_is_one_line_before_work(grid, monkeypatch, name, message):  # noqa: F811
    monkeypatch.setattr("tunekit.trackers.available.find_spec", lambda package: None)
    code, out, err = grid("--preset", "demo", "--track", name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_reason_is_one_short_line():
    assert reason_of(ValueError("")) == "ValueError: "
    assert len(reason_of(ValueError("x" * 999))) == 300
    assert feed_module.STOP_SECONDS < feed_module.CLOSE_SECONDS
