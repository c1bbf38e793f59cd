"""The device host: one process that trains the trials placed on its device as packs, an epoch at a time.

Knows nothing of Ray, which runs it as an actor with a thread a call. A trial's client asks for the next epoch and
waits; an epoch starts when all that are here have asked, or a moment after the first did.
"""

import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from tunekit.engine.job import Job
from tunekit.worker.attempt import CLASSED, Attempt
from tunekit.worker.pack_trainer import PackTrainer
from tunekit.worker.report import TrialReport

GRACE_SECONDS = 2.0
"""An epoch waits for no longer for who has not asked yet."""
IDLE_SECONDS = 60.0
"""A trial whose client has not asked for this long is dropped; a host that nobody asks ends itself."""


def leave() -> None:
    """End this process at once."""
    os._exit(0)


@dataclass(eq=False)
class Seat:
    """A trial that is here."""

    job: Job
    attempt: Attempt | None = None
    asked: float | None = None
    """When its client asked for the epoch that it waits for; None while it does not."""
    seen: float = field(default_factory=time.monotonic)
    answer: TrialReport | Exception | None = None

    @property
    def is_here(self) -> bool:
        """Whether its model is on the device."""
        return self.attempt is not None and self.attempt.run is not None


class DeviceHost:
    """Trains up to ``size`` trials together. Every public method may be called from any thread."""

    def __init__(self, size: int, end: Callable[[], None] = leave) -> None:
        """``end`` is called when nobody has asked for IDLE_SECONDS."""
        self.size, self.together, self.end = size, PackTrainer(size), end
        self._seats: dict[str, Seat] = {}
        self._changed = threading.Condition()
        self._used = time.monotonic()
        threading.Thread(target=self._work, daemon=True).start()

    def join(self, job: Job) -> bool:
        """Take a seat for ``job``; False where all are taken."""
        with self._changed:
            self._used = time.monotonic()
            if len(self._seats) >= self.size and job.spec.trial_id not in self._seats:
                return False
            self._seats[job.spec.trial_id] = Seat(job)
            return True

    def step(self, job: Job) -> TrialReport:
        """Train the next epoch of ``job`` and return how it stands. Raises what a fresh process may mend.

        A trial that was dropped takes its seat again and goes on from its checkpoint.
        """
        with self._changed:
            seat = self._seats.setdefault(job.spec.trial_id, Seat(job))
            seat.asked = seat.seen = self._used = time.monotonic()
            self._changed.notify_all()
            self._changed.wait_for(lambda: seat.asked is None)
            answer = seat.answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def leave(self, trial_id: str) -> None:
        """A trial that its scheduler stopped gives up its seat."""
        with self._changed:
            self._seats.pop(trial_id, None)
            self._changed.notify_all()

    def _work(self) -> None:
        """Until nobody asks any more. What nobody foresaw ends the process: the clients' retries find another."""
        try:
            while turn := self._next_turn():
                self._train(turn)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            self.end()

    def _train(self, turn: list[Seat]) -> None:
        """An epoch of whom of ``turn`` memory holds, who is here already first, and their answers; others wait on."""
        for seat in turn:
            seat.attempt = seat.attempt or self._taken_up(seat)
        here = sorted((seat.attempt for seat in turn if seat.attempt), key=lambda attempt: attempt.run is None)
        done = self.together.advance([attempt for attempt in here if attempt.status is None])
        with self._changed:
            for seat in turn:
                if seat.attempt and seat.attempt.status is None and seat.attempt not in done:
                    continue
                error = done.get(seat.attempt) if seat.attempt else seat.answer
                seat.answer = error or seat.attempt.view()
                seat.asked, seat.seen = None, time.monotonic()
                # A retry may have taken the seat meanwhile.
                if (error or seat.attempt.status) and self._seats.get(seat.job.spec.trial_id) is seat:
                    self._seats.pop(seat.job.spec.trial_id)
            self._used = time.monotonic()
            self._changed.notify_all()

    def _taken_up(self, seat: Seat) -> Attempt | None:
        """The trial's attempt; where its folder can't be read, the answer says why."""
        try:
            return Attempt(seat.job)
        except CLASSED as error:
            seat.answer = error
            return None

    def _next_turn(self) -> list[Seat]:
        """Who trains the next epoch; nobody once nobody has asked for IDLE_SECONDS."""
        with self._changed:
            while True:
                now = time.monotonic()
                asking = [seat for seat in self._seats.values() if seat.asked is not None]
                silent = [seat for seat in self._seats.values() if seat.asked is None]
                if asking and (not silent or now - min(seat.asked for seat in asking) >= GRACE_SECONDS):
                    for seat in silent:
                        if now - seat.seen >= IDLE_SECONDS:
                            self._seats.pop(seat.job.spec.trial_id)
                    # Whom memory holds is waited for a moment: else each epoch would be of another trial.
                    here = sum(seat.is_here and now - seat.seen < GRACE_SECONDS for seat in silent)
                    if here < self.together.room:
                        return asking
                if not asking and now - self._used >= IDLE_SECONDS:
                    return []
                self._changed.wait(GRACE_SECONDS / 4)
