"""A sweep as data: a list of blocks. A preset, a YAML file and a search's best.yaml are one thing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.parsing import read_yaml
from tunekit.schema import Scalar, TrialSpec


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Fields of a spec that blocks and the command line may set; None leaves the default."""

    batch_size: int | None = None
    """Training examples an optimizer step (default 32)."""
    epochs: int | None = None
    """Passes over the training data (default 10)."""
    max_length: int | None = None
    """Tokens a text is cut to (default 512)."""
    weight_decay: float | None = None
    """AdamW weight decay (default 0)."""
    warmup_ratio: float | None = None
    """Share of steps with rising learning rate (default 0)."""
    precision: str | None = None
    """fp32 (default) or bf16, where the device computes it."""
    train_limit: int | None = None
    """Train on a stratified part of this many rows."""
    val_fraction: float | None = None
    """Carve this share of train out as validation, for datasets without a dev part."""
    data_seed: int | None = None
    """Draws --train-limit and --val-fraction (default 0)."""


@dataclass(frozen=True, kw_only=True)
class Block(Settings):
    """One product of models, datasets, methods and seeds, with common settings."""

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    learning_rate: float | Mapping[str, float] | None = None
    """One rate, or one a method; a method without one takes its own default."""
    method_params: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    """Hyperparameters by method; those not given take the method's defaults."""

    def __post_init__(self) -> None:
        for name in ("models", "datasets", "methods", "seeds"):
            if not getattr(self, name):
                raise UserError(f"a block with no {name} has no trials; name at least one of its {name}")
        for method in self.methods:
            complete_params(method, self.method_params.get(method, {}))
        rates = self.learning_rate if isinstance(self.learning_rate, Mapping) else {}
        for name in (*self.method_params, *rates):
            METHODS[name]

    def specs(self, seed: int, name_model: Callable[[str], str], name_dataset: Callable[[str], str]) -> list[TrialSpec]:
        """The block's trials of one seed; the callables give models and datasets the names that specs hold."""
        common = {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}
        try:
            return [
                TrialSpec(
                    model=name_model(model),
                    dataset=name_dataset(dataset),
                    method=method,
                    method_params=complete_params(method, self.method_params.get(method, {})),
                    seed=seed,
                    learning_rate=self._rate(method),
                    **common,
                )
                for model in self.models
                for dataset in self.datasets
                for method in self.methods
            ]
        except ValueError as error:
            raise UserError(str(error)) from error

    def _rate(self, method: str) -> float:
        given = self.learning_rate
        if isinstance(given, Mapping):
            given = given.get(method)
        return METHODS[method].learning_rate if given is None else given

    def to_dict(self) -> dict[str, Any]:
        """The block as YAML and JSON hold it, settings at their default left out."""
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}


AXES = ("models", "datasets", "methods", "seeds")
SETTINGS = tuple(item.name for item in fields(Settings))


def parse_block(values: object, where: str) -> Block:
    """A block from parsed YAML. Raises UserError naming ``where`` and what is wrong."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: a block is a mapping of models, datasets, methods, seeds and settings")
    known = [item.name for item in fields(Block)]
    for key in values:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            raise UserError(f"{where}: unknown key {key!r}{f', did you mean {near[0]!r}?' if near else ''}")
    missing = [name for name in AXES if name not in values]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}")
    axes = {}
    for name in AXES:
        axis = values[name] if isinstance(values[name], list) else [values[name]]
        wanted = int if name == "seeds" else str
        if not all(isinstance(item, wanted) and not isinstance(item, bool) for item in axis):
            raise UserError(f"{where}: {name} must be a list of {'whole numbers' if wanted is int else 'names'}")
        axes[name] = tuple(axis)
    params = values.get("method_params") or {}
    if not isinstance(params, dict) or not all(isinstance(value, dict) for value in params.values()):
        raise UserError(f"{where}: method_params must map a method to its parameters, as in {{lora: {{r: 16}}}}")
    try:
        return Block(**{**values, **axes, "method_params": params})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def load_blocks(path: Path) -> list[Block]:
    """The blocks of a YAML file. Raises UserError, naming the file, where it is not such a list."""
    content = read_yaml(path, str(path))
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: expected a list of blocks (models, datasets, methods, seeds, settings)")
    return [parse_block(values, f"{path}, block {number}") for number, values in enumerate(content, 1)]


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
    """``blocks`` with the command line's choices.

    Datasets, seeds, rates, parameters and ``settings`` that are not None replace those of each block; models or methods
    alone filter the blocks; both together replace the list by their product. Raises UserError where nothing is left.
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
            for method in {**block.method_params, **params}
        }
        rate = block.learning_rate
        if isinstance(rates, Mapping) and rates:
            rate = {
                method: rates.get(method, block._rate(method)) for method in {**dict.fromkeys(block.methods), **rates}
            }
        elif rates is not None:
            rate = rates
        result.append(replace(block, method_params=merged, learning_rate=rate))
    for method in {**(rates if isinstance(rates, Mapping) else {}), **params}:
        if not any(method in block.methods for block in result):
            raise UserError(f"a setting is given for method {method!r}, which is not in this sweep")
    return result


def _filtered(blocks: Sequence[Block], axis: str, wanted: tuple[str, ...]) -> list[Block]:
    present = {name for block in blocks for name in getattr(block, axis)}
    if axis == "methods":
        for name in wanted:
            METHODS[name]
    for name in wanted:
        if name not in present:
            raise UserError(
                f"no block of this sweep has {axis[:-1]} {name!r} (it has {', '.join(sorted(present))}); "
                "give --models and --methods together to replace the grid by their product"
            )
    kept = []
    for block in blocks:
        left = tuple(name for name in getattr(block, axis) if name in wanted)
        if left:
            kept.append(replace(block, **{axis: left}))
    return kept


def _merged(blocks: Sequence[Block], models: tuple[str, ...], methods: tuple[str, ...]) -> Block:
    """One block over ``models`` x ``methods`` with what the blocks have in common."""
    common = {}
    for name in SETTINGS:
        values = {getattr(block, name) for block in blocks}
        if len(values) > 1:
            raise UserError(f"the blocks differ in {name}; give --{name.replace('_', '-')} too")
        common[name] = values.pop()
    datasets = dict.fromkeys(name for block in blocks for name in block.datasets)
    seeds = dict.fromkeys(seed for block in blocks for seed in block.seeds)
    rates: dict[str, float] = {}
    params: dict[str, Mapping[str, Scalar]] = {}
    for block in blocks:
        for method in block.methods:
            rate, values = block._rate(method), block.method_params.get(method, {})
            if method in methods and (rates.setdefault(method, rate), params.setdefault(method, values)) != (
                rate,
                values,
            ):
                raise UserError(f"the blocks differ in the learning rate or parameters of {method!r}; give a --config")
    return Block(
        models=models, methods=methods, datasets=tuple(datasets), seeds=tuple(seeds),
        learning_rate=rates, method_params=params, **common,
    )  # fmt: skip


def _parse_rates(texts: Sequence[str]) -> float | dict[str, float] | None:
    """``X`` or ``METHOD=X ...`` of the command line."""
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
    """``METHOD.NAME=VALUE ...`` of the command line."""
    params: dict[str, dict[str, Scalar]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        method, dot, name = target.partition(".")
        if not (equals and dot and name):
            raise UserError(f"--method-params takes METHOD.NAME=VALUE, as in lora.r=16, got {text!r}")
        complete_params(method, {name: value})
        params.setdefault(method, {})[name] = value
    return params
