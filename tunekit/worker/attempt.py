"""One attempt at a trial: start it or restore it, train it epoch by epoch, and write to the store how it ended."""

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

IO_PAUSES_SECONDS = (1, 5, 25)
"""The pauses before the first, second and third retry after an I/O error. The fourth error in a row is raised."""
MEMORY_PAUSE_SECONDS = 1
"""The pause before a retry with smaller micro-batches."""


class Failure(Enum):
    """The classes of errors, by what helps against them."""

    DIVERGED = auto()
    """The loss is not finite. A retry gives the same numbers, so this ends the trial."""
    CONFIGURATION = auto()
    """The input is wrong. A retry can't help, so this ends the trial."""
    OUT_OF_MEMORY = auto()
    """The trial is retried with half the micro-batch, down to single examples; then this ends the trial."""
    IO = auto()
    """A full disk or a lost mount, for example. The trial is retried after pauses; then the error is raised."""
    OTHER = auto()
    """A broken device or a defect, for example. The error is raised at once: Tune retries it in a fresh process."""


FINAL_STATUS = {
    Failure.DIVERGED: Status.DIVERGED,
    Failure.CONFIGURATION: Status.FAILED,
    Failure.OUT_OF_MEMORY: Status.OUT_OF_MEMORY,
}
"""The status of a trial that a failure ends. Failures that are not here are raised instead."""


CLASSIFIED_ERRORS = (Diverged, UserError, MemoryError, OSError, RuntimeError)
"""The types of errors that ``classify`` tells apart. An error of any other type is a defect and is never caught."""


def classify(error: Exception) -> Failure:
    """Return the class of ``error``."""
    if isinstance(error, Diverged):
        return Failure.DIVERGED
    if isinstance(error, UserError):
        return Failure.CONFIGURATION
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
        return Failure.OUT_OF_MEMORY
    return Failure.IO if isinstance(error, OSError) else Failure.OTHER


class Attempt:
    """One attempt at a trial. Call ``step`` until ``status`` is no longer None.

    The first step starts the trial, or restores it from its newest checkpoint. A failure that no retry can mend ends
    the trial, and its status is written to the store. Exhausted memory and I/O errors are retried here, from the
    newest checkpoint. All other errors are raised, and so is an I/O error that stays: Tune then retries the trial in a
    fresh process. A trial that the store holds as completed is not trained again.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.run: TrialRun | None = None
        """The trial in memory, with model and optimizer; None while it is not loaded."""
        self.status: Status | None = None
        """How the trial ended; None while it trains."""
        self.shares_device = False
        """Whether other trials are on the device. If memory runs out then, the error is raised for the pack trainer."""
        self.notes: list[str] = []
        """Lines for a person, oldest first. ``report`` hands them out and empties the list."""
        self._records: list[EpochRecord] = []
        self._pack_size = 1
        self._pauses = list(IO_PAUSES_SECONDS)
        self._most_epochs = 0
        self._adopt_completed()

    @property
    def records(self) -> list[EpochRecord]:
        """The epochs recorded so far."""
        return self.run.records if self.run else self._records

    @property
    def all_epochs_recorded(self) -> bool:
        """Whether no epoch is left to train."""
        return self.run is not None and self.run.done

    @property
    def pack_size(self) -> int:
        """The number of trials in the largest pack that this trial has trained in, as far as this attempt knows."""
        return self.run.pack_size if self.run else self._pack_size

    def report(self) -> TrialReport:
        """Return the trial as it is now, with the notes since the last report."""
        notes, self.notes = self.notes, []
        return TrialReport(list(self.records), self.status, notes, self.pack_size)

    def begin(self) -> None:
        """Start the trial, or restore it from its newest checkpoint, unless it is loaded."""
        if self.run is None:
            self._with_retries(self._load)

    def step(self) -> None:
        """Train one epoch. After the last epoch, complete the trial."""
        self._with_retries(self._train_epoch)

    def record(self, trained: TrainedEpoch, logits: Mapping[str, np.ndarray], seconds: float) -> None:
        """Record an epoch that a pack has trained. After the last epoch, complete the trial.

        ``logits`` has an array (N, C) for each scored split, and ``seconds`` is the time that the epoch took.
        After an I/O error the trial is no longer loaded and the epoch is lost: ``begin`` restores the trial.
        """

        def write() -> None:
            if self.run is not None:
                self.run.record(trained, logits, seconds)
                self._complete_if_done(self.run)

        self._with_retries(write)

    def unload(self) -> None:
        """Drop model and optimizer from memory. What is recorded stays."""
        self._records, self._pack_size, self.run = self.records, self.pack_size, None
        gc.collect()
        if self.job.device == "cuda":
            torch.cuda.empty_cache()

    def unload_with_checkpoint(self) -> None:
        """Write a checkpoint at an epoch's end, then drop model and optimizer, so that ``begin`` goes on from there."""

        def save() -> None:
            if self.run and self.run.records and not self.run.done:
                self.run.save()

        self._with_retries(save)
        self.unload()

    def watchdog(self) -> AbstractContextManager[None]:
        """Return a context that ends this process when no batch begins for too long."""
        return watchdog(self._folder / "log.txt")

    def note(self, line: str) -> None:
        """Write ``line`` to the trial's log, and keep it for the next report."""
        self.notes.append(line)
        self._log(line)

    def _load(self) -> None:
        try:
            self.run = TrialRun(self.job, self._log)
        except ValueError as error:
            self._end(Status.FAILED, str(error))

    def _train_epoch(self) -> None:
        if self.run is None:
            self._load()
        if self.run is None:
            return
        with self.watchdog():
            if not self.run.done:
                self.run.train_epoch()
            self._complete_if_done(self.run)

    def _complete_if_done(self, run: TrialRun) -> None:
        if run.done:
            run.finish()
            self.status = Status.COMPLETED
        if len(run.records) > self._most_epochs:
            self._most_epochs, self._pauses = len(run.records), list(IO_PAUSES_SECONDS)

    def _with_retries(self, work: Callable[[], None]) -> None:
        """Do ``work``, and again after an error that a retry may mend, until it succeeds or the trial has ended."""
        while self.status is None:
            try:
                work()
                return
            except CLASSIFIED_ERRORS as error:
                pause = self._pause_after(error)
            # Unload after the except block: until then the error's traceback holds the model.
            if self.status is None:
                self.unload()
                time.sleep(pause)

    def _pause_after(self, error: Exception) -> float:
        """Return the seconds to wait before a retry, or end the trial. Raise ``error`` if neither would help."""
        failure = classify(error)
        parts = 2 * self.job.micro_batches
        if failure is Failure.OUT_OF_MEMORY and self.shares_device:
            raise error
        if failure is Failure.OUT_OF_MEMORY and parts <= self.job.spec.batch_size:
            self.job = replace(self.job, micro_batches=parts)
            self.note(f"out of memory ({first_line(error)}); trying again with each batch in {parts} parts")
            return MEMORY_PAUSE_SECONDS
        if failure is Failure.IO and self._pauses:
            pause = self._pauses.pop(0)
            self.note(f"I/O error ({first_line(error)}); trying again from the last checkpoint in {pause} s")
            return pause
        if failure not in FINAL_STATUS:
            raise error
        self._end(FINAL_STATUS[failure], str(error))
        return 0

    def _end(self, status: Status, error: str) -> None:
        if self.run:
            self.run.fail(status, error)
        else:
            end_trial(self.job, status, error)
        self.status = status
        self._log(f"{status.value}: {error}")

    def _adopt_completed(self) -> None:
        """Take records and status from the store if it holds the trial as completed."""
        store = ResultStore(self.job.sweep)
        if not (self._folder / "summary.json").exists():
            return
        stored = store.read(store.claim_folder(self.job.spec, self.job.fingerprint))
        if stored.summary and stored.summary.status is Status.COMPLETED:
            self._records, self.status = stored.epochs, Status.COMPLETED

    @property
    def _folder(self) -> Place:
        return ResultStore(self.job.sweep).folder(self.job.spec)

    def _log(self, line: str) -> None:
        log_line(self._folder, line)


def log_line(folder: Place, line: str) -> None:
    """Append a line to the trial's log.txt in ``folder``. A disk that takes no line must not fail the trial."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        append_line(folder / "log.txt", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")
    except OSError:
        return  # the console has the line, too
