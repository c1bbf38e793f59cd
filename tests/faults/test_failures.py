"""What goes wrong inside a trial is classed: retried where that may help, ended where not, said in either case."""

from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from tests.support.runs import finish, numbers
from tests.support.trials import fingerprint, specify, start
from tunekit.engine.host_steps import HostSteps
from tunekit.engine.job import Job
from tunekit.engine.train import Diverged, Pack
from tunekit.errors import UserError
from tunekit.models.loading import resolve_model
from tunekit.parsing import strict_json
from tunekit.runner.trainables import SearchTrainable, TrialTrainable
from tunekit.schema import Status
from tunekit.storage.lease import Superseded
from tunekit.store.result_store import ResultStore
from tunekit.tasks import TASKS
from tunekit.worker import attempt as runner_attempt
from tunekit.worker.attempt import IO_PAUSES_SECONDS, Attempt
from tunekit.worker.failures import Failure, classify

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds that were waited, without the wait."""
    seconds = []
    monkeypatch.setattr(runner_attempt, "time", SimpleNamespace(sleep=seconds.append))
    return seconds


def job_for(spec, sweep):
    return Job(spec, fingerprint(spec), resolve_model(spec.model), sweep, 0, 1)


def ended(attempt):
    while attempt.status is None:
        attempt.step()
    return ResultStore(attempt.job.sweep).read(ResultStore(attempt.job.sweep).folder(attempt.job.spec))


def log_of(trial):
    return (trial.folder / "log.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Diverged("x"), Failure.DIVERGED),
        (UserError("x"), Failure.CONFIGURATION),
        (MemoryError(), Failure.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("x"), Failure.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), Failure.OUT_OF_MEMORY),
        (OSError(28, "No space left on device"), Failure.IO),
        (TimeoutError(), Failure.IO),
        (Superseded("x"), Failure.OTHER),
        (RuntimeError("CUDA error: an illegal memory access"), Failure.OTHER),
        (RuntimeError("CUDA error: device-side assert triggered"), Failure.DEFECT),
        (RuntimeError("the host of this GPU has no place for a"), Failure.OTHER),
        (IndexError("index out of range in self"), Failure.DEFECT),
        (KeyError("x"), Failure.DEFECT),
        (TypeError("x"), Failure.DEFECT),
        (ValueError("x"), Failure.DEFECT),
        (AssertionError(), Failure.DEFECT),
        (RecursionError("x"), Failure.DEFECT),
    ],
)
def test_classes(error, failure):
    assert classify(error) is failure


@pytest.mark.parametrize("place", ["write_steps", "write_predictions", "write_epochs", "write_summary", "checkpoint"])
def test_an_io_error_that_passes_changes_no_bit(place, tmp_path, monkeypatch, waits, figures):
    spec = specify(epochs=3)
    whole = start(spec, tmp_path / "unbroken")
    finish(whole)
    left = [OSError(28, "No space left on device"), OSError(5, "Input/output error")]
    owner = ResultStore if place != "checkpoint" else runner_attempt.TrialRun.__init__.__globals__["checkpoint"]
    name = place if place != "checkpoint" else "save_checkpoint"
    write = getattr(owner, name)

    def failing(*args, **kwargs):
        if left and (place == "write_summary" or attempt.records):
            raise left.pop()
        return write(*args, **kwargs)

    monkeypatch.setattr("tunekit.engine.run.CHECKPOINT_SPACING", 0)  # a slow disk must not space them out here
    attempt = Attempt(job_for(spec, tmp_path / "broken"))
    monkeypatch.setattr(owner, name, failing)
    trial = ended(attempt)
    assert trial.summary.status is Status.COMPLETED
    assert numbers(trial.epochs) == numbers(whole.records)
    assert (trial.folder / "steps.csv").read_bytes() == (whole.folder / "steps.csv").read_bytes()
    assert waits == list(IO_PAUSES_SECONDS[:2])
    assert log_of(trial).count("I/O error") == len(attempt.notes) == 2
    figures("I/O error in a writer", faults=2, missing=0, duplicate=0, differing=0)


def test_an_io_error_that_stays_is_raised_and_the_older_checkpoint_is_whole(tmp_path, monkeypatch):
    attempt = Attempt(job_for(specify(epochs=3), tmp_path))
    attempt.step()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("tunekit.store.result_store.write_atomic", full)
        disk.setattr("tunekit.engine.checkpoint.write_atomic", full)
        with pytest.raises(OSError, match="No space left"):
            attempt.step()
    trial = ended(Attempt(attempt.job))
    assert trial.summary.status is Status.COMPLETED
    assert "going on after epoch 1 of 3" in log_of(trial)


def short_of_memory(monkeypatch, most):
    """A device that holds batches of at most ``most`` examples, from the third step on."""
    loss = HostSteps.loss

    def limited(self, indices, number=0, part=0):
        if self.members[0].step + number >= 2 and len(indices[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return loss(self, indices, number, part)

    monkeypatch.setattr(HostSteps, "loss", limited)


def test_exhausted_memory_halves_the_micro_batch_and_says_so(tmp_path, monkeypatch, figures):
    short_of_memory(monkeypatch, 10)
    attempt = Attempt(job_for(specify(epochs=3, batch_size=32), tmp_path))
    trial = ended(attempt)
    assert trial.summary.status is Status.COMPLETED
    assert trial.summary.execution["micro_batches"] == 4
    assert [record.step for record in trial.epochs] == [2, 4, 6], "the effective batch stays"
    assert log_of(trial).count("trying again with") == len(attempt.notes) == 2
    figures("out of memory", faults=2, missing=0, duplicate=0)


def test_memory_that_holds_no_single_example_ends_the_trial(tmp_path, monkeypatch):
    short_of_memory(monkeypatch, 0)
    trial = ended(Attempt(job_for(specify(epochs=3, batch_size=32), tmp_path)))
    assert trial.summary.status is Status.OUT_OF_MEMORY
    assert trial.summary.execution["micro_batches"] == 32
    assert not (trial.folder / "checkpoint").exists()


def test_epochs_of_a_former_micro_batch_do_not_stand_behind_later_ones(tmp_path):
    job = job_for(specify(epochs=4), tmp_path)
    attempt = Attempt(job)
    attempt.step()
    attempt.run.write_seconds = 1e6  # no checkpoint after the first epoch
    attempt.step()
    attempt.step()
    again = Attempt(replace(job, micro_batches=2))
    again.step()
    assert len(ResultStore(tmp_path).read(again.run.folder).epochs) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("kind", "epoch"), [("grid", 1), ("grid", 3), ("search", 2)])
def test_divergence_ends_a_trial_at_once(kind, epoch, value, tmp_path, monkeypatch, waits, figures):
    spec = specify(epochs=3, score_test=kind == "grid")
    job = job_for(spec, tmp_path)
    trainable = object.__new__(TrialTrainable if kind == "grid" else SearchTrainable)
    if kind == "grid":
        trainable.setup({"trial": {"trial_id": spec.trial_id}}, jobs={spec.trial_id: job})
    else:
        config = {"study": "s", "specs": [spec.to_dict()]}
        trainable.setup({"trial": config}, bases={"s": job}, metrics={"s": TASKS["classification"].chooses_by})
    epochs, train = count(1), Pack.train_epoch

    def poisoned(pack):
        if next(epochs) == epoch:
            with torch.no_grad():
                pack.members[0].model.classifier.weight.fill_(value)
        return train(pack)

    monkeypatch.setattr(Pack, "train_epoch", poisoned)
    for _ in range(epoch - 1):
        assert not trainable.step().get("done")
    result = trainable.step()
    assert (result["done"], result["status"]) == (True, "diverged")
    store = ResultStore(tmp_path)
    trial = store.read(store.folder(spec))
    assert (trial.summary.status, len(trial.epochs), waits) == (Status.DIVERGED, epoch - 1, [])
    for path in trial.folder.glob("*.json*"):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            strict_json(line)
    assert not (trial.folder / "checkpoint").exists()
    figures(f"divergence in a {kind}", faults=1)
