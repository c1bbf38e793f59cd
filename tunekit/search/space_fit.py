"""Narrow the methods' own ranges to what the model can take of them."""

from collections.abc import Callable, Mapping
from typing import Any

from optuna.distributions import IntDistribution

from tunekit.errors import UserError
from tunekit.planning.fitting import check_fit
from tunekit.schema import Scalar, TrialSpec
from tunekit.search.space import POWER, Range, Space, TrialWithOneValue, configure, first_trial


def fitted_space(spec: TrialSpec, config: Mapping[str, Any] | None, space: Space) -> Space:
    """Return ``space`` with the method's own ranges added where the model can take a part of them alone, as that part.

    LoRA's rank keeps its own range: a rank over the width computes, if for nothing. ``config`` has the values of the
    model's config.json; where it is None, since that is not on this machine, ``space`` stays as it is.
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
