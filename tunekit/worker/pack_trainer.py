"""The next epoch of several attempts in one process: as packs where they can be, else one after another."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from weakref import WeakSet

from tunekit.engine.train import Member, Pack, packable
from tunekit.worker.attempt import CLASSED, Attempt, Failure, classify

Done = dict[Attempt, Exception | None]
"""Attempts whose turn is over, each with the error that it could not mend, or None."""


class PackTrainer:
    """Trains attempts side by side, as many as memory holds. Packs live on while the same attempts come again."""

    def __init__(self, size: int) -> None:
        """``size`` is the most attempts at a time."""
        self.room = size
        """Attempts that memory holds, as far as is known."""
        self._packs: dict[tuple[Member, ...], Pack] = {}
        self._known: WeakSet[Attempt] = WeakSet()

    def advance(self, attempts: Sequence[Attempt]) -> Done:
        """Train one epoch of the first of ``attempts``, of which none has ended: as many as there is room for.

        Those of earlier turns that do not come now keep their places, but for the last one. Whom the result does not
        hold comes again: there was no room, or memory ran out, and then there is half of it.
        """
        others = [one for one in self._known if one.run and one not in attempts]
        while len(others) >= self.room:
            others.pop().park()
        turn, done = attempts[: self.room - len(others)], Done()
        self._known.update(turn)
        for attempt in turn:
            attempt.shares = len(turn) + len(others) > 1
        try:
            self._train(turn, done)
            return done
        except CLASSED as error:
            if classify(error) is not Failure.OUT_OF_MEMORY:
                raise
        # Only now, with the traceback gone, is nothing left that holds the tensors.
        self._shrink(turn, others)
        return done

    def _shrink(self, turn: Sequence[Attempt], others: Sequence[Attempt]) -> None:
        """Empty the device; from here on half as many are there at a time, each from its checkpoint."""
        count = len(turn) + len(others)
        self.room = max(1, count // 2)
        self._packs.clear()
        for attempt in [*turn, *others]:
            attempt.note(f"out of memory with {count} on the device; from here on {self.room} at a time")
        for attempt in turn:
            attempt.forget()
        for attempt in others:
            attempt.park()

    def _train(self, turn: Sequence[Attempt], done: Done) -> None:
        """An epoch of all. Raises what says that memory ran out, but for an attempt that had it to itself."""
        self._keep()
        for attempt in turn:
            self._guarded(done, [attempt], attempt.begin)
        alone, packs = _arranged([one for one in turn if one.status is None and one not in done])
        for members in self._packs.keys() - set(map(_members, packs)):
            self._packs.pop(members).close()
        for attempt in alone:
            self._guarded(done, [attempt], attempt.step)
        for members in packs:
            self._guarded(done, members, partial(self._train_pack, members))
        self._keep()
        for attempt in turn:
            done.setdefault(attempt)
            if attempt.status:
                attempt.forget()

    def _keep(self) -> None:
        """Let go of packs with a member that does not come again; the others get tensors of their own."""
        here = set(_members([one for one in self._known if one.status is None]))
        for members in [members for members in self._packs if not here.issuperset(members)]:
            pack = self._packs.pop(members)
            if here.intersection(members):
                pack.close()

    def _guarded(self, done: Done, attempts: Sequence[Attempt], work: Callable[[], None]) -> None:
        """Do ``work``; what it raises is the end of these attempts here, but where memory ran out."""
        try:
            work()
        except CLASSED as error:
            if classify(error) is Failure.OUT_OF_MEMORY:
                raise
            self._packs.pop(_members(attempts), None)
            for attempt in attempts:
                done[attempt] = error
                attempt.forget()

    def _train_pack(self, attempts: Sequence[Attempt]) -> None:
        start = time.perf_counter()
        pack = self._pack(attempts)
        with attempts[0].watched():
            trained = pack.train_epoch()
            runs = [one.run for one in attempts]
            logits = {split: pack.predict(runs[0].splits[split]) for split in runs[0].scored}
        seconds = time.perf_counter() - start
        for slot, attempt in enumerate(attempts):
            attempt.record(trained[slot], {split: each[slot] for split, each in logits.items()}, seconds)

    def _pack(self, attempts: Sequence[Attempt]) -> Pack:
        members = _members(attempts)
        if members not in self._packs:
            self._packs[members] = Pack(members)
            for attempt in attempts:
                attempt.run.note_pack_size(len(attempts))
        return self._packs[members]


def _arranged(attempts: Sequence[Attempt]) -> tuple[list[Attempt], list[list[Attempt]]]:
    """Who trains alone, and who together."""
    groups: dict[object, list[Attempt]] = {}
    for attempt in attempts:
        member = attempt.run.member
        together = packable([member]) and not attempt.trained
        groups.setdefault(member.pack_key() if together else id(member), []).append(attempt)
    return [found[0] for found in groups.values() if len(found) == 1], [
        found for found in groups.values() if len(found) > 1
    ]


def _members(attempts: Sequence[Attempt]) -> tuple[Member, ...]:
    return tuple(attempt.run.member for attempt in attempts if attempt.run)
