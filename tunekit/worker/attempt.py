"""A job in an actor: begun or taken up again, trained epoch by epoch, its end written to the store."""

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum, auto

import numpy as np
import torch

from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun, end_trial
from tunekit.engine.train import Diverged, TrainedEpoch
from tunekit.engine.watchdog import watchdog
from tunekit.errors import UserError, first_line
from tunekit.schema import EpochRecord, Status
from tunekit.storage.files import append_line
from tunekit.storage.paths import Place
from tunekit.store.result_store import ResultStore
from tunekit.worker.report import TrialReport

PAUSES_SECONDS = (1, 5, 25)
"""Before each retry of an I/O error; then it is raised."""


class Failure(Enum):
    """A class of errors."""

    DIVERGED = auto()
    """The same numbers come again: ends the trial."""
    CONFIGURATION = auto()
    """Wrong input: ends the trial."""
    OUT_OF_MEMORY = auto()
    """Retried with half the micro-batch, down to single examples, then ends the trial."""
    IO = auto()
    """A full disk, a lost mount: retried after a pause, then raised."""
    OTHER = auto()
    """A broken device, a defect, a later start: raised at once, so that Tune retries it in a fresh process."""


ENDINGS = {
    Failure.DIVERGED: Status.DIVERGED,
    Failure.CONFIGURATION: Status.FAILED,
    Failure.OUT_OF_MEMORY: Status.OUT_OF_MEMORY,
}
"""Statuses of the trials that a class ends."""


CLASSED = (Diverged, UserError, MemoryError, OSError, RuntimeError)
"""Types of the errors that ``classify`` tells apart; any other is a defect, and raised."""


def classify(error: Exception) -> Failure:
    """The class of ``error``."""
    if isinstance(error, Diverged):
        return Failure.DIVERGED
    if isinstance(error, UserError):
        return Failure.CONFIGURATION
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
        return Failure.OUT_OF_MEMORY
    return Failure.IO if isinstance(error, OSError) else Failure.OTHER


class Attempt:
    """``step`` until ``status`` says how it ended; the first step begins the trial, if ``begin`` has not.

    What a retry can't mend ends it, with its status in the store. Exhausted memory and I/O errors are retried here,
    from the trial's own checkpoint; what else goes wrong raises, and so does an I/O error that stays: Tune then retries
    in a fresh process. With others on its device exhausted memory raises, too. A trial that the store holds completed
    is not trained again.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.run: TrialRun | None = None
        self.status: Status | None = None
        self.shares = False
        """Whether other trials are on its device: where memory runs out, that is not for this one to mend."""
        self.notes: list[str] = []
        """What a person should know, oldest first, until ``view`` hands it on."""
        self._stored: list[EpochRecord] = []
        self._pack_size = 1
        self._pauses = list(PAUSES_SECONDS)
        self._furthest = 0
        self._look_up()

    @property
    def records(self) -> list[EpochRecord]:
        """Epochs trained so far."""
        return self.run.records if self.run else self._stored

    @property
    def trained(self) -> bool:
        """Whether all epochs are recorded."""
        return self.run is not None and self.run.done

    def view(self) -> TrialReport:
        """How it stands, and its notes, which it then holds no more."""
        notes, self.notes = self.notes, []
        return TrialReport(list(self.records), self.status, notes, self.pack_size)

    @property
    def pack_size(self) -> int:
        """The largest pack that it has trained in, as far as is known here."""
        return self.run.pack_size if self.run else self._pack_size

    def step(self) -> None:
        """Train one epoch; after the last one complete the trial."""
        self._persist(self._advance)

    def begin(self) -> None:
        """Build the trial or take it up again, where it is not here."""
        if self.run is None:
            self._persist(self._begin)

    def record(self, trained: TrainedEpoch, logits: Mapping[str, np.ndarray], seconds: float) -> None:
        """Record an epoch that a pack has trained; after the last one complete the trial.

        After an error that may pass the trial is here no longer: ``begin`` takes it up from its checkpoint.
        """

        def work() -> None:
            if self.run is not None:
                self.run.record(trained, logits, seconds)
                self._completed()

        self._persist(work)

    def forget(self) -> None:
        """Let go of model and optimizer; what is recorded stays."""
        self._stored, self._pack_size, self.run = self.records, self.pack_size, None
        gc.collect()
        if self.job.device == "cuda":
            torch.cuda.empty_cache()

    def park(self) -> None:
        """Let go of model and optimizer at an epoch's end, with a checkpoint to go on from."""

        def work() -> None:
            if self.run and self.run.records and not self.run.done:
                self.run.save()

        self._persist(work)
        self.forget()

    def watchdog(self) -> AbstractContextManager[None]:
        """While entered, a process in which nothing moves is ended."""
        return watchdog(self._folder / "log.txt")

    def _begin(self) -> None:
        try:
            self.run = TrialRun(self.job, self._log)
        except ValueError as error:
            self._end(Status.FAILED, str(error))

    def _advance(self) -> None:
        if self.run is None:
            self._begin()
        if self.run is None:
            return
        with self.watched():
            if not self.run.done:
                self.run.train_epoch()
            self._completed()

    def _completed(self) -> None:
        """Complete the trial where all its epochs are recorded."""
        if self.run.done:
            self.run.finish()
            self.status = Status.COMPLETED
        if len(self.run.records) > self._furthest:
            self._furthest, self._pauses = len(self.run.records), list(PAUSES_SECONDS)

    def _persist(self, work: Callable[[], None]) -> None:
        """Do ``work``, again after what a retry may mend, until it is done or the trial has ended."""
        while self.status is None:
            try:
                work()
                return
            except CLASSED as error:
                pause = self._judge(error)
            # Only now, with the traceback gone, is nothing left that holds the model.
            if self.status is None:
                self.forget()
                time.sleep(pause)

    def _judge(self, error: Exception) -> float:
        """End the trial, or say how many seconds to wait before the next try. Raises what is not for us to mend."""
        failure = classify(error)
        parts = 2 * self.job.micro_batches
        if failure is Failure.OUT_OF_MEMORY and self.shares:
            raise error
        if failure is Failure.OUT_OF_MEMORY and parts <= self.job.spec.batch_size:
            self.job = replace(self.job, micro_batches=parts)
            self.note(f"out of memory ({first_line(error)}); trying again with each batch in {parts} parts")
            return PAUSES_SECONDS[0]
        if failure is Failure.IO and self._pauses:
            pause = self._pauses.pop(0)
            self.note(f"I/O error ({first_line(error)}); trying again from the last checkpoint in {pause} s")
            return pause
        if failure not in ENDINGS:
            raise error
        self._end(ENDINGS[failure], str(error))
        return 0

    def _end(self, status: Status, error: str) -> None:
        if self.run:
            self.run.fail(status, error)
        else:
            end_trial(self.job, status, error)
        self.status = status
        self._log(f"{status.value}: {error}")

    def _look_up(self) -> None:
        """Take over what the store holds of a completed trial."""
        store = ResultStore(self.job.sweep)
        if not (self._folder / "summary.json").exists():
            return
        stored = store.read(store.claim_folder(self.job.spec, self.job.fingerprint))
        if stored.summary and stored.summary.status is Status.COMPLETED:
            self._stored, self.status = stored.epochs, Status.COMPLETED

    @property
    def _folder(self) -> Place:
        return ResultStore(self.job.sweep).folder(self.job.spec)

    def note(self, line: str) -> None:
        """Say ``line`` in the trial's log and to whoever shows its results."""
        self.notes.append(line)
        self._log(line)

    def _log(self, line: str) -> None:
        log_line(self._folder, line)


def log_line(folder: Place, line: str) -> None:
    """Append a line to a trial's log.txt; where the disk takes none, what it says is on the console alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        append_line(folder / "log.txt", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")
    except OSError:
        return
