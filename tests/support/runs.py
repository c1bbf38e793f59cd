"""Trials that are trained to their end in the test's process."""

import json
from dataclasses import asdict
from typing import Any

from tests.support.trials import fingerprint
from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun
from tunekit.models.loading import resolve_model
from tunekit.schema import EpochRecord

TIMED = ("epoch_seconds", "train_tokens_per_second", "peak_memory_bytes")


def numbers(records: list[EpochRecord]) -> list[dict]:
    """The records without what a clock or the machine put in."""
    return [{name: value for name, value in asdict(record).items() if name not in TIMED} for record in records]


def finish(run):
    while not run.done:
        run.train_epoch()
    return run.finish()


def begin(spec, sweep, keep):
    job = Job(spec, fingerprint(spec), resolve_model(spec.model), sweep, 0, 1, keep_models=keep)
    return TrialRun(job, lambda line: None)


def events_of(err: str) -> list[dict[str, Any]]:
    """The JSON lines that a run without a terminal writes to standard error."""
    return [json.loads(line) for line in err.splitlines() if line.startswith("{")]


def plain_lines(err: str) -> list[str]:
    """What else stands on standard error: the line of an error, if there is one."""
    return [line for line in err.splitlines() if not line.startswith("{")]
