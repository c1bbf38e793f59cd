"""A sweep as data: a list of blocks. A preset, a YAML file and a search's best.yaml are all lists of blocks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.data.hub_catalog import SUITES
from tunekit.data.sources import DataSource
from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.parsing import read_yaml
from tunekit.planning.other_names import nearest_name
from tunekit.schema import Precision, Scalar, TrialSpec
from tunekit.training_options import Schedule

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
    class_weights: str | None = None
    """How much each label counts in the loss: balanced, for weights that make all labels of the training data count
    alike, or LABEL=WEIGHT,... with 1 for labels left out (default: none; docs/losses.md)."""
    label_smoothing: float | None = None
    """The share of each target that is spread evenly over all labels (default: 0)."""
    focal_gamma: float | None = None
    """The exponent of focal loss, by which texts that are classified well count less (default: 0, cross-entropy)."""
    head_learning_rate: float | None = None
    """The learning rate of the head, as a multiple of the learning rate (default: 1)."""
    layer_decay: float | None = None
    """The factor by which each layer's learning rate is smaller than that of the layer above it (default: 1)."""
    lr_schedule: Schedule | None = None
    """How the learning rate goes on after warm-up: linearly or by a cosine to 0, or constant (default: linear)."""
    max_grad_norm: float | None = None
    """The norm that the gradients of a step are clipped to; 0 clips nothing (default: 1)."""
    patience: int | None = None
    """End a trial once this many epochs in a row have not raised its best validation score (default: train all
    epochs)."""


@dataclass(frozen=True, kw_only=True)
class Block(Settings):
    """One product of models, datasets, methods and seeds, with common settings.

    A list of models, datasets, methods or seeds counts as a tuple. Raises UserError where one of the four is a single
    value or empty, a dataset is neither a name nor a TextDataset, a method is unknown, a method has no parameter of a
    given name, or a setting is given for a method that is not in the block.
    """

    models: tuple[str, ...]
    """Models by short name, hub id or local folder."""
    datasets: "tuple[str | DataSource | TextDataset, ...]"
    """Datasets by name, files and folders by their paths or as ``tunekit.DataSource``, which names their columns, or
    what ``tunekit.dataset`` made of a DataFrame."""
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
        self._check_items()
        for method in self.methods:
            complete_params(method, self.method_params.get(method, {}))
        rates = self.learning_rate if isinstance(self.learning_rate, Mapping) else {}
        for setting, by_method in (("method_params", self.method_params), ("learning_rate", rates)):
            for name in by_method:
                METHODS[name]
                if name not in self.methods:
                    raise UserError(
                        f"{setting} is given for {name!r}, which is not among the block's methods "
                        f"({', '.join(self.methods)})"
                    )

    def _check_items(self) -> None:
        """Raise UserError where a dataset or a model is none."""
        from tunekit.data.base import TextDataset

        for data in self.datasets:
            if not isinstance(data, str | DataSource | TextDataset):
                kind = type(data).__name__
                raise UserError(f"datasets holds a {kind}; give a name, or make a dataset of it with tunekit.dataset")
        for model in self.models:
            if not isinstance(model, str):
                raise UserError(
                    f"models holds a {type(model).__name__}; give a short name, a hub id or a folder's path"
                )

    def specs(self, seed: int, name_model: Callable[[str], str], name_dataset: Callable[[Any], str]) -> list[TrialSpec]:
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
                for dataset in self.datasets
                for method in self.methods
            ]
        except ValueError as error:
            raise UserError(str(error)) from error

    def of_methods(self, methods: tuple[str, ...]) -> "Block":
        """Return the block with these of its methods alone."""
        rate = self.learning_rate
        if isinstance(rate, Mapping):
            rate = {name: value for name, value in rate.items() if name in methods}
        params = {name: values for name, values in self.method_params.items() if name in methods}
        return replace(self, methods=methods, learning_rate=rate, method_params=params)

    def rate_of(self, method: str) -> float:
        """Return the learning rate of ``method``: the block's, or the method's own default."""
        rate = self.learning_rate
        if isinstance(rate, Mapping):
            rate = rate.get(method)
        return METHODS[method].learning_rate if rate is None else rate

    def to_dict(self) -> dict[str, Any]:
        """Return the block as YAML and JSON hold it; settings at their default are left out."""
        datasets = [data.to_value() if isinstance(data, DataSource) else name_of(data) for data in self.datasets]
        values = {**vars(self), "datasets": tuple(datasets)}
        return {name: value for name, value in values.items() if value not in (None, {})}


def name_of(data: "str | DataSource | TextDataset") -> str:
    """Return an entry of a block's datasets as a text: its name, or where it is."""
    if isinstance(data, str):
        return data
    return data.path if isinstance(data, DataSource) else data.name


AXES = ("models", "datasets", "methods", "seeds")
SETTINGS = tuple(item.name for item in fields(Settings))


def parse_block(values: object, where: str) -> Block:
    """Return a block from parsed YAML, in which ``suite`` may stand for the datasets of a suite.

    Raises UserError that names ``where`` and what is wrong.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: a block is a mapping of models, datasets, methods, seeds and settings")
    values = _with_suite(values, where)
    known = [*(item.name for item in fields(Block)), "suite"]
    for key in values:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}{nearest_name(str(key), known)}")
    missing = [name for name in AXES if name not in values]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}")
    axes = {name: _axis(name, values[name], where) for name in AXES}
    params = values.get("method_params") or {}
    if not isinstance(params, dict) or not all(isinstance(value, dict) for value in params.values()):
        raise UserError(f"{where}: method_params must map a method to its parameters, as in {{lora: {{r: 16}}}}")
    try:
        return Block(**{**values, **axes, "method_params": params})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _with_suite(values: dict[Any, Any], where: str) -> dict[Any, Any]:
    """Return ``values`` with the datasets of the suite that they name before those of their own.

    Raises UserError, which names ``where``, on an unknown suite.
    """
    if "suite" not in values:
        return values
    own = {name: value for name, value in values.items() if name != "suite"}
    if not isinstance(values["suite"], str):
        raise UserError(f"{where}: suite is the name of one suite, got {values['suite']!r}")
    try:
        datasets = SUITES[values["suite"]]
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    more = own.get("datasets", [])
    return {**own, "datasets": [*datasets, *(more if isinstance(more, list) else [more])]}


def _axis(name: str, given: object, where: str) -> tuple[Any, ...]:
    """Return one of ``AXES`` from parsed YAML. Raises UserError, which names ``where``, on an item of another kind."""
    wanted, kind = (int, "whole numbers") if name == "seeds" else (str, "names")
    axis: list[Any] = []
    for item in given if isinstance(given, list) else [given]:
        if name == "datasets" and isinstance(item, dict):
            try:
                axis.append(DataSource.from_mapping(item))
            except UserError as error:
                raise UserError(f"{where}, datasets: {error}") from error
        elif isinstance(item, wanted) and not isinstance(item, bool):
            axis.append(item)
        else:
            quotes = "" if wanted is int else "; put quotes around a name that YAML reads otherwise"
            raise UserError(f"{where}: {name} holds {repr(item)[:60]}, and must be a list of {kind}{quotes}")
    return tuple(axis)


def load_blocks(path: Path) -> list[Block]:
    """Return the blocks of a YAML file. Raises UserError, which names the file, where it is no list of blocks."""
    content = read_yaml(path, str(path))
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: expected a list of blocks (models, datasets, methods, seeds, settings)")
    return [parse_block(values, f"{path}, block {number}") for number, values in enumerate(content, 1)]


def expand(
    blocks: Sequence[Block], name_model: Callable[[str], str] = str, name_dataset: Callable[[Any], str] = name_of
) -> list[TrialSpec]:
    """Return all trials of ``blocks``, each once, seed by seed: the first seeds alone already fill the whole table."""
    specs: dict[str, TrialSpec] = {}
    for turn in range(max(len(block.seeds) for block in blocks)):
        for block in blocks:
            if turn < len(block.seeds):
                for spec in block.specs(block.seeds[turn], name_model, name_dataset):
                    specs.setdefault(spec.trial_id, spec)
    return list(specs.values())
