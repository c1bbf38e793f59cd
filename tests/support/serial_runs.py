"""A driver without Ray, for the forks of a test: the lease, then each trial in turn; killed at any of its writes."""

import os
import signal
import sys
from pathlib import Path

from tunekit.engine.job import Job
from tunekit.models.loading import resolve_model
from tunekit.planning.plan import PlannedTrial
from tunekit.storage.lease import acquire
from tunekit.worker.attempt import Attempt

WRITES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")


def train(sweep: Path, trials: list[PlannedTrial], point: int | None, runs_ahead: bool = False) -> None:
    """Train ``trials`` on ``sweep``; killed before write number ``point`` (from 1), else their number is left there."""
    writes = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal writes
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in WRITES or opened) and str(sweep) in str(arguments[0]):
            writes += 1
            if writes == point:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    lease = acquire(sweep)
    for trial in trials:
        model = resolve_model(trial.spec.model)
        attempt = Attempt(Job(trial.spec, trial.fingerprint, model, sweep, lease.start, 1, runs_ahead=runs_ahead))
        while attempt.status is None:
            attempt.step()
    lease.release()
    (sweep / "writes").write_text(str(writes), encoding="utf-8")
