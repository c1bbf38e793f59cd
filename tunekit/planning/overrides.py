"""Apply the command line to the blocks of a preset or a file: filters, axes, learning rates and parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunekit.data.sources import DataSource
from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.parsing import did_you_mean
from tunekit.planning.blocks import SETTINGS, Block, name_of
from tunekit.planning.model_names import known_as
from tunekit.schema import Scalar


def override(
    blocks: Sequence[Block],
    *,
    models: tuple[str, ...] | None = None,
    methods: tuple[str, ...] | None = None,
    datasets: tuple[str, ...] | None = None,
    seeds: tuple[int, ...] | None = None,
    learning_rate: Sequence[str] = (),
    method_params: Sequence[str] = (),
    settings: Mapping[str, Any],
) -> list[Block]:
    """Return ``blocks`` with the command line's choices.

    Datasets, seeds, learning rates, parameters and ``settings`` that are not None replace the values of each block.
    Models or methods alone filter the blocks. Models and methods together replace the blocks by their product. Raises
    UserError where nothing is left.
    """
    for name, axis in (("models", models), ("methods", methods), ("datasets", datasets), ("seeds", seeds)):
        if axis is not None and not axis:
            raise UserError(f"--{name} names none; give at least one, or leave it out")
    replaced = {**settings, "datasets": datasets, "seeds": seeds}
    changes = {name: value for name, value in replaced.items() if value is not None}
    blocks = [replace(block, **changes) for block in blocks]
    if models and methods:
        blocks = [_merged(blocks, models, methods)]
    elif models or methods:
        blocks = _filtered(blocks, "models", models) if models else _filtered(blocks, "methods", methods or ())
    rates, params = _parse_rates(learning_rate), _parse_params(method_params)
    result = []
    for block in blocks:
        merged = {
            method: {**block.method_params.get(method, {}), **params.get(method, {})}
            for method in block.methods
            if method in block.method_params or method in params
        }
        rate = block.learning_rate
        if isinstance(rates, Mapping) and rates:
            rate = {method: rates.get(method, block.rate_of(method)) for method in block.methods}
        elif rates is not None:
            rate = rates
        result.append(replace(block, method_params=merged, learning_rate=rate))
    for method in {**(rates if isinstance(rates, Mapping) else {}), **params}:
        if not any(method in block.methods for block in result):
            raise UserError(f"a setting is given for method {method!r}, which is not in this sweep")
    return result


def _filtered(blocks: Sequence[Block], axis: str, wanted: tuple[str, ...]) -> list[Block]:
    present = {name for block in blocks for name in getattr(block, axis)}
    other = "methods" if axis == "models" else "models"
    if axis == "methods":
        for name in wanted:
            METHODS[name]
    for name in wanted:
        if name not in present:
            there = ", ".join(sorted(present))
            meant = known_as(name) if axis == "models" else None
            hint = f", {meant}" if meant else did_you_mean(name, present)
            raise UserError(
                f"no block of this sweep has {axis[:-1]} {name!r}{hint} (it has {there}); "
                f"--{axis} alone only chooses among these: add --{other} to train others"
            )
    kept = []
    for block in blocks:
        left = tuple(name for name in getattr(block, axis) if name in wanted)
        if left:
            kept.append(replace(block, models=left) if axis == "models" else block.of_methods(left))
    return kept


def _merged(blocks: Sequence[Block], models: tuple[str, ...], methods: tuple[str, ...]) -> Block:
    """Return one block over ``models`` x ``methods`` with the settings that all ``blocks`` share."""
    common = {}
    for name in SETTINGS:
        values = {getattr(block, name) for block in blocks}
        if len(values) > 1:
            raise UserError(f"the blocks differ in {name}; give --{name.replace('_', '-')} too")
        common[name] = values.pop()
    # A dataset given as a TextDataset can't be a key, so its name is.
    datasets = {
        data if isinstance(data, DataSource) else name_of(data): data for one in blocks for data in one.datasets
    }
    seeds = dict.fromkeys(seed for block in blocks for seed in block.seeds)
    rates: dict[str, float] = {}
    params: dict[str, Mapping[str, Scalar]] = {}
    for block in blocks:
        for method in block.methods:
            mine = block.rate_of(method), block.method_params.get(method, {})
            if method in methods and (rates.setdefault(method, mine[0]), params.setdefault(method, mine[1])) != mine:
                raise UserError(f"the blocks differ in the learning rate or parameters of {method!r}; give a --config")
    return Block(
        models=models, methods=methods, datasets=tuple(datasets.values()), seeds=tuple(seeds),
        learning_rate=rates, method_params=params, **common,
    )  # fmt: skip


def _parse_rates(texts: Sequence[str]) -> float | dict[str, float] | None:
    """Return the learning rates of ``X`` or ``METHOD=X ...``; None where ``texts`` is empty. Raises UserError."""
    if not texts:
        return None
    rates: dict[str, float] = {}
    for text in texts:
        method, _, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError as error:
            raise UserError(f"--learning-rate takes X or METHOD=X, got {text!r}") from error
        if not method and len(texts) == 1:
            return number
        METHODS[method]
        rates[method] = number
    return rates


def _parse_params(texts: Sequence[str]) -> dict[str, dict[str, Scalar]]:
    """Return the parameters of ``METHOD.NAME=VALUE ...`` by method and name. Raises UserError."""
    params: dict[str, dict[str, Scalar]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        method, dot, name = target.partition(".")
        if not (equals and dot and name):
            raise UserError(f"--method-params takes METHOD.NAME=VALUE, as in lora.r=16, got {text!r}")
        complete_params(method, {name: value})
        params.setdefault(method, {})[name] = value
    return params
