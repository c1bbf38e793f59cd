"""Results that nothing trained: a store of a grid and a table of runs, drawn from seeds, of the sizes of real ones.

The grid has the shape of the study: two encoders fine-tuned in full and two methods on one of them, three datasets,
five seeds, ten epochs. Each trial keeps what a real one keeps: the scores of each epoch, the loss of each step, and the
predictions with logits of each epoch. An item is as hard for all trials, so that their errors overlap as real ones do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.predictions import METRICS
from tunekit.data.base import TextDataset, content_hash, make_dataset, make_frame
from tunekit.data.copies import save_dataset
from tunekit.schema import EpochRecord, Fingerprint, Scalar, Status, TrialSpec, TrialSummary
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SEEDS = (1, 2, 3, 4, 5)
EPOCHS = 10
BATCH = 32


@dataclass(frozen=True)
class Shape:
    """The size of one dataset."""

    name: str
    display_name: str
    shares: tuple[float, ...]
    """The share of each class; they sum to 1."""
    rows: dict[str, int]
    """The number of rows of each split."""
    a_group: int = 1
    """The number of rows of one group."""


SHAPES = (
    Shape("acl_arc", "ACL-ARC", (0.18, 0.04, 0.18, 0.05, 0.04, 0.51), {"train": 1688, "val": 114, "test": 139}),
    Shape("agnews_7k6", "AG News", (0.25, 0.25, 0.25, 0.25), {"train": 6840, "test": 760}),
    Shape("restaurant", "Restaurant", (0.6, 0.18, 0.22), {"train": 3452, "val": 150, "test": 1120}, a_group=2),
)


@dataclass(frozen=True)
class Row:
    """One row of the grid: what is trained, and how well it learns."""

    model: str
    method: str
    params: dict[str, Scalar]
    skill: float
    """The mean margin of the gold class's logit at the end of training."""
    trainable: int


ROWS = (
    Row("bert", "full", {}, 2.2, 109_486_854),
    Row("roberta", "full", {}, 2.5, 124_650_246),
    Row("roberta", "adapter", {"reduction_factor": 16}, 2.4, 1_790_000),
    Row("roberta", "lora", {"r": 32, "lora_alpha": 8}, 2.3, 1_770_000),
)


def write_grid(root: Path, seeds: Sequence[int] = SEEDS) -> None:
    """Write the grid as a store at ``root``: 12 cells, a trial a seed."""
    store = ResultStore(root)
    root.mkdir(parents=True)
    asked = []
    for shape in SHAPES:
        data = dataset_of(shape)
        save_dataset(data, store.data_folder)
        for row in ROWS:
            for seed in seeds:
                spec = TrialSpec(
                    model=row.model, dataset=shape.name, method=row.method, method_params=row.params, seed=seed,
                    learning_rate=5e-5 if row.method == "full" else 5e-4, epochs=EPOCHS, batch_size=BATCH,
                )  # fmt: skip
                asked.append(spec)
                _write_trial(store, spec, row, data)
    store.add_request({"cells": cells_of(asked)})


def dataset_of(shape: Shape) -> TextDataset:
    """Return a dataset of this size; its texts are numbered, and some of test stand in train."""
    labels = tuple(f"class {n}" for n in range(len(shape.shares)))
    splits = {}
    for place, (split, count) in enumerate(shape.rows.items()):
        rng = np.random.default_rng([place, len(shape.name)])
        gold = rng.choice(len(labels), count, p=shape.shares)
        owners = np.where(rng.random(count) < 0.1, "train", split)
        texts = [f"{owner} text {n}" for n, owner in enumerate(owners)]
        groups = [f"{split} {n // shape.a_group}" for n in range(count)]
        splits[split] = make_frame(texts, gold.tolist(), groups=groups)
    digest = content_hash(splits, labels)
    return make_dataset(
        shape.name, splits, display_name=shape.display_name, label_names=labels, content_hash=digest, pair_as="pair"
    )


def _write_trial(store: ResultStore, spec: TrialSpec, row: Row, data: TextDataset) -> None:
    rng = np.random.default_rng([spec.seed, *map(ord, f"{row.model} {row.method} {data.name}")])
    per_epoch = -(-len(data.splits["train"]) // BATCH)
    skill = row.skill + rng.normal(0, 0.1)
    losses = 0.15 + np.exp(-np.arange(per_epoch * EPOCHS) / per_epoch) * rng.gamma(20, 0.05, per_epoch * EPOCHS)
    records: list[EpochRecord] = []
    frames = []
    for epoch in range(1, EPOCHS + 1):
        scores: dict[str, float] = {}
        for split in (name for name in ("val", "test") if name in data.splits):
            items = data.splits[split]
            gold = items["label"].to_numpy()
            logits = _logits(gold, len(data.label_names), skill * (1 - np.exp(-epoch)), rng)
            frames.append(_predictions(split, epoch, items, logits))
            scores |= _scores(split, gold, logits)
        records.append(
            EpochRecord(
                **{name: scores.get(name) for name in _SCORED}, epoch=epoch, step=epoch * per_epoch,
                train_loss=float(losses[(epoch - 1) * per_epoch : epoch * per_epoch].mean()),
                best_val_macro_f1=max([one.val_macro_f1 or 0 for one in records] + [scores.get("val_macro_f1", 0)]),
                learning_rate=spec.learning_rate, epoch_seconds=20 + float(rng.gamma(20, 0.05)),
                train_tokens_per_second=2e4, peak_memory_bytes=2**30 + row.trainable * 12,
            )
        )  # fmt: skip
    best = max(range(EPOCHS), key=lambda n: records[n].val_macro_f1 or 0) + 1 if "val" in data.splits else None
    fingerprint = Fingerprint(model=row.model, data=data.content_hash, code="generated")
    folder = store.open_trial(spec, fingerprint)
    store.write_epochs(folder, records)
    epochs = np.repeat(np.arange(1, EPOCHS + 1), per_epoch)
    steps = {"epoch": epochs, "step": np.arange(1, len(losses) + 1), "train_loss": losses, "learning_rate": 5e-5}
    store.write_steps(folder, pd.DataFrame(steps))
    store.write_predictions(folder, pd.concat(frames, ignore_index=True))
    final = {name: scores.get(name) for name in _SCORED}
    store.write_summary(
        folder,
        TrialSummary(
            status=Status.COMPLETED, num_epochs=EPOCHS, best_epoch=best, final_scores=final, best_scores=None,
            train_scores=None, num_trainable_params=row.trainable, num_total_params=126_000_000,
            train_seconds=sum(one.epoch_seconds or 0 for one in records),
            peak_memory_bytes=2**30 + row.trainable * 12, error=None, execution={"device": "cpu", "threads": 1},
            provenance={"commit": "generated"},
        ),
    )  # fmt: skip


_SCORED = tuple(f"{split}_{name}" for split in ("val", "test") for name in ("loss", "accuracy", "micro_f1", "macro_f1"))


def _logits(gold: IntArray, num_classes: int, skill: float, rng: np.random.Generator) -> FloatArray:
    """Return logits (N, C) in half precision; the hardness of an item is the same for all trials and epochs."""
    hardness = np.random.default_rng(len(gold)).normal(0, 1.5, len(gold))
    logits = rng.normal(0, 1, (len(gold), num_classes))
    logits[np.arange(len(gold)), gold] += skill - hardness
    return np.asarray(logits.astype(np.float16).astype(np.float64))


def _predictions(split: str, epoch: int, items: pd.DataFrame, logits: FloatArray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "split": split, "epoch": np.int32(epoch), "item_id": items["item_id"], "group_id": items["group"],
            "gold": items["label"].astype("int32"), "predicted": logits.argmax(axis=1).astype("int32"),
            "logits": list(logits.astype(np.float16)),
        }
    )  # fmt: skip


def _scores(split: str, gold: IntArray, logits: FloatArray) -> dict[str, float]:
    predicted = logits.argmax(axis=1)
    right = float((predicted == gold).mean())
    shifted = logits - logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(gold)), gold]
    macro = METRICS["macro_f1"](gold, predicted, logits.shape[1])
    return {
        f"{split}_loss": float(loss.mean()), f"{split}_accuracy": right, f"{split}_micro_f1": right,
        f"{split}_macro_f1": macro,
    }  # fmt: skip


def write_runs(path: Path, num_trials: int) -> None:
    """Write a CSV file of runs, a row an epoch, as a user exports them: validation and test scores, no predictions.

    There are five seeds a cell; four learning rates and two batch sizes of each method, for two encoders, two methods
    and two datasets, which makes 320 trials.
    """
    pd.DataFrame(list(_rows(num_trials))).to_csv(path, index=False)


def _rows(num_trials: int) -> Iterator[dict[str, Scalar]]:
    rng = np.random.default_rng(0)
    cells: list[dict[str, Any]] = [
        {"model": model, "dataset": data, "method": method, "learning_rate": rate, "batch_size": batch}
        for data in ("news", "reviews")
        for model in ("encoder-a", "encoder-b")
        for method in ("full", "lora")
        for rate in (1e-5, 2e-5, 5e-5, 1e-4)
        for batch in (16, 32)
    ]
    for number in range(num_trials):
        cell = cells[number // len(SEEDS)]
        level = 0.8 + 0.02 * (cell["model"] == "encoder-b") - 0.01 * abs(np.log10(cell["learning_rate"] / 5e-5))
        level += rng.normal(0, 0.01)
        for epoch in range(1, EPOCHS + 1):
            score = level * (1 - 0.4 * np.exp(-epoch))
            noise = rng.normal(0, 0.005, 4)
            yield {
                **cell, "seed": SEEDS[number % len(SEEDS)], "epoch": epoch, "train_loss": float(np.exp(-epoch / 3)),
                "val_accuracy": score + noise[0], "val_macro_f1": score - 0.02 + noise[1],
                "test_accuracy": score + noise[2], "test_macro_f1": score - 0.02 + noise[3],
                "train_seconds": 300 + float(rng.gamma(20, 1)),
            }  # fmt: skip
