"""How a configuration ended, from the records of its search seeds, which are all that Optuna is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from tunekit.errors import UserError
from tunekit.parsing import not_a_choice
from tunekit.schema import Direction, Status, TrialSpec, readable
from tunekit.store.records import running_best
from tunekit.store.search_records import TrialState
from tunekit.tasks import TASKS, Task, task_of
from tunekit.tasks.base import ITEM_SCORES

if TYPE_CHECKING:
    from tunekit.store.records import StoredTrial


@dataclass(frozen=True)
class Objective:
    """One thing that a search optimises."""

    name: str
    """The name of a metric, or of a field of TrialSummary."""
    direction: str
    """``maximize`` or ``minimize``."""
    is_score: bool
    """Whether it is a score on validation, whose best value so far counts; else it is a field of TrialSummary."""


SIZE = Objective("num_trainable_params", "minimize", False)
"""What may stand beside a score."""


def objectives_of(task: Task) -> dict[str, Objective]:
    """Return what a search on a dataset of ``task`` can optimise, by name.

    That are reported scores of which more is better, and whose standard error over items is known, as 1se needs it.
    """
    able = [name for name in task.reported if task.metric(name).direction is Direction.MAX]
    scores = [name for name in able if name in ITEM_SCORES[task.form]]
    ordered = sorted(scores, key=lambda name: name != task.primary)
    return {**{name: Objective(name, "maximize", True) for name in ordered}, SIZE.name: SIZE}


def objective_of(spec: TrialSpec) -> Objective:
    """Return the score by which the task of the spec's dataset chooses.

    Raises UserError where a search can't optimise it.
    """
    task = task_of(spec.dataset)
    known = objectives_of(task)
    if task.primary not in known:
        raise UserError(
            f"a search optimises {', '.join(known)}, and the task of {spec.dataset!r} chooses by {task.primary}"
        )
    return known[task.primary]


def check_objectives(objectives: Sequence[Objective], spec: TrialSpec) -> None:
    """Raise UserError where the task of the spec's dataset has no such score."""
    known = objectives_of(task_of(spec.dataset))
    for objective in objectives:
        if objective.name not in known:
            raise UserError(not_a_choice(f"--objective on {readable(spec.dataset)}", objective.name, known))


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """Return the objectives in a comma-separated list.

    Raises UserError on an objective that no task has or a repeated one, and where the first one is no score.
    """
    known = {name: one for task in TASKS for name, one in objectives_of(TASKS[task]).items() if one.is_score}
    known[SIZE.name] = SIZE
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UserError(not_a_choice("--objective", name, known))
    if len(set(names)) < len(names):
        raise UserError(f"--objective names one twice: {text}")
    found = tuple(known[name] for name in names)
    if not found[0].is_score:
        raise UserError(f"--objective must name a score first, which selects configurations, as in macro_f1,{names[0]}")
    return found


@dataclass(frozen=True)
class ConfigurationOutcome:
    """How a configuration ended."""

    state: TrialState
    """Complete, pruned or failed."""
    values: tuple[float, ...] | None
    """One value for each objective. A pruned configuration has a value only in a search of one objective, a failed one
    never."""
    curve: tuple[float, ...]
    """After each epoch, the best value of the first objective so far on validation, as the mean over the search
    seeds."""
    epochs: int
    """The number of epochs trained, over all search seeds."""
    seconds: float
    """The seconds that these epochs took."""


def outcome_of(trials: "Sequence[StoredTrial | None]", objectives: Sequence[Objective]) -> ConfigurationOutcome | None:
    """Return how a configuration ended, or None where it has not ended.

    ``trials`` has the records of each search seed, None for a seed without any. A configuration has ended when all
    seeds have completed, or one of them has failed or was stopped.
    """
    recorded = [trial for trial in trials if trial]
    statuses = [trial.summary.status if trial and trial.summary else None for trial in trials]
    curves = [running_best(trial.epochs, objectives[0].name) if trial else [] for trial in trials]
    curve = tuple(fmean(values) for values in zip(*curves, strict=False))
    if set(statuses) - {None, Status.COMPLETED, Status.STOPPED}:
        state, values = TrialState.FAILED, None
    elif Status.STOPPED in statuses:
        state, values = TrialState.PRUNED, curve[-1:] if len(objectives) == 1 else None
    elif None not in statuses:
        state, values = TrialState.COMPLETE, tuple(_value(objective, recorded) for objective in objectives)
    else:
        return None
    return ConfigurationOutcome(
        state,
        values,
        curve,
        sum(len(trial.epochs) for trial in recorded),
        sum(record.epoch_seconds or 0.0 for trial in recorded for record in trial.epochs),
    )


def _value(objective: Objective, trials: "Sequence[StoredTrial]") -> float:
    """Return the value of ``objective`` for a configuration whose seeds have all completed."""
    if objective.is_score:
        return fmean(running_best(trial.epochs, objective.name)[-1] for trial in trials)
    return float(getattr(trials[0].summary, objective.name))
