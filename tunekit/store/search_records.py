"""What a search leaves beside its trials: ``search.json``, so that nobody needs Optuna's storage to read it.

Optuna's storage stays the truth of a running search; the driver writes this file anew from it after each ended trial.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from tunekit.parsing import Scalar, is_finite, strictly

ROLES = ("default", "best", "1se")
"""What a configuration is chosen as: the study's own, the best, the cheapest within one standard error of it."""


class TrialState(StrEnum):
    """How a configuration's trial ended, in Optuna's words."""

    COMPLETE = "complete"
    """Every search seed trained all epochs."""
    PRUNED = "pruned"
    """The scheduler stopped it."""
    FAILED = "failed"
    """A seed diverged, ran out of memory or failed."""


@dataclass(frozen=True, kw_only=True)
class SearchTrial:
    """One ended configuration of a study."""

    number: int
    """Optuna's number, from 0, which is the study's default configuration."""
    params: Mapping[str, Scalar]
    """What was suggested, by parameter: ``learning_rate``, ``r``, ..."""
    state: TrialState
    values: tuple[float, ...] | None
    """One an objective; None for a failed trial. Scores are means over search seeds of the running best, in [0, 1]."""
    epochs: int
    """Trained for it, over its seeds; 0 where the store answered."""
    seconds: float
    """Spent on those epochs."""
    trial_ids: tuple[str, ...]
    """Of its specs, one a search seed."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A configuration that was trained again on fresh seeds."""

    role: str
    """One of ``ROLES``; one configuration may have several, each a Choice."""
    number: int
    """The study's trial that it is."""
    trial_ids: tuple[str, ...]
    """Of the confirming trials, one a seed, ended or not."""


@dataclass(frozen=True, kw_only=True)
class SearchStudy:
    """One Optuna study: a model, a dataset and a method."""

    model: str
    dataset: str
    method: str
    space: Mapping[str, Mapping[str, Any]]
    """By parameter: ``{"type": "float", "low", "high", "log"}``, ``{"type": "int", ...}`` or ``{"type":
    "categorical", "choices"}``."""
    objectives: tuple[str, ...]
    """``macro_f1``, ``num_trainable_params``, ..."""
    directions: tuple[str, ...]
    """``maximize`` or ``minimize``, one an objective."""
    sampler: str
    sampler_seed: int
    scheduler: str
    seeds: tuple[int, ...]
    """Search seeds of each configuration."""
    planned: int
    """Trials asked for in all."""
    trials: tuple[SearchTrial, ...] = ()
    """Ended ones, by number."""
    choices: tuple[Choice, ...] = ()

    @property
    def key(self) -> str:
        """Model, dataset and method, unique in a search."""
        return f"{self.model}/{self.dataset}/{self.method}"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SearchStudy":
        """The study of ``to_dict``. Raises ValueError on a missing, unknown or mistyped field."""
        study = strictly(cls, values)
        try:
            trials = tuple(_trial(one) for one in study.trials)  # type: ignore[arg-type]
            choices = tuple(strictly(Choice, _tuples(one, "trial_ids")) for one in study.choices)  # type: ignore[arg-type]
            lists = {name: tuple(getattr(study, name)) for name in ("objectives", "directions", "seeds")}
        except (TypeError, KeyError) as error:
            raise ValueError(f"SearchStudy: {error}") from error
        found = cls(**{**values, **lists, "trials": trials, "choices": choices})
        _check_study(found)
        return found

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Search:
    """All studies of one search."""

    studies: tuple[SearchStudy, ...] = field(default=())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Search":
        """The search of ``to_dict``. Raises ValueError where it is not one."""
        if not isinstance(values, Mapping) or not isinstance(values.get("studies"), list):
            raise ValueError("search.json holds no list of studies")
        return cls(tuple(SearchStudy.from_dict(one) for one in values["studies"]))

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def _trial(values: Mapping[str, Any]) -> SearchTrial:
    found = strictly(SearchTrial, _tuples(values, "trial_ids", "values"))
    object.__setattr__(found, "state", TrialState(found.state))
    return found


def _check_study(study: SearchStudy) -> None:
    """Raise ValueError, naming the place, on a value of another kind than its field says."""
    numbers = [trial.number for trial in study.trials]
    checks = {
        "names are texts": _texts(study.model, study.dataset, study.method, study.sampler, study.scheduler),
        "space is ranges by parameter": isinstance(study.space, Mapping) and all(map(_is_range, study.space.values())),
        "there is a direction for each objective": _texts(*study.objectives)
        and 0 < len(study.objectives) == len(study.directions)
        and set(study.directions) <= {"maximize", "minimize"},
        "seeds, sampler_seed and planned are whole": _wholes(*study.seeds, study.sampler_seed, study.planned),
        "each trial has a number of its own": _wholes(*numbers) and len(set(numbers)) == len(numbers),
        "each choice has a role and a trial": all(
            choice.role in ROLES and _texts(*choice.trial_ids) and choice.number in numbers for choice in study.choices
        ),
    }
    for trial in study.trials:
        values = trial.values or ()
        checks[f"trial {trial.number} holds what it should"] = (
            isinstance(trial.params, Mapping)
            and all(isinstance(value, Scalar) for value in trial.params.values())
            and all(map(is_finite, (*values, trial.seconds)))
            and (trial.values is None or len(values) == len(study.objectives))
            and (trial.state is not TrialState.COMPLETE or trial.values is not None)
            and _wholes(trial.epochs)
            and _texts(*trial.trial_ids)
        )
    for message, holds in checks.items():
        if not holds:
            raise ValueError(f"SearchStudy: it does not hold that {message}")


def _is_range(given: Any) -> bool:
    if not isinstance(given, Mapping):
        return False
    if given.get("type") == "categorical":
        return isinstance(given.get("choices"), list | tuple) and bool(given["choices"])
    bounds = (given.get("low"), given.get("high"))
    return given.get("type") in ("float", "int") and all(map(is_finite, bounds)) and isinstance(given.get("log"), bool)


def _texts(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _wholes(*values: Any) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _tuples(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"expected an object, got {type(values).__name__}")
    return {key: tuple(value) if key in names and value is not None else value for key, value in values.items()}
