"""A TrialSpec as a Ray Tune trial: one step an epoch, in an actor that is used again for the next trial."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from ray import tune

from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun, end
from tunekit.engine.train import Diverged
from tunekit.errors import UserError
from tunekit.schema import EpochRecord, Status
from tunekit.store import ResultStore


class TrialTrainable(tune.Trainable):
    """Trains ``jobs[config["trial"]["trial_id"]]``.

    What a retry can't mend (divergence, configuration, exhausted memory) ends the trial normally, with its status in
    the store; whatever else goes wrong raises, and Tune retries from the trial's own checkpoint.
    """

    def setup(self, config: dict[str, Any], jobs: Mapping[str, Job]) -> None:
        """Build the trial or take it up again."""
        self.jobs = jobs
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this actor."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and return its record; the last one completes the trial."""
        if self.run is None:
            return self._ended(Status.FAILED)
        try:
            record = asdict(self.run.train_epoch()) if not self.run.done else asdict(self.run.records[-1])
            if self.run.done:
                self.run.finish()
                return {**record, "done": True, "status": Status.COMPLETED.value}
        except (Diverged, UserError, MemoryError, RuntimeError) as error:
            status = classify(error)
            self._log(f"{status.value}: {error}")
            self.run.fail(status, str(error))
            return self._ended(status)
        return {**record, "status": "running"}

    def cleanup(self) -> None:
        """Free the model."""
        self.run = None

    def _begin(self, config: dict[str, Any]) -> None:
        self.run: TrialRun | None = None
        self.job = self.jobs[config["trial"]["trial_id"]]
        try:
            self.run = TrialRun(self.job, self._log)
        except (UserError, ValueError, MemoryError, RuntimeError) as error:
            status = Status.FAILED if isinstance(error, UserError | ValueError) else classify(error)
            self._log(f"{status.value}: {error}")
            end(self.job, status, str(error))

    def _ended(self, status: Status) -> dict[str, Any]:
        """A last result without new scores."""
        records = self.run.records if self.run else []
        last = asdict(records[-1]) if records else {item.name: None for item in fields(EpochRecord)}
        return {**last, "done": True, "status": status.value}

    def _log(self, line: str) -> None:
        folder = ResultStore(self.job.sweep).folder(self.job.spec)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")


def classify(error: Exception) -> Status:
    """The status of an error that no retry mends. Raises the error itself where one may."""
    import torch

    if isinstance(error, Diverged):
        return Status.DIVERGED
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
        return Status.OUT_OF_MEMORY
    if isinstance(error, UserError):
        return Status.FAILED
    raise error
