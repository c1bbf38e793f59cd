"""The space that a search draws configurations from, and the specs of the configurations.

Each method's ``suggest`` has ranges of its own, written with Optuna's ``suggest_float``, ``suggest_int`` and
``suggest_categorical``. A space file replaces some of them. Both are checked here without a study, by a trial that
answers with the default configuration.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, cast, get_type_hints

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.parsing import did_you_mean, read_yaml
from tunekit.schema import Scalar, TrialSpec
from tunekit.training_options import LATER_FIELDS, canonical_weights

SETTINGS = {
    "learning_rate": float, "batch_size": int, "epochs": int, "weight_decay": float, "warmup_ratio": float,
    **{name: type(default) for name, default in LATER_FIELDS.items() if default is not None},
}  # fmt: skip
"""The fields of a TrialSpec that a search may vary, with their types."""
POWER = "log2_"
"""The prefix of a parameter whose exponent is suggested: ``log2_r`` 5 stands for ``r`` 32."""


@dataclass(frozen=True)
class Range:
    """A range of numbers in a space file."""

    low: float
    """The smallest value."""
    high: float
    """The largest value."""
    log: bool | None = None
    """Whether the scale is logarithmic; None keeps the scale of the method."""


Space = Mapping[str, Range | tuple[Scalar, ...]]
"""A space file's entries for one method: by field of the method or of TrialSpec, a range or the values to choose
from."""


class SuggestingTrial(Protocol):
    """The part of Optuna's trial that a method's ``suggest`` calls."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number from ``low`` to ``high``."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return a whole number from ``low`` to ``high``."""

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Any:
        """Return one of ``choices``."""


class TrialWithSpace:
    """An Optuna trial whose ranges are replaced by those of ``space``. A method's ``suggest`` is called with it."""

    def __init__(self, trial: SuggestingTrial, space: Space) -> None:
        self.trial, self.space = trial, space
        self.suggested: set[str] = set()
        """The fields that the method has asked for."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number from the range of ``space``, or from ``low`` to ``high`` where ``space`` has none."""
        replacement = self._replacement(name)
        if isinstance(replacement, tuple):
            return float(self.trial.suggest_categorical(name, replacement))
        if replacement:
            low, high = replacement.low, replacement.high
            log = log if replacement.log is None else replacement.log
        return self.trial.suggest_float(name, low, high, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return a whole number from the range of ``space``, or from ``low`` to ``high`` where ``space`` has none.

        For ``log2_r`` the range of ``space`` is one of ``r``. Raises UserError where its ends are no powers of two.
        """
        replacement = self._replacement(name)
        if name.startswith(POWER):
            if replacement:
                low, high = _exponents(name.removeprefix(POWER), replacement)
            return self.trial.suggest_int(name, low, high)
        if isinstance(replacement, tuple):
            return int(self.trial.suggest_categorical(name, replacement))
        if replacement:
            low, high = int(replacement.low), int(replacement.high)
            log = log if replacement.log is None else replacement.log
        return self.trial.suggest_int(name, low, high, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """Return one of the values of ``space``, or of ``choices``. Raises UserError where ``space`` has a range."""
        replacement = self._replacement(name)
        if isinstance(replacement, Range):
            raise UserError(f"{name} takes a list of values, as in {list(choices)}")
        value: Scalar = self.trial.suggest_categorical(name, replacement or choices)
        return value

    def suggest_added(self, name: str, kind: type) -> Scalar:
        """Return a value of a field that is in ``space`` but not in the method's own ranges; ``kind`` is its type."""
        added = self._replacement(name)
        if isinstance(added, Range):
            if kind is float:
                return self.suggest_float(name, added.low, added.high)
            if kind is int:
                return self.suggest_int(name, int(added.low), int(added.high))
            raise UserError(f"{name} takes a list of values")
        return self.suggest_categorical(name, added or ())

    def _replacement(self, name: str) -> Range | tuple[Scalar, ...] | None:
        """Return the entry of ``space`` for a parameter, and note that the method has asked for it."""
        field = name.removeprefix(POWER)
        self.suggested.add(field)
        return self.space.get(field)


def _exponents(field: str, powers: Range | tuple[Scalar, ...]) -> tuple[int, int]:
    """Return the base-2 logarithms of the ends of ``powers``. Raises UserError where they are no powers of two."""
    bounds = (powers.low, powers.high) if isinstance(powers, Range) else ()
    exponents = [int(math.log2(bound)) for bound in bounds if bound >= 1]
    if len(exponents) != 2 or any(2**e != bound for e, bound in zip(exponents, bounds, strict=True)):
        raise UserError(f"{field} is searched in powers of two and takes a range of them, as in {{low: 2, high: 64}}")
    return exponents[0], exponents[1]


class DefaultTrial:
    """A trial that answers with the values of a spec, and notes these with the ranges that were asked for."""

    def __init__(self, spec: TrialSpec) -> None:
        self.spec = spec
        self.params: dict[str, Scalar] = {}
        """The value of each parameter, by the name that the method gives it."""
        self.distributions: dict[str, BaseDistribution] = {}
        """The range of each parameter, by the same name."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return the value of the spec. Raises UserError where it is out of range."""
        return float(self._answer(name, FloatDistribution(low, high, log=log)))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return the value of the spec. Raises UserError where it is out of range."""
        return int(self._answer(name, IntDistribution(low, high, log=log)))

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Any:
        """Return the value of the spec. Raises UserError where it is not among ``choices``."""
        return self._answer(name, CategoricalDistribution(choices))

    def _answer(self, name: str, distribution: BaseDistribution) -> Any:
        """Return the value of the spec and note it. Raises UserError where ``distribution`` does not hold it."""
        field = name.removeprefix(POWER)
        in_spec: Any = self.spec.method_params.get(field, getattr(self.spec, field, None))
        value = in_spec if field == name else math.log2(in_spec)
        if isinstance(distribution, FloatDistribution | IntDistribution):
            low, high = distribution.low, distribution.high
            holds = low <= value <= high and (isinstance(distribution, FloatDistribution) or value % 1 == 0)
            shown = f"{low} to {high}" if field == name else f"{2**low} to {2**high}, powers of 2"
        else:
            choices = cast(CategoricalDistribution, distribution).choices
            holds, shown = value in choices, str(list(choices))
        if not holds:
            raise UserError(
                f"the default {field} {in_spec} of {self.spec.method!r}, which is always the first trial, lies outside "
                f"the searched range ({shown}); widen it, or give another default (--learning-rate, --method-params)"
            )
        self.params[name] = int(value) if isinstance(distribution, IntDistribution) else value
        self.distributions[name] = distribution
        return self.params[name]


def configure(spec: TrialSpec, trial: SuggestingTrial, space: Space) -> TrialSpec:
    """Return ``spec`` with the values that ``trial`` suggests. Raises UserError on a value that no spec can hold."""
    with_space = TrialWithSpace(trial, space)
    values: dict[str, Any] = dict(METHODS[spec.method].suggest(cast(BaseTrial, with_space)))
    for name in space:
        if name not in with_space.suggested:
            values[name] = with_space.suggest_added(name, _kinds(spec.method)[name])
    settings = {name: value for name, value in values.items() if name in SETTINGS}
    of_method = {name: value for name, value in values.items() if name not in SETTINGS}
    params = complete_params(spec.method, {**spec.method_params, **of_method})
    try:
        return replace(spec, method_params=params, **settings)
    except ValueError as error:
        raise UserError(str(error)) from error


def first_trial(spec: TrialSpec, space: Space) -> DefaultTrial:
    """Return the trial that has suggested ``spec`` itself, with the ranges that were asked for.

    Raises UserError where a range is not valid, or does not hold the value of ``spec``.
    """
    trial = DefaultTrial(spec)
    try:
        configure(spec, trial, space)
    except ValueError as error:
        raise UserError(f"method {spec.method!r}: {error}") from error
    return trial


def shown_params(params: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return suggested values by field: ``log2_r`` 5 becomes ``r`` 32."""
    return {name.removeprefix(POWER): 2**v if name.startswith(POWER) else v for name, v in params.items()}


def shown_space(distributions: Mapping[str, BaseDistribution]) -> dict[str, dict[str, Any]]:
    """Return the ranges by field, as ``SearchStudy.space`` has them. A range of exponents becomes its powers of two."""
    result: dict[str, dict[str, Any]] = {}
    for name, found in distributions.items():
        if isinstance(found, CategoricalDistribution):
            result[name] = {"type": "categorical", "choices": list(found.choices)}
        elif name.startswith(POWER) and isinstance(found, IntDistribution):
            powers = [2**exponent for exponent in range(found.low, found.high + 1)]
            result[name.removeprefix(POWER)] = {"type": "categorical", "choices": powers}
        elif isinstance(found, FloatDistribution | IntDistribution):
            kind = "float" if isinstance(found, FloatDistribution) else "int"
            result[name] = {"type": kind, "low": found.low, "high": found.high, "log": found.log}
    return result


def load_space(path: Path, methods: Sequence[str]) -> dict[str, Space]:
    """Return the space of each method in a YAML file. Raises UserError, which names the file, on a wrong entry.

    ``methods`` are the methods of the search.
    """
    content = read_yaml(path, str(path))
    if not isinstance(content, dict) or not all(isinstance(ranges, dict) for ranges in content.values()):
        raise UserError(f"{path}: expected ranges by method, as in lora: {{r: {{low: 4, high: 64}}}}")
    result: dict[str, Space] = {}
    for method, ranges in content.items():
        METHODS[method]  # raises UserError on an unknown name
        if method not in methods:
            raise UserError(f"{path}: {method!r} is not among the methods of this search ({', '.join(methods)})")
        result[method] = {name: _parsed(f"{path}, {method}", method, name, value) for name, value in ranges.items()}
    return result


def _kinds(method: str) -> dict[str, type]:
    """Return the types of all fields that a search over ``method`` may vary."""
    hints = get_type_hints(METHODS[method])
    return {**SETTINGS, **{item.name: hints[item.name] for item in fields(METHODS[method])}}


def _check_name(where: str, name: str, kinds: Mapping[str, type]) -> None:
    """Raise UserError with ``where`` where a search can't vary the field ``name``. ``kinds`` has the fields it can."""
    if name == "patience":
        raise UserError(
            f"{where}: patience can't be searched: a larger one never lowers a trial's best score on validation, which "
            "a search optimises; give --patience, which all trials of the search then have"
        )
    if name not in kinds:
        raise UserError(f"{where}: no parameter {name!r}{did_you_mean(name, kinds)} (there are {', '.join(kinds)})")


def _parsed(where: str, method: str, name: str, value: Any) -> Range | tuple[Scalar, ...]:
    """Return the range or the values that a space file gives the field ``name``. Raises UserError with ``where``."""
    kinds = _kinds(method)
    _check_name(where, name, kinds)
    if name == "class_weights" and isinstance(value, list):
        value = [_canonical(where, one) for one in value]
    where = f"{where}.{name}"
    if isinstance(value, list):
        if not value:
            raise UserError(f"{where}: an empty range; name at least one value")
        if not all(isinstance(one, str | int | float) for one in value) or len(set(value)) < len(value):
            raise UserError(f"{where}: takes numbers and names, each once, got {value}")
        return tuple(value)
    if not isinstance(value, dict) or not {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        raise UserError(f"{where}: takes a list of values or {{low: ..., high: ..., log: true}}, got {value!r}")
    low, high, log = value["low"], value["high"], value.get("log")
    numbers = all(
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in (low, high)
    )
    if not numbers or not isinstance(log, bool | None):
        raise UserError(f"{where}: low and high must be numbers, log true or false, got {value}")
    if low >= high:
        raise UserError(f"{where}: an empty range, from {low} to {high}")
    if kinds[name] is int and (low != int(low) or high != int(high)):
        raise UserError(f"{where}: low and high must be whole numbers, got {value}")
    return Range(low, high, log)


def _canonical(where: str, weights: object) -> str:
    """Return ``class_weights`` in the form that specs have them in. Raises UserError with ``where``."""
    try:
        return canonical_weights(str(weights))
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
