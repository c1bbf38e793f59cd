"""Train several attempts in one process. Trials that can be stacked train as one pack, the others one after another."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from weakref import WeakSet

from tunekit.engine.member import Member, packable
from tunekit.engine.train import Pack
from tunekit.worker.attempt import Attempt
from tunekit.worker.failures import CLASSIFIED_ERRORS, Failure, cause, classify, device_is_lost

Outcomes = dict[Attempt, Exception | None]
"""The attempts that have recorded an epoch or were stopped, each with the error that stopped it, or None."""


class PackTrainer:
    """Trains attempts on one device, one epoch for each call of ``advance``, and as many at a time as memory holds.

    A pack stays built from one call to the next if the same attempts form a pack again. A *member* is the model of one
    attempt with its training data and optimizer, as ``tunekit.engine.train`` stacks it.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        """The most attempts that are loaded at a time. When memory runs out it becomes half of the number loaded
        then."""
        self._packs: dict[tuple[Member, ...], Pack] = {}
        """The packs that are built, by their members."""
        self._attempts: WeakSet[Attempt] = WeakSet()
        """Every attempt that this trainer has trained and that still exists."""

    def advance(self, attempts: Sequence[Attempt]) -> Outcomes:
        """Train one epoch of the first of ``attempts``, as many as there is capacity for. Return their outcomes.

        None of ``attempts`` may have ended. An attempt without an outcome has recorded no epoch and must be passed
        again: there was no capacity for it; or memory ran out, and the capacity is now lower; or it runs ahead and
        holds its first epoch. Attempts of earlier calls that are loaded and are not passed stay loaded and count
        towards the capacity. If they fill it, they are unloaded one by one, each with a checkpoint, until one attempt
        can be loaded.
        """
        others = [one for one in self._attempts if one.run and one not in attempts]
        while len(others) >= self.capacity:
            others.pop().unload_with_checkpoint()
        chosen, outcomes = attempts[: self.capacity - len(others)], Outcomes()
        self._attempts.update(chosen)
        for attempt in chosen:
            attempt.shares_device, attempt.advanced = len(chosen) + len(others) > 1, False
        try:
            self._train(chosen, outcomes)
            return outcomes
        except CLASSIFIED_ERRORS as error:
            if classify(error) is not Failure.OUT_OF_MEMORY:
                raise
        # Halve after the except block, since within it the error's traceback keeps tensors in memory.
        self._halve_capacity(chosen, others)
        return outcomes

    def _halve_capacity(self, chosen: Sequence[Attempt], others: Sequence[Attempt]) -> None:
        """Unload every attempt, and set the capacity to half of their number."""
        count = len(chosen) + len(others)
        self.capacity = max(1, count // 2)
        self._packs.clear()
        for attempt in [*chosen, *others]:
            attempt.note(f"out of memory with {count} on the device; from here on {self.capacity} at a time")
        for attempt in chosen:
            attempt.unload()  # without a checkpoint, which may be written between two epochs only
        for attempt in others:
            attempt.unload_with_checkpoint()

    def _train(self, attempts: Sequence[Attempt], outcomes: Outcomes) -> None:
        """Train one epoch of each attempt, and add the outcome of each to ``outcomes``.

        Raises the error when memory runs out while several attempts are on the device.
        """
        self._drop_outdated_packs()
        for attempt in attempts:
            self._do(attempt.begin, [attempt], outcomes)
        loaded = [one.run for one in self._attempts if one.run]
        for run in loaded:
            run.trials_in_process = len(loaded)
        singles, groups = _arrange([one for one in attempts if one.status is None and one not in outcomes])
        # A trial may be a member of one pack only, so packs that are not needed now are closed first.
        for members in self._packs.keys() - {_members(group) for group in groups}:
            self._packs.pop(members).close()
        for attempt in singles:
            self._do(attempt.step, [attempt], outcomes)
        for group in groups:
            self._do(partial(self._train_pack, group), group, outcomes)
        self._drop_outdated_packs()
        for attempt in attempts:
            if attempt.advanced or attempt.status:
                outcomes.setdefault(attempt)
            if attempt.status:
                attempt.unload()

    def _drop_outdated_packs(self) -> None:
        """Remove each pack that has a member that has ended or was unloaded.

        Its other members get weights and optimizer state of their own again, so that they can go on training.
        """
        loaded = set(_members([one for one in self._attempts if one.status is None]))
        for members in [members for members in self._packs if not loaded.issuperset(members)]:
            pack = self._packs.pop(members)
            if loaded.intersection(members):
                pack.close()

    def _do(self, work: Callable[[], None], attempts: Sequence[Attempt], outcomes: Outcomes) -> None:
        """Do ``work`` for ``attempts``. If it raises an error, unload them and make the error their outcome.

        An error that says that memory ran out is raised again instead. After a defect in a pack its attempts have no
        outcome yet: they train alone from their checkpoints on, so that only the one at fault ends. Where the defect
        has lost the device, which can't tell the attempt at fault, all of them end.
        """
        try:
            work()
        except CLASSIFIED_ERRORS as error:
            if classify(error) is Failure.OUT_OF_MEMORY:
                raise
            self._packs.pop(_members(attempts), None)
            defect = classify(error) is Failure.DEFECT
            for attempt in attempts:
                if not defect:
                    outcomes[attempt] = error
                elif device_is_lost():
                    attempt.end_after(error)
                else:
                    attempt.trains_alone = True
                    attempt.note(f"a pack of {len(attempts)} met {cause(error)}; its trials go on one by one")
                attempt.unload()

    def _train_pack(self, attempts: Sequence[Attempt]) -> None:
        """Train one epoch of ``attempts`` as one pack and score it. Record it for each of them, or the one before."""
        pack = self._pack_of(attempts)
        runs = [attempt.run for attempt in attempts if attempt.run]
        with ExitStack() as recording:
            for attempt in attempts:
                recording.enter_context(attempt.recording())
            start = time.perf_counter()
            with attempts[0].watchdog():
                trained = pack.train_epoch()
                # One array (members, examples, classes) for each scored split.
                logits = {split: pack.predict(runs[0].splits[split]) for split in runs[0].scored}
            seconds = time.perf_counter() - start
        for index, (attempt, run) in enumerate(zip(attempts, runs, strict=True)):
            of_member = {split: each[index] for split, each in logits.items()}
            attempt.record_or_hold(run.scored_epoch(trained[index], of_member, seconds))

    def _pack_of(self, attempts: Sequence[Attempt]) -> Pack:
        """Return the pack of ``attempts``, which is built if there is none."""
        members = _members(attempts)
        if members not in self._packs:
            for attempt in attempts:
                if attempt.run:
                    attempt.run.join_pack(len(attempts))
            self._packs[members] = Pack(members, partial(_note, attempts))
        return self._packs[members]


def _arrange(attempts: Sequence[Attempt]) -> tuple[list[Attempt], list[list[Attempt]]]:
    """Return the attempts that train alone, and groups of attempts that each train as one pack. All must be loaded."""
    groups: dict[object, list[Attempt]] = {}
    for attempt in attempts:
        [member] = _members([attempt])
        can_be_packed = packable([member]) and not (attempt.all_epochs_trained or attempt.trains_alone)
        groups.setdefault(member.pack_key() if can_be_packed else id(member), []).append(attempt)
    singles = [group[0] for group in groups.values() if len(group) == 1]
    return singles, [group for group in groups.values() if len(group) > 1]


def _note(attempts: Sequence[Attempt], line: str) -> None:
    for attempt in attempts:
        attempt.note(line)


def _members(attempts: Sequence[Attempt]) -> tuple[Member, ...]:
    """Return the member of each of ``attempts`` that is loaded."""
    return tuple(attempt.run.member for attempt in attempts if attempt.run)
