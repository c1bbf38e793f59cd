"""One attempt at a trial: start it or restore it, train it epoch by epoch, and write to the store how it ended."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from traceback import format_exception

import torch

from tunekit.engine.end_trial import end_trial, log_line
from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun
from tunekit.engine.scoring import ScoredEpoch
from tunekit.engine.watchdog import watchdog
from tunekit.errors import first_line
from tunekit.schema import EpochRecord, Status
from tunekit.storage.paths import Place
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore
from tunekit.store.trial_files import LOG_FILE, SUMMARY_FILE
from tunekit.worker.background import BackgroundCall
from tunekit.worker.failures import (
    CLASSIFIED_ERRORS,
    FINAL_STATUS,
    DeviceLost,
    Failure,
    cause,
    classify,
    device_is_lost,
)
from tunekit.worker.report import TrialReport

IO_PAUSES_SECONDS = (1, 5, 25)
"""The pauses before the first, second and third retry after an I/O error. The fourth I/O error is raised.

The count begins anew whenever a further epoch is recorded."""
MEMORY_PAUSE_SECONDS = 1
"""The pause before a retry with smaller micro-batches."""


class Attempt:
    """One attempt at a trial. Call ``step`` until ``status`` is no longer None.

    The first step starts the trial, or restores it from its newest checkpoint. A trial that the store holds as
    completed is not trained again. ``Failure`` says what happens after an error: the trial is retried here, from its
    newest checkpoint; or it ends, and its status is written to the store; or the error is raised, and Ray Tune retries
    the trial in a fresh process.

    A trial that runs ahead (``Job.runs_ahead``) holds each epoch that it has trained, and records it while it trains
    the next one. An epoch counts as done once its record is in the store. After an error the held epoch is dropped.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.run: TrialRun | None = None
        """The trial in memory, with model and optimizer; None while it is not loaded."""
        self.status: Status | None = None
        """How the trial ended; None while it trains."""
        self.trains_alone = False
        """Whether the trial is kept out of packs, since a pack with it has met a defect."""
        self.shares_device = False
        """Whether other trials are on the device. If so, the error is raised for the pack trainer when memory runs
        out."""
        self.advanced = False
        """Whether the last ``step``, or the last call of the pack trainer, has recorded an epoch."""
        self.notes: list[str] = []
        """Lines for a person, oldest first. ``report`` hands them out and empties the list."""
        self._held: ScoredEpoch | None = None
        """The epoch that is trained and not yet recorded."""
        self._writer = BackgroundCall()
        self._records: list[EpochRecord] = []
        """The epochs recorded before the trial was unloaded."""
        self._pack_size = 1
        """The pack size before the trial was unloaded."""
        self._pauses = list(IO_PAUSES_SECONDS)
        """The pauses that are left before an I/O error is raised."""
        self._most_epochs = 0
        """The largest number of epochs on record so far. A retry goes back to a checkpoint, and so to fewer."""
        self._adopt_completed()

    @property
    def records(self) -> list[EpochRecord]:
        """The epochs recorded so far."""
        return self.run.records if self.run else self._records

    @property
    def all_epochs_trained(self) -> bool:
        """Whether the trial is loaded and no epoch is left to train. The last one may be held."""
        return self.run is not None and (self.run.done or self.run.member.epochs_left == 0)

    @property
    def pack_size(self) -> int:
        """The number of trials in the largest pack that this trial has trained in, as far as this attempt knows."""
        return self.run.pack_size if self.run else self._pack_size

    def report(self) -> TrialReport:
        """Return a report of the trial as it is now, with the notes since the last report."""
        notes, self.notes = self.notes, []
        cut_line = self.run.cut_line if self.run else None
        return TrialReport(list(self.records), self.status, notes, self.pack_size, cut_line)

    def begin(self) -> None:
        """Load the trial unless it is loaded: start it, or restore it from its newest checkpoint."""
        if self.run is None:
            self._with_retries(self._load)

    def step(self) -> None:
        """Train until one more epoch is recorded. After the last one, complete the trial.

        Raises errors as ``Failure`` says.
        """
        self.advanced = False
        while self.status is None and not self.advanced:
            self._with_retries(self._train_epoch)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the held epoch while the ``with`` block trains the next one, and wait for the record at its end.

        An epoch that can't be recorded beside training (``TrialRun.must_wait``) is recorded before the block. After the
        last epoch the trial is completed. After an I/O error it is no longer loaded, and ``begin`` restores it.
        """
        held, self._held = self._held, None
        if held is None or self.run is None:
            yield
        elif self.run.must_wait:
            self._with_retries(partial(self._record, held))
            yield
        else:
            self._writer.start(self.run.recorder(held))
            try:
                yield
            except BaseException:
                # Nobody may read or write the trial's folder before the record is written.
                if error := self._writer.error():
                    self.note(f"the epoch before could not be recorded: {error}")
                raise
            self._with_retries(self._take_record)

    def record_or_hold(self, epoch: ScoredEpoch) -> None:
        """Record an epoch that was just trained, or hold it where the trial runs ahead and has not diverged.

        An epoch whose predecessor could not be recorded, or ended the trial, is dropped.
        """
        if self.job.runs_ahead and self.run is not None and not epoch.has_diverged:
            self._held = epoch
        else:
            self._with_retries(partial(self._record, epoch))

    def unload(self) -> None:
        """Remove model and optimizer from memory. ``records`` and ``pack_size`` stay as they are."""
        self._records, self._pack_size, self.run, self._held = self.records, self.pack_size, None, None
        gc.collect()
        if self.job.device == "cuda" and not device_is_lost():
            torch.cuda.empty_cache()

    def unload_with_checkpoint(self) -> None:
        """Record the held epoch and write a checkpoint, then remove model and optimizer from memory.

        ``begin`` goes on from that checkpoint. Call this between two epochs only. No checkpoint is written before the
        first epoch.
        """

        def save() -> None:
            if self.run and self._held:
                self.run.record(self._held)
            if self.run and self.run.records:
                self.run.save(self.run.records, self.run.member.trained)

        self._with_retries(save)
        self.unload()

    def watchdog(self) -> AbstractContextManager[None]:
        """Return a context manager that ends this process when no batch begins for too long."""
        return watchdog(self._folder / LOG_FILE)

    def note(self, line: str) -> None:
        """Write ``line`` to the trial's log, and keep it for the next report."""
        self.notes.append(line)
        self._log(line)

    def _load(self) -> None:
        """Start the trial, or restore it from its newest checkpoint."""
        self.run = TrialRun(self.job, self._log)

    def _train_epoch(self) -> None:
        """Train the next epoch, if one is left, and record it or the held one."""
        if self.run is None:
            self._load()
        run = self.run
        assert run is not None
        with self.watchdog():
            if run.done:  # as after a checkpoint of the last epoch
                self._after_epoch(run)
                return
            with self.recording():
                trained = run.train() if self.run is run and not self.all_epochs_trained else None
            if trained is not None:
                self.record_or_hold(trained)

    def _record(self, epoch: ScoredEpoch) -> None:
        """Record ``epoch``, unless the trial is no longer loaded."""
        if self.run is not None:
            self.run.record(epoch)
            self._after_epoch(self.run)

    def _take_record(self) -> None:
        """Take the record written beside training, or raise its error, unless the trial is no longer loaded."""
        if self.run is not None:
            self._writer.join()
            self._after_epoch(self.run)

    def _after_epoch(self, run: TrialRun) -> None:
        """Complete the trial after its last epoch. Allow all retries anew if a further epoch is on record."""
        self.advanced = True
        if run.done:
            run.finish()
            self.status = Status.COMPLETED
        if len(run.records) > self._most_epochs:
            self._most_epochs, self._pauses = len(run.records), list(IO_PAUSES_SECONDS)

    def _with_retries(self, work: Callable[[], None]) -> None:
        """Do ``work`` until it succeeds or the trial has ended. The trial is unloaded before each retry.

        Raises DeviceLost where an earlier trial has left this process without its GPU.
        """
        while self.status is None:
            if device_is_lost():
                raise DeviceLost("an earlier trial of this process has lost the GPU; a fresh process trains this one")
            try:
                work()
                return
            except CLASSIFIED_ERRORS as error:
                pause = self._pause_after(error)
            # Unload after the except block, since within it the error's traceback keeps the model in memory.
            if self.status is None:
                self.unload()
                time.sleep(pause)

    def _pause_after(self, error: Exception) -> float:
        """Return the seconds to wait before a retry.

        End the trial and return 0 where no retry can help. Raise ``error`` where it is the caller's, or Ray Tune's, to
        handle.
        """
        failure = classify(error)
        parts = 2 * self.job.micro_batches  # the parts of a batch at the next retry
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
        self.end_after(error)
        return 0

    def end_after(self, error: Exception) -> None:
        """End the trial after ``error``, which is of a class that ends trials. A defect's traceback goes to the log."""
        failure = classify(error)
        if failure is Failure.DEFECT:
            self._log("".join(format_exception(error)).rstrip())
        self._end(FINAL_STATUS[failure], cause(error))

    def _end(self, status: Status, error: str) -> None:
        """Write to the store and the log that the trial ended with ``status``, which is not COMPLETED."""
        if self.run:
            self.run.fail(status, error)
        else:
            end_trial(self.job, status, error)
        self.status = status
        self._log(f"{status.value}: {error}")

    def _adopt_completed(self) -> None:
        """Set the records and the status from the store if the store holds the trial as completed."""
        store = ResultStore(self.job.sweep)
        if not (self._folder / SUMMARY_FILE).exists():
            return
        try:
            stored = store.read(store.claim_folder(self.job.spec, self.job.fingerprint))
        except DamagedRecord as error:
            self.note(f"{error}; the trial is trained again")
            return
        if stored.summary and stored.summary.status is Status.COMPLETED:
            self._records, self.status = stored.epochs, Status.COMPLETED

    @property
    def _folder(self) -> Place:
        return ResultStore(self.job.sweep).folder(self.job.spec)

    def _log(self, line: str) -> None:
        log_line(self._folder, line)
