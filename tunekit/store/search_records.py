"""The classes of the records in search.json, by which a search can be read without Optuna.

While a search runs, it works with Optuna's storage and not with search.json. The driver rewrites search.json from that
storage whenever a trial of a study has ended.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tunekit.parsing import Scalar, is_finite, strictly
from tunekit.schema import readable
from tunekit.tasks import task_of

ROLES = ("default", "best", "1se")
"""The roles of a confirmed configuration: the default of its method; the one with the best score; and the one with the
fewest trainable parameters among those within one standard error of the best."""


class TrialState(StrEnum):
    """How a trial of a study ended, in Optuna's words."""

    COMPLETE = "complete"
    """All search seeds trained all epochs."""
    PRUNED = "pruned"
    """The scheduler stopped the trial."""
    FAILED = "failed"
    """A seed diverged, ran out of memory or failed."""


@dataclass(frozen=True, kw_only=True)
class SearchTrial:
    """An ended trial of a study: one configuration, trained on each search seed."""

    number: int
    """The number of the trial in its study. Number 0 is the default configuration."""
    params: Mapping[str, Scalar]
    """The suggested value of each parameter, such as ``learning_rate`` or the rank ``r``."""
    state: TrialState
    """How the trial ended."""
    values: tuple[float, ...] | None
    """One value for each objective; None for a failed trial. A score's value is the mean, over the search seeds, of the
    best score on validation, in the score's unit."""
    epochs: int
    """The number of epochs trained, over all seeds; 0 where the store already held this configuration."""
    seconds: float
    """The seconds that these epochs took."""
    trial_ids: tuple[str, ...]
    """The ids of the trials in the store, one for each search seed."""


@dataclass(frozen=True, kw_only=True)
class ConfirmedConfiguration:
    """A configuration of a study that is trained again on fresh seeds, to confirm its score on test."""

    role: str
    """One of ``ROLES``. A configuration with several roles is listed once for each."""
    number: int
    """The number of the trial of the study that has this configuration."""
    trial_ids: tuple[str, ...]
    """The ids of the confirming trials in the store, one for each seed; they may not have ended yet."""


@dataclass(frozen=True, kw_only=True)
class SearchStudy:
    """One Optuna study, which searches for one model, one dataset and one method."""

    model: str
    """The name of the model."""
    dataset: str
    """The name of the dataset."""
    method: str
    """The name of the method."""
    space: Mapping[str, Mapping[str, Any]]
    """The range of each parameter: ``{"type": "float", "low": ..., "high": ..., "log": ...}``, the same with ``"int"``,
    or ``{"type": "categorical", "choices": [...]}``."""
    objectives: tuple[str, ...]
    """The names of the objectives, such as ``macro_f1`` and ``num_trainable_params``."""
    directions: tuple[str, ...]
    """``maximize`` or ``minimize`` for each objective."""
    sampler: str
    """The name of Optuna's sampler."""
    sampler_seed: int
    """The seed of the sampler."""
    scheduler: str
    """The name of the scheduler that stops trials early, or ``none``."""
    seeds: tuple[int, ...]
    """The search seeds that each configuration is trained on."""
    planned: int
    """The number of trials that the study is to have in all, or the number that have ended if that is larger."""
    trials: tuple[SearchTrial, ...] = ()
    """The trials that have ended, by number."""
    choices: tuple[ConfirmedConfiguration, ...] = ()
    """The configurations that are confirmed on fresh seeds."""

    @property
    def key(self) -> str:
        """A text of the model, dataset and method, which identifies the study within its search."""
        return f"{self.model}/{self.dataset}/{self.method}"

    @property
    def sign(self) -> float:
        """1 where more of the first objective is better, -1 where less is."""
        return 1.0 if self.directions[0] == "maximize" else -1.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SearchStudy":
        """Return the study whose ``to_dict`` gave ``values``. Raises ValueError where a field is missing or wrong."""
        study = strictly(cls, values)
        try:
            trials = tuple(_trial(one) for one in study.trials)  # type: ignore[arg-type]
            choices = tuple(_confirmed(one) for one in study.choices)  # type: ignore[arg-type]
            lists = {name: tuple(getattr(study, name)) for name in ("objectives", "directions", "seeds")}
        except (TypeError, KeyError) as error:
            raise ValueError(f"SearchStudy: {error}") from error
        found = cls(**{**values, **lists, "trials": trials, "choices": choices})
        _check_study(found)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Search:
    """All studies of one search."""

    studies: tuple[SearchStudy, ...] = ()
    """One study for each model, dataset and method."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Search":
        """Return the search whose ``to_dict`` gave ``values``. Raises ValueError where ``values`` is no search."""
        if not isinstance(values, Mapping) or not isinstance(values.get("studies"), list):
            raise ValueError("search.json holds no list of studies")
        return cls(tuple(SearchStudy.from_dict(one) for one in values["studies"]))

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


def _confirmed(values: Mapping[str, Any]) -> ConfirmedConfiguration:
    """Return the configuration that a JSON object holds. Raises ValueError where it holds none."""
    return strictly(ConfirmedConfiguration, _tuples(values, "trial_ids"))


def _trial(values: Mapping[str, Any]) -> SearchTrial:
    """Return the trial that a JSON object holds. Raises ValueError where it holds none."""
    found = strictly(SearchTrial, _tuples(values, "trial_ids", "values"))
    object.__setattr__(found, "state", TrialState(found.state))
    return found


def _check_study(study: SearchStudy) -> None:
    """Raise ValueError, which says which rule is broken, where a value of ``study`` is not allowed."""
    numbers = [trial.number for trial in study.trials]
    names = (study.model, study.dataset, study.method, study.sampler, study.scheduler)
    whole = (*study.seeds, study.sampler_seed, study.planned)
    checks = {
        "model, dataset, method, sampler and scheduler must be texts": _are_texts(*names),
        "space must map each parameter to a range": isinstance(study.space, Mapping)
        and all(map(_is_range, study.space.values())),
        "directions must hold maximize or minimize for each name in objectives": _are_texts(*study.objectives)
        and 0 < len(study.objectives) == len(study.directions)
        and set(study.directions) <= {"maximize", "minimize"},
        "seeds, sampler_seed and planned must be whole numbers": _are_whole(*whole),
        "trials must have a whole number each, none twice": _are_whole(*numbers) and len(set(numbers)) == len(numbers),
        "choices must have a role, the number of a trial, and trial_ids": all(
            choice.role in ROLES and _are_texts(*choice.trial_ids) and choice.number in numbers
            for choice in study.choices
        ),
    }
    for trial in study.trials:
        values, which = trial.values or (), f"of trial {trial.number}"
        as_many = len(values) == len(study.objectives)
        checks |= {
            f"params {which} must map names to numbers, texts, true or false": isinstance(trial.params, Mapping)
            and all(isinstance(value, Scalar) for value in trial.params.values()),
            f"values and seconds {which} must be finite numbers": all(map(is_finite, (*values, trial.seconds))),
            f"values {which} must be one for each objective, or null where it is not complete": as_many
            or (trial.values is None and trial.state is not TrialState.COMPLETE),
            f"epochs {which} must be a whole number": _are_whole(trial.epochs),
            f"trial_ids {which} must be texts": _are_texts(*trial.trial_ids),
        }
    for message, holds in checks.items():
        if not holds:
            raise ValueError(f"SearchStudy: {message}")


def _is_range(given: Any) -> bool:
    """Return whether a JSON value is a range, as ``SearchStudy.space`` describes it."""
    if not isinstance(given, Mapping):
        return False
    if given.get("type") == "categorical":
        return isinstance(given.get("choices"), list | tuple) and bool(given["choices"])
    bounds = (given.get("low"), given.get("high"))
    return given.get("type") in ("float", "int") and all(map(is_finite, bounds)) and isinstance(given.get("log"), bool)


def _are_texts(*values: Any) -> bool:
    """Return whether all values are texts."""
    return all(isinstance(value, str) for value in values)


def _are_whole(*values: Any) -> bool:
    """Return whether all values are whole numbers."""
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _tuples(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a JSON object, with its lists under ``names`` as tuples. Raises ValueError where it is no object."""
    if not isinstance(values, Mapping):
        raise ValueError(f"expected an object, got {type(values).__name__}")
    return {key: tuple(value) if key in names and value is not None else value for key, value in values.items()}


def study_lines(search: Search | None) -> list[str]:
    """Return a line for each study of a search: how many trials ended, in which states, and the best score so far."""
    lines = []
    for study in search.studies if search else ():
        best = max((study.sign * trial.values[0] for trial in study.trials if trial.values), default=None)
        shown = task_of(study.dataset).measure(study.objectives[0])
        score = "" if best is None else f", best {shown.label} on validation {shown.shown(study.sign * best)}"
        states = [trial.state for trial in study.trials]
        counts = [f"{states.count(state)} {state.value}" for state in TrialState if state in states]
        by_state = f" ({', '.join(counts)})" if counts else ""
        name = " · ".join(map(readable, (study.model, study.dataset, study.method)))
        lines.append(f"study {name}: {len(study.trials)} of {study.planned} trials ended{by_state}{score}")
    return lines
