"""What a plan will cost in hours and bytes of disk: rough, from declared sizes and one probe."""

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
"""Share of the GEMM rate that a training step reaches (measured: 0.5 to 0.6 for MiniLM on 2 cores)."""
LONGEST = 5.5
"""Longest over mean length in tokens assumed before the data is read (1.6 to 5.4 in the registered datasets)."""
UNKNOWN = MODELS["roberta"].shape
"""Shape assumed of a model that is not registered."""
RECORD_BYTES = 4_000_000


@dataclass(frozen=True)
class DatasetSize:
    """How much a dataset is, as far as planning knows."""

    train: int
    """Rows."""
    scored: int
    """Rows scored after each epoch."""
    tokens: int
    """Mean tokens a row."""

    @property
    def longest(self) -> int:
        """Tokens of the longest row, rough."""
        return int(LONGEST * self.tokens)


def _shape(model: str) -> Shape:
    return MODELS[model].shape if model in MODELS else UNKNOWN


def encoder_params(model: str) -> int:
    """Weights of the encoder's layers, embeddings not counted."""
    shape = _shape(model)
    h, inner = shape.hidden_size, shape.intermediate_size
    return shape.num_hidden_layers * (4 * h * h + 2 * h * inner)


def flops(spec: TrialSpec, sizes: Mapping[str, DatasetSize]) -> float:
    """Floating-point operations of a trial: 6 N a token trained (4 N with the backbone frozen), 2 N a token scored."""
    size = sizes[spec.dataset]
    train = min(size.train, spec.train_limit or size.train)
    per_token = (6 if spec.method == "full" else 4) * train + 2 * size.scored
    return spec.epochs * per_token * min(size.tokens, spec.max_length) * encoder_params(spec.model)


def declared_size(dataset: str) -> DatasetSize | None:
    """The size of a registered dataset."""
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
    """Hours that the epochs left of ``trials`` take on this machine's processor."""
    left = sum(flops(trial.spec, sizes) * (1 - trial.epochs_done / trial.spec.epochs) for trial in trials)
    return left / (EFFICIENCY * machine.cpu_flops_per_second()) / 3600


def checkpoint_bytes(spec: TrialSpec, num_labels: int) -> int:
    """Bytes of a checkpoint: each trainable weight and its two AdamW moments in float32; all where that is unknown."""
    shape = _shape(spec.model)
    try:
        count = parameters(shape, spec.method, spec.method_params, num_labels).trainable
    except NoClosedForm:
        count = parameters(shape, "full", {}, num_labels).trainable
    return FP32 * (1 + ADAMW_STATES) * count


def disk_bytes(specs: Sequence[TrialSpec], concurrent: int, keep_models: str = "none") -> int:
    """Bytes the records of ``specs``, the weights that they keep and the checkpoints of ``concurrent`` running ones may
    take; three checkpoints may stand at a time. Their heads, which are small, are those of two classes.
    """
    largest = max(checkpoint_bytes(spec, 2) for spec in specs) if specs else 0
    return (
        len(specs) * RECORD_BYTES + 3 * min(concurrent, len(specs)) * largest + kept_weights_bytes(specs, keep_models)
    )


def kept_weights_bytes(specs: Sequence[TrialSpec], keep_models: str) -> int:
    """Bytes of the weights that ``specs`` keep; ``best`` while a trial runs, two more beside its checkpoints."""
    copies = {"none": 0, "last": 1, "best": 3}
    parts = 1 + ADAMW_STATES
    return sum(copies.get(keep_models, spec.epochs) * checkpoint_bytes(spec, 2) // parts for spec in specs)
