"""The device host: one process that trains all trials that are placed on its device, one epoch at a time.

The code here does not use Ray. Ray runs the host as an actor (``tunekit.runner.trainers``) and calls it from many
threads. Each trial has a client in a process of its own. A client places its trial on the host, then requests one epoch
after another with ``step``. A trial is *requested* while its client waits in ``step``, and *silent* otherwise. The host
starts an epoch when all placed trials are requested, or GRACE_SECONDS after the first request. It waits longer only for
loaded trials that are expected back at once and fill the device.
"""

import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from tunekit.engine.job import Job
from tunekit.worker.attempt import Attempt
from tunekit.worker.failures import CLASSIFIED_ERRORS, device_is_lost
from tunekit.worker.pack_trainer import PackTrainer
from tunekit.worker.report import TrialReport

GRACE_SECONDS = 2.0
"""The seconds that requested trials wait for silent ones. A trial silent for less time is expected back at once."""
IDLE_SECONDS = 60.0
"""A trial that is silent for this long may lose its place. A host without a request for this long ends its process."""


def end_process() -> None:
    """End this process at once."""
    os._exit(0)


@dataclass(eq=False)
class Placement:
    """A trial that is placed on the device, and the last request of its client."""

    job: Job
    attempt: Attempt | None = None
    """The attempt that trains the trial. None until its first epoch here."""
    requested_since: float | None = None
    """Since when the client waits for an epoch, or for another try at it (``time.monotonic``). None while the trial is
    silent."""
    last_seen: float = field(default_factory=time.monotonic)
    """When the client last placed the trial, requested an epoch or got an answer (``time.monotonic``)."""
    answer: TrialReport | Exception | None = None
    """The answer to the client's last request: a report, or the error to raise. None before the first answer."""

    @property
    def is_loaded(self) -> bool:
        """Whether the trial's model is on the device."""
        return self.attempt is not None and self.attempt.run is not None


class DeviceHost:
    """Trains the trials that are placed on one device. Every public method may be called from any thread."""

    def __init__(self, num_places: int, end: Callable[[], None] = end_process) -> None:
        """Offer ``num_places`` places. The training thread, which starts here, calls ``end`` when it ends.

        The pack trainer begins with the capacity for all of them, which it may lower; the number of places stays.
        """
        self.num_places, self.pack_trainer, self.end = num_places, PackTrainer(num_places), end
        self._placements: dict[str, Placement] = {}
        """The placed trials, by trial id."""
        self._changed = threading.Condition()
        """Guards the placements, and is notified when a client or the training thread has changed them."""
        self._last_used = time.monotonic()
        threading.Thread(target=self._train_requested_epochs, daemon=True).start()

    def place(self, job: Job) -> bool:
        """Place the trial of ``job`` on this device. Return whether there was a place for it.

        A trial that a dead client had placed gets a new placement instead of the old one.
        """
        with self._changed:
            self._last_used = time.monotonic()
            if len(self._placements) >= self.num_places and job.spec.trial_id not in self._placements:
                return False
            self._placements[job.spec.trial_id] = Placement(job)
            return True

    def step(self, job: Job) -> TrialReport:
        """Wait until the next epoch of ``job`` is trained. Return the report of the trial.

        Raises the error that stopped the trial, which a retry in a fresh process may mend. A trial that has lost its
        place gets one again, even if all places are taken, and goes on from its newest checkpoint.
        """
        with self._changed:
            placement = self._placements.setdefault(job.spec.trial_id, Placement(job))
            placement.requested_since = placement.last_seen = self._last_used = time.monotonic()
            self._changed.notify_all()
            self._changed.wait_for(lambda: placement.requested_since is None)
            answer = placement.answer
        if isinstance(answer, TrialReport):
            return answer
        raise answer or RuntimeError("the device host has no answer")

    def release(self, trial_id: str) -> None:
        """Free the place of a trial whose client will request no more epochs."""
        with self._changed:
            self._placements.pop(trial_id, None)
            self._changed.notify_all()

    def _train_requested_epochs(self) -> None:
        """Train until no request has come for IDLE_SECONDS, the device is lost, or an unexpected error. Then ``end``.

        This is the training thread. The clients of a process that ended get an error from Ray and retry on a new host.
        """
        try:
            while requested := self._wait_for_requests():
                self._train_epoch(requested)
                if device_is_lost():
                    time.sleep(GRACE_SECONDS)  # the answers to the clients go out first
                    return
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            self.end()

    def _train_epoch(self, requested: list[Placement]) -> None:
        """Train one epoch of as many ``requested`` trials as memory holds, and answer their clients.

        Loaded trials come first. The clients of trials that were not trained go on waiting for a later epoch.
        """
        for placement in requested:
            placement.attempt = placement.attempt or self._start_attempt(placement)
        attempts = sorted((one.attempt for one in requested if one.attempt), key=lambda attempt: attempt.run is None)
        outcomes = self.pack_trainer.advance([attempt for attempt in attempts if attempt.status is None])
        with self._changed:
            for placement in requested:
                attempt = placement.attempt
                if attempt is None:
                    self._answer(placement, placement.answer, ended=True)
                elif attempt.status is not None or attempt in outcomes:
                    error = outcomes.get(attempt)
                    self._answer(placement, error or attempt.report(), ended=bool(error or attempt.status))
                else:
                    # Let it wait for the other trials, which are silent for a moment. Else it would train alone.
                    placement.requested_since = time.monotonic()
            self._last_used = time.monotonic()
            self._changed.notify_all()

    def _answer(self, placement: Placement, answer: TrialReport | Exception | None, *, ended: bool) -> None:
        """Answer the client's request. A trial that has ``ended`` loses its place. The caller holds the condition."""
        placement.answer, placement.requested_since, placement.last_seen = answer, None, time.monotonic()
        trial_id = placement.job.spec.trial_id
        # If a retry has placed the trial anew in the meantime, the new placement stays.
        if ended and self._placements.get(trial_id) is placement:
            self._placements.pop(trial_id)

    def _start_attempt(self, placement: Placement) -> Attempt | None:
        """Return an attempt at the trial. If its folder can't be read, set the answer to the error and return None."""
        try:
            return Attempt(placement.job)
        except CLASSIFIED_ERRORS as error:
            placement.answer = error
            return None

    def _wait_for_requests(self) -> list[Placement]:
        """Wait until an epoch may start, and return the requested trials.

        Return an empty list once no request has come for IDLE_SECONDS.
        """
        with self._changed:
            while True:
                now = time.monotonic()
                placements = list(self._placements.values())
                requested = [one for one in placements if one.requested_since is not None]
                silent = [one for one in placements if one.requested_since is None]
                times = [one.requested_since for one in requested if one.requested_since is not None]
                waited = now - min(times, default=now)
                if requested and (not silent or waited >= GRACE_SECONDS):
                    self._drop_idle(silent, now)
                    # Where silent trials that are expected back at once fill the device, wait for them. To train others
                    # now, one of them would have to be unloaded, and loaded again for its next epoch.
                    expected = sum(one.is_loaded and now - one.last_seen < GRACE_SECONDS for one in silent)
                    if expected < self.pack_trainer.capacity:
                        return requested
                if not requested and now - self._last_used >= IDLE_SECONDS:
                    return []
                self._changed.wait(GRACE_SECONDS / 4)

    def _drop_idle(self, silent: list[Placement], now: float) -> None:
        """Free the places of those ``silent`` trials that have been silent for IDLE_SECONDS."""
        for placement in silent:
            if now - placement.last_seen >= IDLE_SECONDS:
                self._placements.pop(placement.job.spec.trial_id)
