"""Blocks -> TrialSpecs, and which of them are new, partial, done, failed or stale against a store. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tunekit.planning.blocks import Block
from tunekit.schema import Fingerprint, Status, TrialSpec
from tunekit.store.frames import Frames, TrialOutline
from tunekit.store.records import StoredTrial
from tunekit.store.result_store import ResultStore


class PlanState(StrEnum):
    """Where a planned trial stands."""

    NEW = "new"
    PARTIAL = "partial"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a plan."""

    spec: TrialSpec
    fingerprint: Fingerprint
    state: PlanState
    epochs_done: int
    reason: str | None
    """Status and error of a failed trial."""
    settled: bool
    """Whether the trial's own folder is this fingerprint's, or there is none (``ResultStore.claim_folder``)."""


@dataclass(frozen=True)
class Plan:
    """All trials of a sweep in the order they run, and what else the store holds of the same specs."""

    trials: tuple[PlannedTrial, ...]
    stale: tuple[tuple[StoredTrial, list[str]], ...]
    """Stored trials of a planned spec with another fingerprint, and the parts in which it differs."""
    stored: Frames
    """What the store held when the plan was made."""

    @property
    def damaged(self) -> tuple[str, ...]:
        """One line a trial that can't be read."""
        return self.stored.damaged

    def count(self, state: PlanState) -> int:
        """Number of trials in ``state``."""
        return sum(trial.state is state for trial in self.trials)

    def pending(self, *, retry_failed: bool) -> list[PlannedTrial]:
        """The trials that a run would train."""
        wanted = {PlanState.NEW, PlanState.PARTIAL} | ({PlanState.FAILED} if retry_failed else set())
        return [trial for trial in self.trials if trial.state in wanted]

    def to_dict(self) -> dict[str, Any]:
        """The plan as ``--dry-run --json`` prints it."""
        return {
            "total": len(self.trials),
            **{state.value: self.count(state) for state in PlanState},
            "stale": len(self.stale),
            "trials": [
                {**trial.spec.to_dict(), "trial_id": trial.spec.trial_id, "state": trial.state.value}
                for trial in self.trials
            ],
        }


def expand(
    blocks: Sequence[Block], name_model: Callable[[str], str] = str, name_dataset: Callable[[str], str] = str
) -> list[TrialSpec]:
    """All trials of ``blocks``, each once, seed by seed: a whole table with n = 1 stands after the first seeds."""
    specs: dict[str, TrialSpec] = {}
    for turn in range(max(len(block.seeds) for block in blocks)):
        for block in blocks:
            if turn < len(block.seeds):
                for spec in block.specs(block.seeds[turn], name_model, name_dataset):
                    specs.setdefault(spec.trial_id, spec)
    return list(specs.values())


def make_plan(
    specs: Sequence[TrialSpec],
    fingerprints: Mapping[str, Fingerprint],
    store: ResultStore,
    *,
    write_cache: bool = False,
    previous: Frames | None = None,
) -> Plan:
    """Where each spec stands in ``store``; ``fingerprints`` are by trial_id.

    With ``write_cache`` the store's cache is brought up to date. ``previous`` is what an earlier plan read of the store;
    only what has changed since is read again. Raises OSError where the cache can't be written.
    """
    frames, names = store.frames(store.cache_folder, write_cache=write_cache, previous=previous), store.folder_names()
    by_id: dict[str, list[TrialOutline]] = {}
    for trial in frames.outlines():
        by_id.setdefault(trial.trial_id, []).append(trial)
    planned, others = [], []
    for spec in specs:
        fingerprint = fingerprints[spec.trial_id]
        same: TrialOutline | None = None
        for trial in by_id.get(spec.trial_id, []):
            if trial.fingerprint != fingerprint.digest:
                others.append((store.trials_folder / trial.folder, fingerprint))
            elif same is None or trial.status is not None:
                same = trial
        settled = spec.folder not in names if same is None else same.folder == spec.folder
        planned.append(_planned(spec, fingerprint, same, settled))
    stale = []
    for other, (_, fingerprint) in zip(store.read_all(folder for folder, _ in others), others, strict=True):
        if isinstance(other, ValueError):
            raise other
        stale.append((other, other.fingerprint.differs_in(fingerprint)))
    return Plan(tuple(planned), tuple(stale), frames)


def _planned(spec: TrialSpec, fingerprint: Fingerprint, stored: TrialOutline | None, settled: bool) -> PlannedTrial:
    if stored is None:
        return PlannedTrial(spec, fingerprint, PlanState.NEW, 0, None, settled)
    done = stored.num_epochs
    if stored.status in (None, Status.STOPPED):
        return PlannedTrial(spec, fingerprint, PlanState.PARTIAL, done, None, settled)
    if stored.status is Status.COMPLETED:
        return PlannedTrial(spec, fingerprint, PlanState.DONE, done, None, settled)
    reason = f"{stored.status.value}: {stored.error or 'no reason recorded'}"
    return PlannedTrial(spec, fingerprint, PlanState.FAILED, done, reason, settled)
