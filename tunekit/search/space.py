"""What a search may try: each method's own ranges, those a space file puts in their place, and specs from what was
suggested. Plain Optuna; a method's ``suggest`` and a space file need no study to be checked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.parsing import did_you_mean, read_yaml
from tunekit.schema import Scalar, TrialSpec

SETTINGS = {"learning_rate": float, "batch_size": int, "epochs": int, "weight_decay": float, "warmup_ratio": float}
"""Fields of a spec that a search may vary, with their types."""
POWER = "log2_"
"""Before the name of a parameter whose exponent is suggested."""


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, both included; ``log`` None leaves the scale as it is."""

    low: float
    high: float
    log: bool | None = None


Space = Mapping[str, Range | tuple[Scalar, ...]]
"""By field of the method or the spec: a range, or the values to choose from."""


class Ranged:
    """An Optuna trial as a method's ``suggest`` sees it, its ranges replaced by those of ``space``."""

    def __init__(self, trial: BaseTrial, space: Space) -> None:
        self.trial, self.space = trial, space
        self.met: set[str] = set()

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """As Optuna's."""
        given = self._given(name)
        if isinstance(given, tuple):
            return float(self.trial.suggest_categorical(name, given))
        if given:
            low, high, log = given.low, given.high, log if given.log is None else given.log
        return self.trial.suggest_float(name, low, high, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """As Optuna's; a range given for ``log2_x`` is one of x. Raises UserError where that is no range of powers."""
        given = self._given(name)
        if name.startswith(POWER):
            if given:
                low, high = self._exponents(name.removeprefix(POWER), given)
            return self.trial.suggest_int(name, low, high)
        if isinstance(given, tuple):
            return int(self.trial.suggest_categorical(name, given))
        if given:
            low, high, log = int(given.low), int(given.high), log if given.log is None else given.log
        return self.trial.suggest_int(name, low, high, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """As Optuna's. Raises UserError where a range is given instead of values."""
        given = self._given(name)
        if isinstance(given, Range):
            raise UserError(f"{name} takes a list of values, as in {list(choices)}")
        return self.trial.suggest_categorical(name, given or choices)

    def suggest_given(self, name: str, kind: type) -> Scalar:
        """What the space holds for ``name``, a field of type ``kind`` that the method does not search by itself."""
        given = self._given(name)
        if isinstance(given, tuple):
            return self.trial.suggest_categorical(name, given)
        if kind is float:
            return self.suggest_float(name, given.low, given.high)
        if kind is int:
            return self.suggest_int(name, int(given.low), int(given.high))
        raise UserError(f"{name} takes a list of values")

    def _given(self, name: str) -> Any:
        own = name.removeprefix(POWER)
        self.met.add(own)
        return self.space.get(own)

    def _exponents(self, name: str, given: Range | tuple[Scalar, ...]) -> tuple[int, int]:
        bounds = (given.low, given.high) if isinstance(given, Range) else ()
        exponents = [int(math.log2(bound)) for bound in bounds if bound >= 1]
        if len(exponents) != 2 or any(2**e != bound for e, bound in zip(exponents, bounds, strict=True)):
            raise UserError(
                f"{name} is searched in powers of two and takes a range of them, as in {{low: 2, high: 64}}"
            )
        return exponents[0], exponents[1]


class DefaultTrial:
    """Answers ``suggest`` with the values of a spec, and notes them with the ranges that were asked for."""

    def __init__(self, spec: TrialSpec) -> None:
        self.spec = spec
        self.params: dict[str, Scalar] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """The spec's value. Raises UserError where it is out of range."""
        return self._take(name, FloatDistribution(low, high, log=log))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """The spec's value. Raises UserError where it is out of range."""
        return self._take(name, IntDistribution(low, high, log=log))

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Any:
        """The spec's value. Raises UserError where it is not among ``choices``."""
        return self._take(name, CategoricalDistribution(choices))

    def _take(self, name: str, range_: Any) -> Any:
        own = name.removeprefix(POWER)
        value = whole = self.spec.method_params.get(own, getattr(self.spec, own, None))
        if own != name:
            value = math.log2(whole)
        if isinstance(range_, CategoricalDistribution):
            inside, shown = value in range_.choices, list(range_.choices)
        else:
            inside = range_.low <= value <= range_.high and (isinstance(range_, FloatDistribution) or value % 1 == 0)
            shown = (
                f"{range_.low} to {range_.high}" if own == name else f"{2**range_.low} to {2**range_.high}, powers of 2"
            )
        if not inside:
            raise UserError(
                f"the default {own} {whole} of {self.spec.method!r}, which is always the first trial, lies outside "
                f"what is searched ({shown}); widen that, or give another default (--learning-rate, --method-params)"
            )
        self.params[name] = value if isinstance(range_, FloatDistribution | CategoricalDistribution) else int(value)
        self.distributions[name] = range_
        return self.params[name]


def configure(spec: TrialSpec, trial: BaseTrial, space: Space) -> TrialSpec:
    """``spec`` with what ``trial`` suggests for its method. Raises UserError on a value that no spec can hold."""
    ranged = Ranged(trial, space)
    values = dict(METHODS[spec.method].suggest(ranged))
    for name in space:
        if name not in ranged.met:
            values[name] = ranged.suggest_given(name, _kinds(spec.method)[name])
    own = {name: value for name, value in values.items() if name not in SETTINGS}
    params = complete_params(spec.method, {**spec.method_params, **own})
    try:
        return replace(spec, method_params=params, **{k: v for k, v in values.items() if k in SETTINGS})
    except ValueError as error:
        raise UserError(str(error)) from error


def first_trial(spec: TrialSpec, space: Space) -> DefaultTrial:
    """The default configuration and the ranges that a search of ``spec``'s method has. Raises UserError, see there."""
    trial = DefaultTrial(spec)
    try:
        configure(spec, trial, space)
    except ValueError as error:
        raise UserError(f"method {spec.method!r}: {error}") from error
    return trial


def shown_params(params: Mapping[str, Any]) -> dict[str, Scalar]:
    """Suggested values by field: ``log2_r`` 5 is shown as ``r`` 32."""
    return {k.removeprefix(POWER): 2**v if k.startswith(POWER) else v for k, v in params.items()}


def shown_space(distributions: Mapping[str, BaseDistribution]) -> dict[str, dict[str, Any]]:
    """The ranges by field, as JSON values; exponents become the powers to choose from."""
    result: dict[str, dict[str, Any]] = {}
    for name, one in distributions.items():
        if isinstance(one, CategoricalDistribution):
            result[name] = {"type": "categorical", "choices": list(one.choices)}
        elif name.startswith(POWER) and isinstance(one, IntDistribution):
            powers = [2**exponent for exponent in range(one.low, one.high + 1)]
            result[name.removeprefix(POWER)] = {"type": "categorical", "choices": powers}
        elif isinstance(one, FloatDistribution | IntDistribution):
            kind = "float" if isinstance(one, FloatDistribution) else "int"
            result[name] = {"type": kind, "low": one.low, "high": one.high, "log": one.log}
    return result


def load_space(path: Path, methods: Sequence[str]) -> dict[str, Space]:
    """The ranges of a YAML file by method. Raises UserError, naming the file, on anything that is none."""
    content = read_yaml(path, str(path))
    if not isinstance(content, dict) or not all(isinstance(ranges, dict) for ranges in content.values()):
        raise UserError(f"{path}: expected ranges by method, as in lora: {{r: {{low: 4, high: 64}}}}")
    result: dict[str, Space] = {}
    for method, ranges in content.items():
        METHODS[method]
        if method not in methods:
            raise UserError(f"{path}: {method!r} is not among the methods of this search ({', '.join(methods)})")
        result[method] = {name: _parsed(f"{path}, {method}", method, name, value) for name, value in ranges.items()}
    return result


def _kinds(method: str) -> dict[str, type]:
    """Types of all fields that a search over ``method`` may vary."""
    hints = get_type_hints(METHODS[method])
    return {**SETTINGS, **{item.name: hints[item.name] for item in fields(METHODS[method])}}


def _parsed(where: str, method: str, name: str, value: Any) -> Range | tuple[Scalar, ...]:
    kinds = _kinds(method)
    if name not in kinds:
        raise UserError(f"{where}: no parameter {name!r}{did_you_mean(name, kinds)} (there are {', '.join(kinds)})")
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


def check_space(spec: TrialSpec, space: Space, source: object) -> None:
    """Raise UserError, naming ``source``, where a value or an end of a range makes no valid spec."""
    first_trial(spec, space)
    for name, given in space.items():
        for value in given if isinstance(given, tuple) else (given.low, given.high):
            try:
                configure(spec, _Fixed(spec, name, value), space)
            except UserError as error:
                raise UserError(f"{source}, {spec.method}.{name}: {error}") from error


class _Fixed(DefaultTrial):
    """The default configuration with one value in place."""

    def __init__(self, spec: TrialSpec, name: str, value: Scalar) -> None:
        super().__init__(spec)
        self.name, self.value = name, value

    def _take(self, name: str, range_: Any) -> Any:
        own = name.removeprefix(POWER)
        if own != self.name:
            return super()._take(name, range_)
        kind = int if isinstance(range_, IntDistribution) else lambda value: value
        return kind(self.value if own == name else math.log2(self.value))
