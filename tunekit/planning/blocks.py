"""A sweep as data: a list of blocks. A preset, a YAML file and a search's best.yaml are all lists of blocks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.parsing import did_you_mean, read_yaml
from tunekit.schema import Precision, Scalar, TrialSpec

if TYPE_CHECKING:
    from tunekit.data.base import TextDataset


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The fields of a spec that blocks and the command line may set; None leaves the default."""

    batch_size: int | None = None
    """Training examples in an optimizer step (default: the preset's, else 32)."""
    epochs: int | None = None
    """Passes over the training data (default: the preset's, else 10)."""
    max_length: int | None = None
    """The number of tokens that a text is cut to (default: the preset's, else 512)."""
    weight_decay: float | None = None
    """AdamW weight decay (default: the preset's, else 0)."""
    warmup_ratio: float | None = None
    """The share of steps in which the learning rate rises (default: the preset's, else 0)."""
    precision: Precision | None = None
    """The number format of the computation; bf16 only where the device computes it (default: fp32)."""
    train_limit: int | None = None
    """Train on a stratified part of this many rows."""
    val_fraction: float | None = None
    """Take this share of train as validation, for datasets without a dev part."""
    data_seed: int | None = None
    """The seed that draws the rows of --train-limit and --val-fraction (default: 0)."""


@dataclass(frozen=True, kw_only=True)
class Block(Settings):
    """One product of models, datasets, methods and seeds, with common settings.

    A list of models, datasets, methods or seeds counts as a tuple. Raises UserError where one of the four is a single
    value or empty, a dataset is neither a name nor a TextDataset, a method is unknown, or a method has no parameter of
    a given name.
    """

    models: tuple[str, ...]
    """Models by short name, hub id or local folder."""
    datasets: "tuple[str | TextDataset, ...]"
    """Datasets by name, files and folders, or what ``tunekit.dataset`` made of a DataFrame."""
    methods: tuple[str, ...]
    """Fine-tuning methods by name."""
    seeds: tuple[int, ...]
    """Seeds of initialisation, order and dropout."""
    learning_rate: float | Mapping[str, float] | None = None
    """One learning rate for all methods, or one for each method; a method without one takes its own default."""
    method_params: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    """Hyperparameters by method; those that are not given take the method's defaults."""

    def __post_init__(self) -> None:
        for name in AXES:
            axis = getattr(self, name)
            if not isinstance(axis, tuple | list | range):
                items = "whole numbers" if name == "seeds" else "names"
                shown = repr(axis) if isinstance(axis, str | int) else "data"
                raise UserError(f"{name} must be a tuple of {items}, as in ({shown},)")
            object.__setattr__(self, name, tuple(axis))
            if not axis:
                raise UserError(f"a block with no {name} has no trials; name at least one of its {name}")
        from tunekit.data.base import TextDataset

        for data in self.datasets:
            if not isinstance(data, str | TextDataset):
                kind = type(data).__name__
                raise UserError(f"datasets holds a {kind}; give a name, or make a dataset of it with tunekit.dataset")
        for method in self.methods:
            complete_params(method, self.method_params.get(method, {}))
        rates = self.learning_rate if isinstance(self.learning_rate, Mapping) else {}
        for name in (*self.method_params, *rates):
            METHODS[name]

    def specs(self, seed: int, name_model: Callable[[str], str], name_dataset: Callable[[str], str]) -> list[TrialSpec]:
        """Return the block's trials of one seed.

        ``name_model`` and ``name_dataset`` give models and datasets the names that specs hold. Raises UserError where a
        setting is out of range.
        """
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
                for dataset in self.dataset_names
                for method in self.methods
            ]
        except ValueError as error:
            raise UserError(str(error)) from error

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """The datasets as names; a dataset that is a value gives its own."""
        return tuple(data if isinstance(data, str) else data.name for data in self.datasets)

    def rate_of(self, method: str) -> float:
        """Return the learning rate of ``method``: the block's, or the method's own default."""
        rate = self.learning_rate
        if isinstance(rate, Mapping):
            rate = rate.get(method)
        return METHODS[method].learning_rate if rate is None else rate

    def to_dict(self) -> dict[str, Any]:
        """Return the block as YAML and JSON hold it; settings at their default are left out."""
        values = {**vars(self), "datasets": self.dataset_names}
        return {name: value for name, value in values.items() if value not in (None, {})}


AXES = ("models", "datasets", "methods", "seeds")
SETTINGS = tuple(item.name for item in fields(Settings))


def parse_block(values: object, where: str) -> Block:
    """Return a block from parsed YAML. Raises UserError that names ``where`` and what is wrong."""
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
    """Return the blocks of a YAML file. Raises UserError, which names the file, where it is no list of blocks."""
    content = read_yaml(path, str(path))
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: expected a list of blocks (models, datasets, methods, seeds, settings)")
    return [parse_block(values, f"{path}, block {number}") for number, values in enumerate(content, 1)]


def expand(
    blocks: Sequence[Block], name_model: Callable[[str], str] = str, name_dataset: Callable[[str], str] = str
) -> list[TrialSpec]:
    """Return all trials of ``blocks``, each once, seed by seed: the first seeds alone already fill the whole table."""
    specs: dict[str, TrialSpec] = {}
    for turn in range(max(len(block.seeds) for block in blocks)):
        for block in blocks:
            if turn < len(block.seeds):
                for spec in block.specs(block.seeds[turn], name_model, name_dataset):
                    specs.setdefault(spec.trial_id, spec)
    return list(specs.values())
