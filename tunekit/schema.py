"""The contract: the spec of a trial, its records, and the display of each number. Standard library only."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, Literal, Self, cast, get_args

from tunekit.parsing import Scalar as Scalar
from tunekit.parsing import check_names, check_scores, coerced, plain_scalars, strictly
from tunekit.training_options import LATER_FIELDS as LATER_FIELDS
from tunekit.training_options import TrainingOptions, canonical_weights, without_defaults
from tunekit.training_options import with_later_fields as with_later_fields

# The versions of records and ids, and of training's numerics. A change of a golden id or loss must raise its version.
SCHEMA_VERSION = 1
TRAINER_VERSION = 3

Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS = get_args(Precision)


def readable(name: str) -> str:
    """Return the name of a model or dataset without the end of a user's own name: a declared task, and a hash."""
    return re.sub(r"(?<=.)(\+[a-z0-9_.]+)?-[0-9a-f]{12}$", "", name)


def slug(text: str) -> str:
    """Return ``text`` as a part of a file name: at most 60 lower-case letters, digits, ``.``, ``_`` and ``-``."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-.")[:60].strip("-.") or "x"


def canonical_json(value: object) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces. Raises ValueError on NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class TrialSpec(TrainingOptions):
    """Everything that can change a trial's numbers, and nothing else. All values are JSON scalars.

    Raises ValueError, which names the field, on a value of the wrong type or out of its range.
    """

    model: str
    """The model's short name, hub id, or ``name-hash`` for a local folder."""
    dataset: str
    """The dataset's short name, or ``name-hash`` for a user's own data."""
    method: str
    """The name of the fine-tuning method."""
    method_params: Mapping[str, Scalar] = field(default_factory=dict)
    """All hyperparameters of the method."""
    seed: int
    """The seed of the initialisation of new weights, the order of the training data, and dropout."""
    learning_rate: float
    """The peak learning rate of AdamW."""
    batch_size: int = 32
    """The training examples of an optimizer step."""
    epochs: int = 10
    """The passes over the training split."""
    max_length: int = 512
    """The number of tokens that a sequence is cut to, special tokens included."""
    weight_decay: float = 0.0
    """AdamW's weight decay. Biases and layer norms are left out, as in Hugging Face's Trainer."""
    warmup_ratio: float = 0.0
    """The share of all steps over which the learning rate rises from 0."""
    precision: str = "fp32"
    """fp32; or tf32 or bf16, where the device computes it."""
    train_limit: int | None = None
    """The number of rows of a stratified part of train to train on; None for all rows."""
    val_fraction: float = 0.0
    """The share of train that becomes the validation part, for datasets without one."""
    data_seed: int = 0
    """The seed that draws ``train_limit`` and ``val_fraction``."""
    score_test: bool = True
    """Whether the test split is scored after each epoch. Searches do not score it."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            of_method = item.name == "method_params"
            value = plain_scalars(item.name, value) if of_method else coerced(item.name, str(item.type), value)
            object.__setattr__(self, item.name, value)
        check_names(model=self.model, dataset=self.dataset, method=self.method, class_weights=self.class_weights)
        object.__setattr__(self, "class_weights", canonical_weights(self.class_weights))
        checks = {
            "seed must be 0 or more": self.seed >= 0,
            "data_seed must be 0 or more": self.data_seed >= 0,
            "learning_rate must be above 0": self.learning_rate > 0,
            "batch_size must be 1 or more": self.batch_size >= 1,
            "epochs must be 1 or more": self.epochs >= 1,
            "max_length must be 4 or more": self.max_length >= 4,
            "weight_decay must be 0 or more": self.weight_decay >= 0,
            "warmup_ratio must lie in [0, 1)": 0 <= self.warmup_ratio < 1,
            f"precision must be one of {', '.join(PRECISIONS)}": self.precision in PRECISIONS,
            "train_limit must be 2 or more": self.train_limit is None or self.train_limit >= 2,
            "val_fraction must lie in [0, 1)": 0 <= self.val_fraction < 1,
            **self.option_checks(),
        }
        for message, holds in checks.items():
            if not holds:
                raise ValueError(f"{message}, got {getattr(self, message.split()[0])!r}")

    @cached_property
    def trial_id(self) -> str:
        """The first 12 hex digits of the sha256 of the canonical JSON, without fields at their default."""
        kept = without_defaults(asdict(self), _DEFAULTS)
        return hashlib.sha256(canonical_json(kept).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """The name of the trial's folder in the store."""
        return f"{self.name}-{self.trial_id}"

    @property
    def name(self) -> str:
        """A readable name, which is not unique: model, dataset, method and seed."""
        return f"{slug(self.model)}-{slug(self.dataset)}-{slug(self.method)}-s{self.seed}"

    @property
    def label(self) -> str:
        """A line that names the trial for a person."""
        return f"{readable(self.model)} · {readable(self.dataset)} · {self.method} · seed {self.seed}"

    @cached_property
    def cell(self) -> str:
        """The canonical JSON of every field but the seed. Only trials of equal cells may be averaged."""
        return canonical_json({name: value for name, value in self.to_dict().items() if name != "seed"})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, without those of ``LATER_FIELDS`` that are at their default."""
        return without_defaults(asdict(self), LATER_FIELDS)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialSpec:
        """Return the spec that ``to_dict`` gave. Raises ValueError on a missing or unknown field."""
        return strictly(cls, values)


_DEFAULTS = {"method_params": {}} | {one.name: one.default for one in fields(TrialSpec) if one.default is not MISSING}


class Direction(StrEnum):
    """Whether more or less of a metric is better, or neither."""

    MAX = "max"
    MIN = "min"
    NONE = "none"


def metric(label: str, *, direction: Direction = Direction.NONE, unit: str = "") -> Any:
    """Return a dataclass field of a record with its label, unit and direction for tables and axes."""
    return field(metadata={"label": label, "direction": direction, "unit": unit})


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One trained epoch. Scores lie in [0, 1], and are None where they were not measured or an import lacks them."""

    epoch: int = metric("Epoch")
    step: int | None = metric("Step")
    train_loss: float | None = metric("Training loss", direction=Direction.MIN)
    val_loss: float | None = metric("Validation loss", direction=Direction.MIN)
    val_accuracy: float | None = metric("Validation accuracy", direction=Direction.MAX, unit="%")
    val_micro_f1: float | None = metric("Validation micro-F1", direction=Direction.MAX, unit="%")
    val_macro_f1: float | None = metric("Validation macro-F1", direction=Direction.MAX, unit="%")
    test_loss: float | None = metric("Test loss", direction=Direction.MIN)
    test_accuracy: float | None = metric("Test accuracy", direction=Direction.MAX, unit="%")
    test_micro_f1: float | None = metric("Test micro-F1", direction=Direction.MAX, unit="%")
    test_macro_f1: float | None = metric("Test macro-F1", direction=Direction.MAX, unit="%")
    best_val_macro_f1: float | None = metric("Best validation macro-F1 so far", direction=Direction.MAX, unit="%")
    learning_rate: float | None = metric("Learning rate")
    epoch_seconds: float | None = metric("Seconds an epoch", direction=Direction.MIN, unit="s")
    train_tokens_per_second: float | None = metric("Training tokens a second", direction=Direction.MAX, unit="1/s")
    peak_memory_bytes: int | None = metric("Peak memory", direction=Direction.MIN, unit="B")

    def values(self) -> dict[str, Any]:
        """Return every value of the epoch by its name, including the scores of every split."""
        return dict(vars(self))

    def score(self, name: str) -> float | None:
        """Return the score called ``name``, such as ``val_macro_f1``, or None. Raises KeyError for an unknown name."""
        return cast(float | None, self.values()[name])

    def row(self) -> dict[str, Any]:
        """Return the stored row of the epoch, with the version of its schema."""
        return {"schema_version": SCHEMA_VERSION, **vars(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, imported: bool = False) -> Self:
        """Return the record of a stored row. Raises ValueError on a missing, unknown, mistyped or non-finite value."""
        record = strictly(cls, values)
        for name, kind in value_kinds(imported):
            coerced(name, kind, values[name])
        return record


@cache
def value_kinds(imported: bool) -> list[tuple[str, str]]:
    """Return the names and types of an epoch's values. ``imported`` trials may lack values that others may not."""
    found = []
    for item in fields(EpochRecord):
        may_lack = imported or item.name.startswith(("val_", "test_", "best_val_"))
        found.append((item.name, str(item.type) if may_lack else str(item.type).split(" ")[0]))
    return found


class Status(StrEnum):
    """How a trial ended. A folder without a summary is an interrupted trial."""

    COMPLETED = "completed"
    """All epochs trained and scored."""
    STOPPED = "stopped"
    """Ended early by a scheduler."""
    DIVERGED = "diverged"
    """The loss became NaN or infinite."""
    OUT_OF_MEMORY = "out_of_memory"
    """The device had no memory left."""
    FAILED = "failed"
    """An error that a retry did not mend."""


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """The summary of one ended trial. Scores are dicts ``{split_metric: value}`` of one epoch."""

    status: Status
    num_epochs: int
    best_epoch: int | None
    """The epoch with the best validation score by the task's primary metric, the first of equals; None without val."""
    final_scores: dict[str, float | None]
    best_scores: dict[str, float | None] | None
    """The scores after the last epoch (``final_scores``), and after ``best_epoch``."""
    train_scores: dict[str, float] | None
    """The task's scores on a fixed part of train (at most 1,000 rows), dropout off, at the end."""
    num_trainable_params: int | None
    num_total_params: int | None
    train_seconds: float | None
    """The seconds of all recorded epochs, training and scoring."""
    peak_memory_bytes: int | None
    error: str | None
    """The first line of the error, for trials that did not complete."""
    execution: dict[str, Scalar | None]
    """The facts that may change last digits: device, threads, pack size, attention path, precision."""
    provenance: dict[str, Any]
    """The source of the numbers: commit, source hash, package versions, host."""
    predicted_memory_bytes: int | None = None
    """The peak by the closed form, on a CPU with the process's own memory; None without one, and in old records."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialSummary:
        """Return the summary of a stored file. Raises ValueError on a missing, unknown or mistyped value."""
        summary = strictly(cls, values)
        object.__setattr__(summary, "status", Status(summary.status))
        for item in fields(cls):
            value, kind = getattr(summary, item.name), str(item.type)
            if item.name.endswith("_scores"):
                check_scores(item.name, value, optional=kind.endswith("None"))
            elif not kind.startswith("dict"):
                coerced(item.name, kind if item.name != "status" else "str", value)
            elif not isinstance(value, dict):
                raise ValueError(f"{item.name} must be an object, got {type(value).__name__}")
        return summary


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """The versions that a trial's numbers depend on beside its spec. Trials of unequal fingerprints are never mixed."""

    model: str
    """The revision or content hash of the pretrained weights."""
    data: str
    """The content hash of the dataset."""
    code: str
    """The hash of the method's and the dataset's own source (normalised syntax tree)."""
    trainer: int = TRAINER_VERSION
    """The version of the training numerics."""

    def differs_in(self, other: Fingerprint) -> list[str]:
        """Return the names of the parts that differ."""
        return [item.name for item in fields(self) if getattr(self, item.name) != getattr(other, item.name)]

    @property
    def digest(self) -> str:
        """8 hex digits that stand for the whole fingerprint."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()[:8]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fingerprint:
        """Return the fingerprint of a stored file. Raises ValueError on a missing, unknown or mistyped field."""
        found = strictly(cls, values)
        for item in fields(cls):
            coerced(item.name, str(item.type), getattr(found, item.name))
        return found
