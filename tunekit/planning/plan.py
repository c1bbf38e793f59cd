"""Which trials of a sweep are new, partial, done, failed or stale against a store, and the same in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tunekit.errors import UserError
from tunekit.parsing import how_many
from tunekit.planning.batching import described
from tunekit.planning.changed_settings import changed_settings
from tunekit.planning.resolve import ResolvedSweep, fingerprint_in
from tunekit.schema import Fingerprint, Status, TrialSpec, readable
from tunekit.store.frames import Frames, TrialOutline
from tunekit.store.records import StoredTrial
from tunekit.store.requests import cell_names
from tunekit.store.result_store import ResultStore


class PlanState(StrEnum):
    """How far a planned trial is."""

    NEW = "new"
    """Nothing of it is on record."""
    PARTIAL = "partial"
    """It was begun and has not completed."""
    DONE = "done"
    """It completed."""
    FAILED = "failed"
    """It ended in an error, diverged or ran out of memory."""


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a plan."""

    spec: TrialSpec
    fingerprint: Fingerprint
    state: PlanState
    epochs_done: int
    """The number of epochs on record."""
    reason: str | None
    """The status and error of a failed trial."""
    owns_folder: bool
    """Whether the trial's folder holds no records of another fingerprint, so that ``claim_folder`` is not needed."""


@dataclass(frozen=True)
class Plan:
    """All trials of a sweep in the order in which they run, and what else the store holds of the same specs."""

    trials: tuple[PlannedTrial, ...]
    stale: tuple[tuple[StoredTrial, list[str]], ...]
    """Stored trials of a planned spec with another fingerprint, and the parts in which it differs."""
    stored: Frames
    """The records that the store held when the plan was made."""

    @property
    def damaged(self) -> tuple[str, ...]:
        """One line for each trial that can't be read."""
        return self.stored.damaged

    def count(self, state: PlanState) -> int:
        """Return the number of trials in ``state``."""
        return sum(trial.state is state for trial in self.trials)

    def pending(self, *, retry_failed: bool) -> list[PlannedTrial]:
        """Return the trials that a run would train; failed ones only with ``retry_failed``."""
        wanted = {PlanState.NEW, PlanState.PARTIAL} | ({PlanState.FAILED} if retry_failed else set())
        return [trial for trial in self.trials if trial.state in wanted]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as ``--dry-run --json`` prints it."""
        return {
            "total": len(self.trials),
            **{state.value: self.count(state) for state in PlanState},
            "stale": len(self.stale),
            "trials": [
                {**trial.spec.to_dict(), "trial_id": trial.spec.trial_id, "state": trial.state.value}
                for trial in self.trials
            ],
        }


def make_plan(
    specs: Sequence[TrialSpec],
    fingerprints: Mapping[str, Fingerprint],
    store: ResultStore,
    *,
    write_cache: bool = False,
    previous: Frames | None = None,
) -> Plan:
    """Return how far each spec is in ``store``; ``fingerprints`` are by trial_id.

    With ``write_cache`` the store's cache is brought up to date. ``previous`` holds the records that an earlier plan
    has read; only trials that have changed since are read again. Raises OSError where the cache can't be written.
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
        owns_folder = spec.folder not in names if same is None else same.folder == spec.folder
        planned.append(_planned(spec, fingerprint, same, owns_folder))
    stale = []
    for other, (_, fingerprint) in zip(store.read_all(folder for folder, _ in others), others, strict=True):
        if isinstance(other, ValueError):
            raise other
        stale.append((other, other.fingerprint.differs_in(fingerprint)))
    return Plan(tuple(planned), tuple(stale), frames)


def _planned(spec: TrialSpec, fingerprint: Fingerprint, stored: TrialOutline | None, owns_folder: bool) -> PlannedTrial:
    if stored is None:
        return PlannedTrial(spec, fingerprint, PlanState.NEW, 0, None, owns_folder)
    done = stored.num_epochs
    if stored.status in (None, Status.STOPPED):
        return PlannedTrial(spec, fingerprint, PlanState.PARTIAL, done, None, owns_folder)
    if stored.status is Status.COMPLETED:
        return PlannedTrial(spec, fingerprint, PlanState.DONE, done, None, owns_folder)
    reason = f"{stored.status.value}: {stored.error or 'no reason recorded'}"
    return PlannedTrial(spec, fingerprint, PlanState.FAILED, done, reason, owns_folder)


def plan_sweep(
    sweep: ResolvedSweep, store: ResultStore, *, write_cache: bool = False, previous: Plan | None = None
) -> Plan:
    """Return how far each of the sweep's trials is in ``store``.

    ``make_plan`` explains ``write_cache``. ``previous`` is a plan that was made earlier. Raises UserError where a trial
    with patience has no validation part.
    """
    for dataset in dict.fromkeys(one.dataset for one in sweep.specs if one.patience and not one.val_fraction):
        if not sweep.has_validation(dataset):
            raise UserError(
                f"patience: {readable(dataset)} has no validation part to look at; give a --val-fraction above 0"
            )
    fingerprints = {spec.trial_id: fingerprint_in(sweep, spec) for spec in sweep.specs}
    return make_plan(
        sweep.specs, fingerprints, store, write_cache=write_cache, previous=previous.stored if previous else None
    )


def describe(sweep: ResolvedSweep, plan: Plan, pending: Sequence[PlannedTrial]) -> str:
    """Return the plan for people: the states of each cell, changed settings, and stale trials with the reasons."""
    lines = [f"sweep {sweep.name}: {how_many(len(plan.trials), 'trial')}, {len(pending)} to run"]
    lines += [f"  {line}" for line in cell_lines(plan.trials)]
    lines += [f"  {line}" for line in changed_settings(sweep.specs)]
    lines += [f"  {line}" for line in described(sweep.specs, sweep.models)]
    for trial, parts in plan.stale:
        lines.append(f"  stale: {trial.spec.label} was made by other {', '.join(parts)}; kept in {trial.folder.name}")
    lines += [f"  damaged, left out: {line}" for line in plan.damaged]
    return "\n".join(lines)


def cell_lines(trials: Sequence[PlannedTrial]) -> list[str]:
    """Return a line for each cell: its name, how many of its trials are in each state, and its seeds."""
    names = cell_names([trial.spec for trial in trials])
    width = max(len(name) for name in names.values())
    by_cell: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        by_cell.setdefault(trial.spec.cell, []).append(trial)
    lines = []
    for cell, name in names.items():
        same = by_cell[cell]
        counts = [f"{count} {state.value}" for state in PlanState if (count := sum(t.state is state for t in same))]
        seeds = " ".join(str(trial.spec.seed) for trial in same)
        lines.append(f"{name:<{width}}  {', '.join(counts)}  (seeds {seeds})")
    return lines
