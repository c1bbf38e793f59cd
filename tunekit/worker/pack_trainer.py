"""Train several attempts in one process: as packs where trials can be stacked, one after another where they can't."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from weakref import WeakSet

from tunekit.engine.train import Member, Pack, packable
from tunekit.worker.attempt import CLASSIFIED_ERRORS, Attempt, Failure, classify

Outcomes = dict[Attempt, Exception | None]
"""Each attempt that has trained its epoch or ended, with the error that stopped it; None if nothing did."""


class PackTrainer:
    """Trains attempts on one device, an epoch a call, as many at a time as memory holds.

    A pack stays built between calls, as long as the same attempts come again.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        """The most attempts that are loaded at a time. It is halved each time memory runs out."""
        self._packs: dict[tuple[Member, ...], Pack] = {}
        self._attempts: WeakSet[Attempt] = WeakSet()
        """Every attempt that this trainer has trained and that still exists."""

    def advance(self, attempts: Sequence[Attempt]) -> Outcomes:
        """Train one epoch of as many of ``attempts``, from the first on, as there is capacity for.

        None of ``attempts`` may have ended. Attempts of earlier calls that are not among them stay loaded. Only if they
        fill the whole capacity are they unloaded, each with a checkpoint, until there is room for one.
        Return the outcome of each attempt that has trained. An attempt that is missing there has not trained and must
        be passed again: there was no capacity for it, or memory ran out, and then the capacity has been halved.
        """
        waiting = [one for one in self._attempts if one.run and one not in attempts]
        while len(waiting) >= self.capacity:
            waiting.pop().unload_with_checkpoint()
        chosen, outcomes = attempts[: self.capacity - len(waiting)], Outcomes()
        self._attempts.update(chosen)
        for attempt in chosen:
            attempt.shares_device = len(chosen) + len(waiting) > 1
        try:
            self._train(chosen, outcomes)
            return outcomes
        except CLASSIFIED_ERRORS as error:
            if classify(error) is not Failure.OUT_OF_MEMORY:
                raise
        # Halve after the except block: until then the error's traceback holds tensors.
        self._halve_capacity(chosen, waiting)
        return outcomes

    def _halve_capacity(self, chosen: Sequence[Attempt], waiting: Sequence[Attempt]) -> None:
        """Unload every attempt, and halve the number that is loaded at a time from now on."""
        count = len(chosen) + len(waiting)
        self.capacity = max(1, count // 2)
        self._packs.clear()
        for attempt in [*chosen, *waiting]:
            attempt.note(f"out of memory with {count} on the device; from here on {self.capacity} at a time")
        for attempt in chosen:
            attempt.unload()  # in the middle of an epoch: a checkpoint of now would be none of an epoch's end
        for attempt in waiting:
            attempt.unload_with_checkpoint()

    def _train(self, attempts: Sequence[Attempt], outcomes: Outcomes) -> None:
        """Train one epoch of each attempt and fill ``outcomes``. Raises when memory runs out for several attempts."""
        self._drop_outdated_packs()
        for attempt in attempts:
            self._do(attempt.begin, [attempt], outcomes)
        singles, groups = _arrange([one for one in attempts if one.status is None and one not in outcomes])
        # A trial may be a member of one pack only, so packs that are not wanted now give their members back first.
        for members in self._packs.keys() - {_members(group) for group in groups}:
            self._packs.pop(members).close()
        for attempt in singles:
            self._do(attempt.step, [attempt], outcomes)
        for group in groups:
            self._do(partial(self._train_pack, group), group, outcomes)
        self._drop_outdated_packs()
        for attempt in attempts:
            outcomes.setdefault(attempt)
            if attempt.status:
                attempt.unload()

    def _drop_outdated_packs(self) -> None:
        """Take apart each pack with a member that has ended or was unloaded; the members that are left go on."""
        loaded = set(_members([one for one in self._attempts if one.status is None]))
        for members in [members for members in self._packs if not loaded.issuperset(members)]:
            pack = self._packs.pop(members)
            if loaded.intersection(members):
                pack.close()

    def _do(self, work: Callable[[], None], attempts: Sequence[Attempt], outcomes: Outcomes) -> None:
        """Do ``work``. An error that it raises is the outcome of ``attempts``; exhausted memory is raised again."""
        try:
            work()
        except CLASSIFIED_ERRORS as error:
            if classify(error) is Failure.OUT_OF_MEMORY:
                raise
            self._packs.pop(_members(attempts), None)
            for attempt in attempts:
                outcomes[attempt] = error
                attempt.unload()

    def _train_pack(self, attempts: Sequence[Attempt]) -> None:
        start = time.perf_counter()
        pack = self._pack_of(attempts)
        runs = [attempt.run for attempt in attempts if attempt.run]
        with attempts[0].watchdog():
            trained = pack.train_epoch()
            logits = {split: pack.predict(runs[0].splits[split]) for split in runs[0].scored}  # each (K, N, C)
        seconds = time.perf_counter() - start
        for slot, attempt in enumerate(attempts):
            attempt.record(trained[slot], {split: each[slot] for split, each in logits.items()}, seconds)

    def _pack_of(self, attempts: Sequence[Attempt]) -> Pack:
        """Return the pack of ``attempts``, built if they have not trained together before."""
        members = _members(attempts)
        if members not in self._packs:
            self._packs[members] = Pack(members)
            for attempt in attempts:
                if attempt.run:
                    attempt.run.note_pack_size(len(attempts))
        return self._packs[members]


def _arrange(attempts: Sequence[Attempt]) -> tuple[list[Attempt], list[list[Attempt]]]:
    """Return the attempts that train alone, and groups of attempts that train as one pack each."""
    groups: dict[object, list[Attempt]] = {}
    for attempt in attempts:
        [member] = _members([attempt])
        can_be_packed = packable([member]) and not attempt.all_epochs_recorded
        groups.setdefault(member.pack_key() if can_be_packed else id(member), []).append(attempt)
    singles = [group[0] for group in groups.values() if len(group) == 1]
    return singles, [group for group in groups.values() if len(group) > 1]


def _members(attempts: Sequence[Attempt]) -> tuple[Member, ...]:
    """Return the pack members of the attempts that are loaded."""
    return tuple(attempt.run.member for attempt in attempts if attempt.run)
