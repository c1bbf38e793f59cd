"""A sweep as data: a list of blocks. A preset, a YAML file and a search's best.yaml are one thing."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.parsing import did_you_mean, read_yaml
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
                    learning_rate=self.rate_of(method),
                    **common,
                )
                for model in self.models
                for dataset in self.datasets
                for method in self.methods
            ]
        except ValueError as error:
            raise UserError(str(error)) from error

    def rate_of(self, method: str) -> float:
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
            raise UserError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}")
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
