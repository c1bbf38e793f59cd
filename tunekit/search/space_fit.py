"""Hold every value that a search draws against the model: what a space file asks for, and the methods' own ranges."""

from collections.abc import Callable

from optuna.distributions import IntDistribution

from tunekit.errors import UserError
from tunekit.models.loading import ModelRef
from tunekit.planning.fitting import check_fit, config_of
from tunekit.schema import Scalar, TrialSpec
from tunekit.search.space import POWER, Range, Space, TrialWithOneValue, configure, first_trial


def fitted_space(spec: TrialSpec, model: ModelRef, space: Space, source: object) -> Space:
    """Return ``space`` with the method's own ranges added where ``model`` can take a part of them alone, as that part.

    LoRA's rank keeps its own range: a rank over the width computes, if for nothing. ``source`` names the file of
    ``space``. Raises UserError, which names the value, where the model can't take a value of ``space``. Nothing is
    checked of a model whose config.json is not on this machine.
    """
    config = config_of(model)
    if config is None:
        return space

    def check(name: str, value: Scalar) -> None:
        check_fit(configure(spec, TrialWithOneValue(spec, name, value), space), config)

    for name, values in space.items():
        for value in values if isinstance(values, tuple) else (values.low, values.high):
            try:
                check(name, value)
            except UserError as error:
                raise UserError(f"{source}, {spec.method}.{name}: {error}") from error
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
