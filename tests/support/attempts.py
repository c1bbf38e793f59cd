"""Attempts in the test's process, alone and side by side, and their records compared with those of runs alone."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.runs import finish
from tests.support.trials import fingerprint, specify, start
from tunekit.engine.job import Job
from tunekit.models.loading import resolve_model
from tunekit.schema import EpochRecord, Status, TrialSpec
from tunekit.store.result_store import ResultStore
from tunekit.worker.attempt import Attempt
from tunekit.worker.pack_trainer import PackTrainer

CLOSE = 1e-4
_ALONE: dict[str, list[EpochRecord]] = {}
"""The records of runs alone, by trial id. Many tests compare with the same trials, which are trained once."""


def job_for(spec: TrialSpec, sweep: Path, *, runs_ahead: bool = False) -> Job:
    return Job(spec, fingerprint(spec), resolve_model(spec.model), sweep, 0, 1, runs_ahead=runs_ahead)


def specs(**changes: object) -> list[TrialSpec]:
    return [specify(seed=seed, **changes) for seed in (1, 2, 3)]


def run_out(pack_trainer: PackTrainer, attempts: list[Attempt]) -> None:
    while any(attempt.status is None for attempt in attempts):
        assert not any(pack_trainer.advance([one for one in attempts if one.status is None]).values())


def records_alone(spec: TrialSpec) -> list[EpochRecord]:
    """The records of a run of ``spec`` alone, which this process trains the first time that it is asked."""
    if spec.trial_id not in _ALONE:
        with TemporaryDirectory() as sweep:
            run = start(spec, Path(sweep))
            finish(run)
            _ALONE[spec.trial_id] = run.records
    return _ALONE[spec.trial_id]


def assert_as_alone(spec: TrialSpec, sweep: Path, pack_size: int) -> None:
    """The trial's records are those of a run alone, to the last digits."""
    found = ResultStore(sweep).read(ResultStore(sweep).folder(spec))
    alone = records_alone(spec)
    assert found.summary.status is Status.COMPLETED
    assert found.summary.execution["pack_size"] == pack_size
    assert [r.epoch for r in found.epochs] == [r.epoch for r in alone]
    for ours, theirs in zip(found.epochs, alone, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, abs=CLOSE)
        assert ours.test_loss == pytest.approx(theirs.test_loss, abs=CLOSE)
    assert not (found.folder / "checkpoint").exists()
