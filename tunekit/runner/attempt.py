"""A job in an actor: begun or taken up again, trained epoch by epoch, its end written to the store."""

from datetime import UTC, datetime

from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun, end
from tunekit.engine.train import Diverged
from tunekit.errors import UserError
from tunekit.schema import EpochRecord, Status
from tunekit.store import ResultStore


class Attempt:
    """``step`` until ``status`` says how it ended.

    What a retry can't mend (divergence, configuration, exhausted memory) ends it, with its status in the store;
    whatever else goes wrong raises, and the next attempt goes on from the trial's own checkpoint. A trial that the
    store holds completed is not trained again.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.run: TrialRun | None = None
        self.status: Status | None = None
        self._stored: list[EpochRecord] = []
        if self._is_completed():
            return
        try:
            self.run = TrialRun(job, self._log)
        except (UserError, ValueError, MemoryError, RuntimeError) as error:
            self.status = Status.FAILED if isinstance(error, UserError | ValueError) else classify(error)
            self._log(f"{self.status.value}: {error}")
            end(job, self.status, str(error))

    @property
    def records(self) -> list[EpochRecord]:
        """Epochs trained so far."""
        return self.run.records if self.run else self._stored

    @property
    def trained(self) -> bool:
        """Whether all epochs are recorded."""
        return self.run is not None and self.run.done

    def step(self) -> None:
        """Train one epoch; after the last one complete the trial."""
        if self.run is None or self.status is not None:
            return
        try:
            if not self.run.done:
                self.run.train_epoch()
            if self.run.done:
                self.run.finish()
                self.status = Status.COMPLETED
        except (Diverged, UserError, MemoryError, RuntimeError) as error:
            self.status = classify(error)
            self._log(f"{self.status.value}: {error}")
            self.run.fail(self.status, str(error))

    def _is_completed(self) -> bool:
        store = ResultStore(self.job.sweep)
        folder = store.folder(self.job.spec)
        if not (folder / "summary.json").exists():
            return False
        stored = store.read(store.settle(self.job.spec, self.job.fingerprint))
        if stored.summary is None or stored.summary.status is not Status.COMPLETED:
            return False
        self._stored, self.status = stored.epochs, Status.COMPLETED
        return True

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
