"""How a configuration ended, from the records of its search seeds. Optuna is told nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from tunekit.errors import UserError
from tunekit.parsing import not_a_choice
from tunekit.schema import Direction, Status, readable
from tunekit.store.records import running_best
from tunekit.store.search_records import TrialState
from tunekit.tasks import Metric, Task, task_of
from tunekit.tasks.base import ITEM_SCORES

if TYPE_CHECKING:
    from tunekit.store.records import StoredTrial


@dataclass(frozen=True)
class Objective:
    """One thing that a search optimises."""

    name: str
    """The name of a metric, or of a field of TrialSummary."""
    metric: Metric | None
    """The metric on validation, whose best value so far counts; None for a field of TrialSummary."""

    @property
    def direction(self) -> str:
        """``maximize`` or ``minimize``: a field of TrialSummary is a cost."""
        return "maximize" if self.metric is not None and self.metric.direction is Direction.MAX else "minimize"


SIZE = Objective("num_trainable_params", None)
"""The objective that may stand beside a score."""


def objectives_of(task: Task) -> dict[str, Objective]:
    """Return the objectives that a search on a dataset of ``task`` can have, by name.

    They are the reported scores whose standard error over items is known, since 1se needs it, and the size.
    """
    scores = [name for name in task.reported if name in ITEM_SCORES[task.form]]
    ordered = sorted(scores, key=lambda name: name != task.primary)
    return {**{name: Objective(name, task.metric(name)) for name in ordered}, SIZE.name: SIZE}


def objectives_on(dataset: str, names: Sequence[str] | None) -> tuple[Objective, ...]:
    """Return the objectives called ``names`` on ``dataset``; None means the score by which its task chooses.

    Raises UserError where a search on this dataset can't optimise one of them.
    """
    task = task_of(dataset)
    known = objectives_of(task)
    if names is None:
        if task.primary not in known:
            raise UserError(
                f"a search optimises {', '.join(known)}, and the task of {dataset!r} chooses by {task.primary}"
            )
        return (known[task.primary],)
    for name in names:
        if name not in known:
            raise UserError(not_a_choice(f"--objective on {readable(dataset)}", name, known))
    return tuple(known[name] for name in names)


def objective_names(text: str) -> tuple[str, ...]:
    """Return the names in a comma-separated list of objectives.

    Raises UserError on an objective that no task has or a repeated one, and where the first one is no score.
    """
    known = [*dict.fromkeys(name for scores in ITEM_SCORES.values() for name in scores), SIZE.name]
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            raise UserError(not_a_choice("--objective", name, known))
    if len(set(names)) < len(names):
        raise UserError(f"--objective names one twice: {text}")
    if names[0] == SIZE.name:
        raise UserError(f"--objective must name a score first, which selects configurations, as in macro_f1,{names[0]}")
    return names


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
    metric = objectives[0].metric
    assert metric is not None  # a score stands first
    curves = [running_best(trial.epochs, metric) if trial else [] for trial in trials]
    # A seed that patience has ended keeps its best score; an interrupted one has no score after its last epoch.
    longest = max(map(len, curves))
    curves = [
        curve + curve[-1:] * (longest - len(curve)) if status is Status.COMPLETED else curve
        for curve, status in zip(curves, statuses, strict=True)
    ]
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
    if objective.metric is not None:
        return fmean(running_best(trial.epochs, objective.metric)[-1] for trial in trials)
    return float(getattr(trials[0].summary, objective.name))
