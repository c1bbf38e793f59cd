"""What a configuration came to, read from the records of its search seeds: told to Optuna, and answered to repeats."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from tunekit.errors import UserError
from tunekit.schema import Status
from tunekit.store.records import running_best
from tunekit.store.search_records import TrialState

if TYPE_CHECKING:
    from tunekit.store.records import StoredTrial


@dataclass(frozen=True)
class Objective:
    """What a search optimises."""

    name: str
    direction: str
    """``maximize`` or ``minimize``."""
    score: bool
    """Whether it is a score on validation, of which the running best counts; else a field of the summary."""


OBJECTIVES = {
    one.name: one
    for one in (
        Objective("macro_f1", "maximize", True),
        Objective("accuracy", "maximize", True),
        Objective("num_trainable_params", "minimize", False),
    )
}


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """The objectives of a comma-separated list. Raises UserError on unknown, repeated and missing ones."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in OBJECTIVES:
            raise UserError(f"unknown objective {name!r}; there are {', '.join(OBJECTIVES)}")
    if len(set(names)) < len(names):
        raise UserError(f"--objective names one twice: {text}")
    found = tuple(OBJECTIVES[name] for name in names)
    if not found[0].score:
        raise UserError(f"--objective must name a score first, which the choice is made by, as in macro_f1,{names[0]}")
    return found


@dataclass(frozen=True)
class ConfigurationOutcome:
    """An ended configuration."""

    state: TrialState
    values: tuple[float, ...] | None
    """One an objective; of a pruned one only the first, where that is the only objective; None for a failed one."""
    curve: tuple[float, ...]
    """After each epoch: the first objective's running best on validation, mean over the search seeds."""
    epochs: int
    """Trained, over the seeds."""
    seconds: float
    """Spent on these."""


def outcome_of(trials: "Sequence[StoredTrial | None]", objectives: Sequence[Objective]) -> ConfigurationOutcome | None:
    """What the records of a configuration's search seeds say, None for seeds without any; None where it has not ended.

    It has when all seeds have completed, or one has failed or was stopped.
    """
    known = [trial for trial in trials if trial]
    statuses = [trial.summary.status if trial and trial.summary else None for trial in trials]
    curves = [running_best(trial.epochs, objectives[0].name) if trial else [] for trial in trials]
    curve = tuple(fmean(values) for values in zip(*curves, strict=False))
    if set(statuses) - {None, Status.COMPLETED, Status.STOPPED}:
        state, values = TrialState.FAILED, None
    elif Status.STOPPED in statuses:
        state, values = TrialState.PRUNED, curve[-1:] if len(objectives) == 1 else None
    elif None not in statuses:
        state, values = TrialState.COMPLETE, tuple(_value(one, known) for one in objectives)
    else:
        return None
    return ConfigurationOutcome(
        state,
        values,
        curve,
        sum(len(trial.epochs) for trial in known),
        sum(record.epoch_seconds for trial in known for record in trial.epochs),
    )


def _value(objective: Objective, trials: "Sequence[StoredTrial]") -> float:
    if objective.score:
        return fmean(running_best(trial.epochs, objective.name)[-1] for trial in trials)
    return float(getattr(trials[0].summary, objective.name))
