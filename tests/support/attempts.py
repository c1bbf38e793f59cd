"""Attempts in the test's process, alone and side by side, and their records compared with those of runs alone."""

from pathlib import Path

import pytest

from tests.support.runs import finish
from tests.support.trials import fingerprint, specify, start
from tunekit.engine.job import Job
from tunekit.models.loading import resolve_model
from tunekit.schema import Status, TrialSpec
from tunekit.store.result_store import ResultStore
from tunekit.worker.attempt import Attempt
from tunekit.worker.pack_trainer import PackTrainer

CLOSE = 1e-4


def job_for(spec: TrialSpec, sweep: Path, *, runs_ahead: bool = False) -> Job:
    return Job(spec, fingerprint(spec), resolve_model(spec.model), sweep, 0, 1, runs_ahead=runs_ahead)


def specs(**changes: object) -> list[TrialSpec]:
    return [specify(seed=seed, **changes) for seed in (1, 2, 3)]


def run_out(pack_trainer: PackTrainer, attempts: list[Attempt]) -> None:
    while any(attempt.status is None for attempt in attempts):
        assert not any(pack_trainer.advance([one for one in attempts if one.status is None]).values())


def assert_as_alone(spec: TrialSpec, sweep: Path, scratch: Path, pack_size: int) -> None:
    """The trial's records are those of a run alone, to the last digits."""
    found = ResultStore(sweep).read(ResultStore(sweep).folder(spec))
    alone = start(spec, scratch)
    finish(alone)
    assert found.summary.status is Status.COMPLETED
    assert found.summary.execution["pack_size"] == pack_size
    assert [r.epoch for r in found.epochs] == [r.epoch for r in alone.records]
    for ours, theirs in zip(found.epochs, alone.records, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, abs=CLOSE)
        assert ours.test_loss == pytest.approx(theirs.test_loss, abs=CLOSE)
    assert not (found.folder / "checkpoint").exists()
