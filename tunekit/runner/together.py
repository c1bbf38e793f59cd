"""The next epoch of several attempts in one process: as packs where they can be, else one after another."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from tunekit.engine.train import Member, Pack, packable
from tunekit.runner.attempt import Attempt
from tunekit.runner.failures import CLASSED, Failure, classify


class Together:
    """Trains attempts side by side. Packs live on while the same attempts come again."""

    def __init__(self, size: int) -> None:
        """``size`` is the most members of a pack."""
        self.size = size
        self._packs: dict[tuple[Member, ...], Pack] = {}
        self._most: dict[object, int] = {}
        """Members that memory held, by group, where that is fewer."""

    def advance(self, attempts: Sequence[Attempt]) -> dict[Attempt, Exception]:
        """Train one epoch of each attempt that has not ended; returns what none of them could mend, by attempt."""
        errors: dict[Attempt, Exception] = {}
        waiting = list(attempts)
        while waiting:
            for attempt in waiting:
                self._guarded(errors, [attempt], attempt.begin)
            alone, packs = self._arranged([one for one in waiting if one not in errors and one.status is None])
            self._keep(packs)
            for attempt in alone:
                self._guarded(errors, [attempt], attempt.step)
            again: list[Attempt] = []
            for members in packs:
                self._guarded(errors, members, partial(self._train, members, again))
            waiting = again
        return errors

    def _guarded(self, errors: dict[Attempt, Exception], attempts: Sequence[Attempt], work: Callable[[], None]) -> None:
        """Do ``work``; what it raises is the end of these attempts here."""
        try:
            work()
        except CLASSED as error:
            for attempt in attempts:
                errors[attempt] = error
                attempt.forget()

    def _arranged(self, attempts: Sequence[Attempt]) -> tuple[list[Attempt], list[list[Attempt]]]:
        groups: dict[object, list[Attempt]] = {}
        for attempt in attempts:
            member = attempt.run.member
            together = packable([member]) and not attempt.trained
            groups.setdefault(member.group() if together else id(member), []).append(attempt)
        alone, packs = [], []
        for group, found in groups.items():
            most = self._most.get(group, self.size)
            for begin in range(0, len(found), most):
                members = found[begin : begin + most]
                (packs if len(members) > 1 else alone).append(members)
        return [one for [one] in alone], packs

    def _keep(self, packs: Sequence[Sequence[Attempt]]) -> None:
        """Close the packs whose attempts do not come together again."""
        for members in self._packs.keys() - set(map(_members, packs)):
            self._packs.pop(members).close()

    def _train(self, attempts: Sequence[Attempt], again: list[Attempt]) -> None:
        """One epoch of a pack; whom memory did not hold go on from their checkpoints, in halves, ``again``."""
        try:
            start = time.perf_counter()
            pack = self._pack(attempts)
            with attempts[0].watched():
                trained = pack.train_epoch()
                runs = [one.run for one in attempts]
                logits = {split: pack.predict(runs[0].splits[split]) for split in runs[0].scored}
            seconds = time.perf_counter() - start
        except CLASSED as error:
            self._packs.pop(_members(attempts), None)
            if classify(error) is not Failure.OUT_OF_MEMORY:
                raise
            most = max(1, len(attempts) // 2)
            self._most[attempts[0].run.member.group()] = most
            for attempt in attempts:
                attempt.note(f"out of memory in a pack of {len(attempts)}; going on in packs of {most}")
                attempt.forget()
            again += attempts
            return
        for slot, attempt in enumerate(attempts):
            attempt.record(trained[slot], {split: each[slot] for split, each in logits.items()}, seconds)

    def _pack(self, attempts: Sequence[Attempt]) -> Pack:
        members = _members(attempts)
        if members not in self._packs:
            self._packs[members] = Pack(members)
            for attempt in attempts:
                attempt.run.packed(len(attempts))
        return self._packs[members]


def _members(attempts: Sequence[Attempt]) -> tuple[Member, ...]:
    return tuple(attempt.run.member for attempt in attempts)
