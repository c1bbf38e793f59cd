"""Check the values that a search can draw, by a space file or a method's own ranges, against spec, data and model."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, IntDistribution

from tunekit.errors import UserError
from tunekit.planning.fitting import check_fit
from tunekit.schema import Scalar, TrialSpec
from tunekit.search.space import POWER, DefaultTrial, Range, Space, configure, first_trial


def check_space(spec: TrialSpec, space: Space, source: object, check: Callable[[TrialSpec], None]) -> None:
    """Raise UserError, which names ``source``, where a value or an end of a range makes no valid spec.

    ``check`` raises UserError for a spec that its data or its model can't take.
    """
    first_trial(spec, space)
    if {"label_smoothing", "focal_gamma"} <= space.keys():
        raise UserError(
            f"{source}, {spec.method}: label_smoothing and focal_gamma exclude each other; search one of them"
        )
    for name, values in space.items():
        for value in values if isinstance(values, tuple) else (values.low, values.high):
            try:
                check(configure(spec, TrialWithOneValue(spec, name, value), space))
            except UserError as error:
                raise UserError(f"{source}, {spec.method}.{name}: {error}") from error


def fitted_space(spec: TrialSpec, config: Mapping[str, Any] | None, space: Space) -> Space:
    """Return ``space``, and each of the method's own ranges that the model can take only in part, cut to that part.

    LoRA's rank keeps its own range: a rank above the width can be trained, although it gains nothing. ``config`` has
    the values of the model's config.json. It is None where the file is not on this machine; ``space`` is then returned
    as it is.
    """
    if config is None:
        return space

    def check(name: str, value: Scalar) -> None:
        check_fit(configure(spec, TrialWithOneValue(spec, name, value), space), config)

    narrowed: dict[str, Range] = {}
    for parameter, own in first_trial(spec, space).distributions.items():
        name = parameter.removeprefix(POWER)
        if name in space or name == "r" or not isinstance(own, IntDistribution):
            continue
        drawn = [2**value if parameter != name else value for value in range(own.low, own.high + 1)]
        fitting = [value for value in drawn if _fits(check, name, value)]
        if len(fitting) < len(drawn):
            narrowed[name] = Range(min(fitting), max(fitting))
    return {**space, **narrowed}


def _fits(check: Callable[[str, Scalar], None], name: str, value: Scalar) -> bool:
    try:
        check(name, value)
    except UserError:
        return False
    return True


class TrialWithOneValue(DefaultTrial):
    """A trial that answers with ``value`` for the field ``field``, and with the values of a spec for all others."""

    def __init__(self, spec: TrialSpec, field: str, value: Any) -> None:
        super().__init__(spec)
        self.field, self.value = field, value

    def _answer(self, name: str, distribution: BaseDistribution) -> Any:
        """Return the value of a parameter. Only values of the spec are checked against ``distribution``."""
        field = name.removeprefix(POWER)
        if field != self.field:
            return super()._answer(name, distribution)
        value = self.value if field == name else math.log2(self.value)
        return int(value) if isinstance(distribution, IntDistribution) else value
