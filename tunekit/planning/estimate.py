"""What a plan will cost in hours and in bytes of disk: a rough estimate from declared sizes and one probe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunekit.data.base import DATASETS
from tunekit.memory import ADAMW_STATES, NoClosedForm, Shape, parameters
from tunekit.memory.graph import FP32
from tunekit.models.catalog import MODELS
from tunekit.planning import machine
from tunekit.planning.plan import PlannedTrial
from tunekit.planning.resolve import ResolvedSweep
from tunekit.schema import TrialSpec

EFFICIENCY = 0.5
"""The share of a matrix product's rate that a training step reaches (measured: 0.5 to 0.6 for MiniLM on 2 cores)."""
LONGEST = 5.5
"""Tokens of the longest text over those of the mean text, as assumed before the data is read.

The registered datasets have 1.6 to 5.4.
"""
UNKNOWN = MODELS["roberta"].shape
"""The shape that is assumed of a model that is not registered."""
RECORD_BYTES = 4_000_000


@dataclass(frozen=True)
class DatasetSize:
    """How much a dataset is, as far as planning knows."""

    train: int
    """The number of rows to train on."""
    scored: int
    """The number of rows that are scored after each epoch."""
    tokens: int
    """The mean number of tokens in a row."""

    @property
    def longest(self) -> int:
        """A rough number of tokens in the longest row."""
        return int(LONGEST * self.tokens)


def _shape(model: str) -> Shape:
    return MODELS[model].shape if model in MODELS else UNKNOWN


def encoder_params(model: str) -> int:
    """Return the number of weights of the encoder's layers; embeddings do not count."""
    shape = _shape(model)
    h, inner = shape.hidden_size, shape.intermediate_size
    return shape.num_hidden_layers * (4 * h * h + 2 * h * inner)


def flops(spec: TrialSpec, sizes: Mapping[str, DatasetSize]) -> float:
    """Return a trial's operations: 6 N a token trained (4 N with a frozen backbone), 2 N a token scored."""
    size = sizes[spec.dataset]
    train = min(size.train, spec.train_limit or size.train)
    per_token = (6 if spec.method == "full" else 4) * train + 2 * size.scored
    return spec.epochs * per_token * min(size.tokens, spec.max_length) * encoder_params(spec.model)


def declared_size(dataset: str) -> DatasetSize | None:
    """Return the size of a registered dataset; None of another one."""
    if dataset not in DATASETS:
        return None
    info = DATASETS[dataset]
    return DatasetSize(info.num_rows["train"], info.num_rows.get("val", 0) + info.num_rows["test"], info.mean_tokens)


def dataset_sizes(sweep: ResolvedSweep) -> dict[str, DatasetSize]:
    """Return the size of each dataset of ``sweep`` by name: the declared one, or that of the user's own data."""
    sizes = {}
    for name in dict.fromkeys(spec.dataset for spec in sweep.specs):
        size = declared_size(name)
        if size is None:
            splits = sweep.own_data[name].splits
            words = splits["train"]["text"].map(lambda text: len(text.split())).mean()
            scored = sum(len(frame) for split, frame in splits.items() if split != "train")
            size = DatasetSize(len(splits["train"]), scored, int(1.4 * words) + 2)
        sizes[name] = size
    return sizes


def cpu_hours(trials: Sequence[PlannedTrial], sizes: Mapping[str, DatasetSize]) -> float:
    """Return the hours that the epochs left of ``trials`` take on this machine's processor."""
    left = sum(flops(trial.spec, sizes) * (1 - trial.epochs_done / trial.spec.epochs) for trial in trials)
    return left / (EFFICIENCY * machine.cpu_flops_per_second()) / 3600


def checkpoint_bytes(spec: TrialSpec, num_labels: int) -> int:
    """Return the bytes of a checkpoint: each trainable weight and its two AdamW moments in float32.

    All weights count where the method has no closed form.
    """
    shape = _shape(spec.model)
    try:
        count = parameters(shape, spec.method, spec.method_params, num_labels).trainable
    except NoClosedForm:
        count = parameters(shape, "full", {}, num_labels).trainable
    return FP32 * (1 + ADAMW_STATES) * count


def disk_bytes(specs: Sequence[TrialSpec], concurrent: int, keep_models: str = "none") -> int:
    """Return the bytes of disk that ``specs`` may take: their records, checkpoints and kept weights.

    ``concurrent`` trials run at a time, each with up to three checkpoints. Heads, which are small, count as those of
    two classes.
    """
    largest = max(checkpoint_bytes(spec, 2) for spec in specs) if specs else 0
    return (
        len(specs) * RECORD_BYTES + 3 * min(concurrent, len(specs)) * largest + kept_weights_bytes(specs, keep_models)
    )


def kept_weights_bytes(specs: Sequence[TrialSpec], keep_models: str) -> int:
    """Return the bytes of the weights that ``specs`` keep for export.

    With ``best`` a running trial keeps three: its best so far, and one beside each checkpoint.
    """
    copies = {"none": 0, "last": 1, "best": 3}
    parts = 1 + ADAMW_STATES
    return sum(copies.get(keep_models, spec.epochs) * checkpoint_bytes(spec, 2) // parts for spec in specs)
