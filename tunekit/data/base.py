"""Datasets: declared in a registry, loaded into normalised splits, cut by a trial's limits, and stored by hash.

Every split is a DataFrame with columns ``text``, ``pair`` (str or None), ``label``, ``group`` (the cluster an item
stands in, such as its sentence) and, once loaded, ``item_id``; its index is 0..n-1. A label is what the dataset's task
takes: an int 0..k-1 of a class, a float, a tuple with a 0 or 1 for each label name, or a text with a tag for each word.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tunekit.data.splitting import draw_parts, stratified_sample
from tunekit.errors import UserError
from tunekit.registry import Registry

if TYPE_CHECKING:
    from pandas import DataFrame

SPLITS = ("train", "val", "test")
DEFAULT_TASK = "classification"
"""The name of the task that a dataset has where it names none."""
PINNED = "rev-"
"""Prefix of a declared hash that pins a revision of a git repository instead of the content itself."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A registered dataset: the facts that planning and tables need without reading it, and the loader."""

    display_name: str
    label_names: tuple[str, ...]
    """The display names of the head's outputs: of classes or labels in their order, or of a regression's one target."""
    load: Callable[[], dict[str, DataFrame]]
    """Returns the rows of each split by its name, as ``make_frame`` makes them."""
    content_hash: str
    """12 hex digits, verified on loading, so that planning fetches nothing; or ``rev-`` and a pinned revision."""
    num_rows: dict[str, int]
    mean_tokens: int
    """The rough mean of tokens per row, for estimates of time before the data is read."""
    licence: str
    homepage: str
    pair_as: str = "sep_token"
    """How ``pair`` joins ``text``: ``sep_token`` (one string, that token between) or the tokenizer's own ``pair``."""
    task: str = DEFAULT_TASK
    """The name of the task that trials on the dataset learn, one of ``tunekit.tasks.TASKS``."""
    primary_metric: str | None = None
    """The score by which epochs and configurations are chosen, where it is another than the task's own."""


DATASETS: Registry[DatasetInfo] = Registry("dataset")


@dataclass(frozen=True, kw_only=True, repr=False)
class TextDataset:
    """A loaded dataset. ``content_hash`` is the hash of the whole dataset, also after ``limit_and_carve``."""

    name: str
    display_name: str
    label_names: tuple[str, ...]
    splits: dict[str, DataFrame]
    content_hash: str
    pair_as: str
    split_note: str = ""
    """A line in plans on how a user's own data is split; empty for registered data and data that is read back."""
    reading_notes: tuple[str, ...] = ()
    """Lines on what the reader of a user's own files found out by itself, such as their separator."""
    left_out: dict[str, int] = field(default_factory=dict)
    """The number of rows that were left out on the user's request, by the kind of their defect."""
    note: str = ""
    """A note on the dataset in tables and reports, such as on its test part; empty where there is none."""
    licence: str = ""
    """The licence of the data, as far as it is known; empty for a user's own data, whose licence is not known."""

    def __repr__(self) -> str:
        rows = ", ".join(f"{len(frame)} {split}" for split, frame in self.splits.items())
        note = f"; {self.split_note}" if self.split_note else ""
        task = task_name(self.name)
        what = f"{len(self.label_names)} classes" if task == DEFAULT_TASK else f"task {task}"
        return f"TextDataset {self.name}: {rows} rows, {what}{note}"


def own_name(stem: str, digest: str, task: str, primary_metric: str | None = None) -> str:
    """Return the name of a user's own dataset: its stem, the task and metric that were declared, and its content hash.

    The name alone says the task on every machine. Classification by its own metric is not named, so that names from
    before there were tasks stay.
    """
    if primary_metric is not None:
        task = f"{task}.{primary_metric}"
    return f"{stem}-{digest}" if task == DEFAULT_TASK else f"{stem}+{task}-{digest}"


_DECLARED = re.compile(r"\+(?P<task>[a-z_]+)(\.(?P<metric>[a-z0-9_]+))?-[0-9a-f]{12}$")
"""The end of a name that ``own_name`` made. Its stem has no ``+``, so no name is mistaken."""


def task_name(dataset: str) -> str:
    """Return the name of the task that trials on ``dataset`` learn: the registered one, or the one in its name."""
    if dataset in DATASETS:
        return DATASETS[dataset].task
    found = _DECLARED.search(dataset)
    return found["task"] if found else DEFAULT_TASK


def primary_metric(dataset: str) -> str | None:
    """Return the metric that ``dataset`` names to choose by; None where its task's own metric serves."""
    if dataset in DATASETS:
        return DATASETS[dataset].primary_metric
    found = _DECLARED.search(dataset)
    return found["metric"] if found else None


def text_hash(text: str) -> str:
    """Return 16 hex digits that stand for a text: the group of an item that has no natural group."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_frame(
    texts: Sequence[str],
    labels: Sequence[int] | Sequence[float] | Sequence[tuple[int, ...]] | Sequence[str],
    pairs: Sequence[str | None] | None = None,
    groups: Iterable[str] | None = None,
) -> DataFrame:
    """Return one split's rows without ``item_id``. Without ``groups`` an item's group is the hash of its own text."""
    import pandas as pd

    kinds = {float: "float64", tuple: "object", str: "str"}
    dtype = next((kinds[kind] for kind in kinds if any(isinstance(one, kind) for one in labels)), "int64")
    return pd.DataFrame(
        {
            "text": pd.Series(texts, dtype="str"),
            # object, because the string type would turn None into NaN
            "pair": pd.Series(list[Any](pairs if pairs is not None else [None] * len(texts)), dtype="object"),
            "label": pd.Series(list(labels), dtype=dtype),
            "group": pd.Series([text_hash(t) for t in texts] if groups is None else list(groups), dtype="str"),
        }
    )


def make_dataset(
    name: str,
    splits: dict[str, DataFrame],
    *,
    display_name: str,
    label_names: tuple[str, ...],
    content_hash: str,
    pair_as: str,
    split_note: str = "",
    reading_notes: tuple[str, ...] = (),
    left_out: dict[str, int] | None = None,
    note: str = "",
    licence: str = "",
) -> TextDataset:
    """Return the dataset with ``item_id`` in each split: 16 hex digits over text, pair, label and earlier repetitions.

    A class enters the hash by its name, a label of another task as it is.
    """
    seen: Counter[tuple[str, str | None, Any]] = Counter()

    def item_id(text: str, pair: str | None, label: Any) -> str:
        item = (text, pair, label_names[label] if isinstance(label, int) else label)
        seen[item] += 1
        return text_hash(json.dumps([*item, seen[item]]))

    numbered = {}
    for split in (s for s in SPLITS if s in splits):
        frame = splits[split].reset_index(drop=True)
        ids = map(item_id, frame["text"], frame["pair"], frame["label"])
        numbered[split] = frame.assign(item_id=list(ids))
    return TextDataset(
        name=name,
        display_name=display_name,
        label_names=label_names,
        splits=numbered,
        content_hash=content_hash,
        pair_as=pair_as,
        split_note=split_note,
        reading_notes=reading_notes,
        left_out=left_out or {},
        note=note,
        licence=licence,
    )


def content_hash(splits: dict[str, DataFrame], label_names: Sequence[str]) -> str:
    """Return 12 hex digits of the sha256 of label names and all rows in order. No file, path or platform enters."""
    digest = hashlib.sha256(json.dumps(list(label_names)).encode())
    for split in (s for s in SPLITS if s in splits):
        columns = (splits[split][c].tolist() for c in ("text", "pair", "label", "group"))
        for row in zip(*columns, strict=True):
            digest.update(f"\n{json.dumps([split, *row])}".encode())
    return digest.hexdigest()[:12]


def limit_and_carve(data: TextDataset, *, train_limit: int | None, val_fraction: float, data_seed: int) -> TextDataset:
    """Return the data that a trial sees: ``val`` is carved out of train, then train is cut to ``train_limit`` rows.

    Both are stratified and drawn by ``data_seed`` alone. Rows keep their order and ``item_id``. Carving never separates
    rows of one text or group. With the same seed, a larger limit includes the rows of a smaller one. Raises UserError
    for a ``val_fraction`` outside [0, 1), for any where a dev part exists, and where no row can be carved.
    """
    splits = dict(data.splits)
    if not 0 <= val_fraction < 1:
        raise UserError(f"val_fraction must be at least 0 and below 1, got {val_fraction}")
    if train_limit is not None and train_limit < 1:
        raise UserError(f"train_limit must be at least 1, got {train_limit}")
    if val_fraction:
        if "val" in splits:
            raise UserError(f"dataset {data.name!r} has a dev part of its own: leave val_fraction at 0")
        train = splits["train"]
        parts = draw_parts(train, {"train": 1 - val_fraction, "val": val_fraction}, data_seed)
        if not parts["val"]:
            raise UserError(f"dataset {data.name!r} has too few rows or groups for val_fraction {val_fraction}")
        splits |= {part: train.iloc[rows].reset_index(drop=True) for part, rows in parts.items()}
    if train_limit is not None and train_limit < len(splits["train"]):
        rows = stratified_sample(splits["train"], train_limit, data_seed)
        splits["train"] = splits["train"].iloc[rows].reset_index(drop=True)
    return replace(data, splits={split: splits[split] for split in SPLITS if split in splits})
