"""The audit of a sweep's own copies of its datasets: duplicates, conflicting labels, balance, trivial baselines."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.predictions import (
    METRICS,
    NUMBER,
    TEXT,
    WHOLE,
    IntArray,
    accuracy,
    read_columns,
    read_predictions,
)
from analysis.report.document import Grid, Paragraph, Points, Section
from analysis.sweep_records import DatasetFacts
from tunekit.parsing import how_many, strict_json
from tunekit.storage.paths import Place
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore
from tunekit.store.trial_files import PREDICTIONS_FILE
from tunekit.tasks import task_of

SEVERAL = (pa.list_(pa.int64()),)
_TYPES = {"split": TEXT, "row": WHOLE, "label": WHOLE, "text_sha256": TEXT, "group": TEXT}


@dataclass(frozen=True)
class DatasetAudit:
    """One dataset's audit; texts are compared by their sha256, whole and exact."""

    name: str
    display_name: str
    content_hash: str
    """The hash of its texts and labels, which two copies of one dataset share."""
    sweep: str
    """The name of the sweep that holds the copy."""
    counts: pd.DataFrame
    """One row a split: items, texts (distinct), groups, conflicting (distinct texts with several labels), and items
    whose text is also in another split, ``in train`` and ``in val``."""
    shared_groups: dict[tuple[str, str], int]
    """The number of groups that are in both of two splits; pairs of splits without any are left out."""
    balance: pd.DataFrame
    """One row a split, one column a class: number of items. Without columns where an item has no class."""
    known_right: int
    """The number of test items whose text is in train and has the item's label most often there."""
    baselines: dict[str, tuple[float, float]]
    """The accuracy and macro-F1 on test, in [0, 1], of train's majority class and of a memoriser of train; empty
    where an item has no class."""


def audit(root: Place) -> tuple[list[DatasetAudit], list[str]]:
    """Return the datasets of the sweep at ``root``, and a line for each copy that is damaged."""
    found, damaged = [], []
    for path in ResultStore(root).dataset_descriptions():
        try:
            facts, rows = read_copy(path)
        except DamagedRecord as error:
            damaged.append(str(error))
        else:
            found.append(_audit(root.name, facts, rows))
    return found, damaged


def audit_all(stores: Sequence[ResultStore]) -> tuple[list[DatasetAudit], list[str]]:
    """Return the datasets of several sweeps, equal copies once, and a line for each copy that is damaged."""
    different: dict[tuple[str, str], DatasetAudit] = {}
    damaged = []
    for store in stores:
        found, lines = audit(store.root)
        damaged += lines
        for one in found:
            different.setdefault((one.name, one.content_hash), one)
    return list(different.values()), damaged


def single_copies(found: Sequence[DatasetAudit]) -> dict[str, DatasetAudit]:
    """Return the audit of each dataset by its name; datasets of which sweeps hold different copies are left out."""
    names = Counter(one.name for one in found)
    return {one.name: one for one in found if names[one.name] == 1}


def copy_titles(found: Sequence[DatasetAudit]) -> list[str]:
    """Return the name of each dataset, with the sweep that holds the copy where sweeps hold different ones."""
    single = single_copies(found)
    return [one.display_name if one.name in single else f"{one.display_name} in {one.sweep}" for one in found]


def read_copy(path: Place) -> tuple[DatasetFacts, pd.DataFrame]:
    """Return a copy's facts and rows. Raises DamagedRecord, naming the file, where it is not as it was written."""
    parquet = path.with_suffix(".parquet")
    try:
        facts = strict_json(path.read_text(encoding="utf-8"))
        expected = facts["parquet_sha256"]
        found = hashlib.sha256(parquet.read_bytes()).hexdigest()
        known = DatasetFacts.of(facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedRecord(f"{path}: {error}") from error
    if found != expected:
        raise DamagedRecord(
            f"{parquet}: its sha256 is not the one in {path.name}; run the sweep again to write it anew"
        )
    labels = {"class": WHOLE, "number": NUMBER, "labels": SEVERAL, "tags": TEXT}[task_of(known.name).form]
    return known, read_columns(parquet, _TYPES | {"label": labels}, list(_TYPES))


def _audit(sweep: str, facts: DatasetFacts, rows: pd.DataFrame) -> DatasetAudit:
    form = task_of(facts.name).form
    rows = rows.assign(label=rows["label"].map(tuple)) if form == "labels" else rows
    counts, shared = _counts(rows), _shared_groups(rows)
    names = (facts.name, facts.display_name, facts.content_hash, sweep)
    bare = DatasetAudit(*names, counts, shared, pd.DataFrame(index=counts.index), 0, {})
    return _with_classes(bare, rows, facts.label_names) if form == "class" else bare


def _with_classes(bare: DatasetAudit, rows: pd.DataFrame, names: Sequence[str]) -> DatasetAudit:
    """Return ``bare`` with the items of each class and the baselines."""
    train, test = (rows[rows["split"] == split] for split in ("train", "test"))
    balance = pd.crosstab(rows["split"], rows["label"]).reindex(columns=range(len(names)), fill_value=0)
    known = test["text_sha256"].map(_usual_labels(train))
    majority = int(train["label"].mode()[0])
    gold = test["label"].to_numpy()
    guesses = {"majority": np.full(len(test), majority), "memoriser": known.fillna(majority).astype(int).to_numpy()}
    return replace(
        bare,
        balance=balance.set_axis(list(names), axis=1).loc[list(bare.counts.index)],
        known_right=int((known == test["label"]).sum()),
        baselines={name: _scores(gold, guess, len(names)) for name, guess in guesses.items()} if len(test) else {},
    )


def _counts(rows: pd.DataFrame) -> pd.DataFrame:
    texts = {split: part["text_sha256"] for split, part in rows.groupby("split", sort=False)}
    counts = pd.DataFrame(
        {
            split: {
                "items": len(part),
                "texts": len(part["text_sha256"].unique()),
                "groups": len(part["group"].unique()),
                "conflicting": _conflicting(part),
                **{
                    f"in {other}": int(part["text_sha256"].isin(set(texts[other])).sum())
                    for other in ("train", "val")
                    if other in texts and other != split
                },
            }
            for split, part in rows.groupby("split", sort=False)
        }
    ).T
    return counts[sorted(counts, key=lambda name: name == "in val")]


def _shared_groups(rows: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Return the number of groups that are in both of two splits, where there are any."""
    groups = {str(split): set(part["group"]) for split, part in rows.groupby("split", sort=False)}
    shared = {(a, b): len(groups[a] & groups[b]) for a, b in combinations(groups, 2)}
    return {pair: count for pair, count in shared.items() if count}


def _conflicting(part: pd.DataFrame) -> int:
    """Return the distinct texts that carry more than one label."""
    pairs = part[["text_sha256", "label"]].drop_duplicates()
    return int((pairs.value_counts("text_sha256") > 1).sum())


def _usual_labels(train: pd.DataFrame) -> dict[str, int]:
    """Return each text's most frequent label in train, the smallest of equals."""
    counted = train.groupby(["text_sha256", "label"]).size().reset_index(name="count")
    ordered = counted.sort_values(["count", "label"], ascending=[False, True]).drop_duplicates("text_sha256")
    return dict(zip(ordered["text_sha256"], ordered["label"], strict=True))


def _scores(gold: IntArray, predicted: IntArray, num_classes: int) -> tuple[float, float]:
    return accuracy(gold, predicted, num_classes), METRICS["macro_f1"](gold, predicted, num_classes)


class CleanScores(NamedTuple):
    """One trial's scores on the test items whose text is not in train."""

    num_test: int
    """The number of all test items."""
    num_clean: int
    """The number of test items whose text is not in train."""
    scores: tuple[float, float] | None
    """Accuracy and macro-F1 in [0, 1]; None where the text of every item is in train."""


def clean_scores(root: Place, dataset: str, folder: Place, epoch: int) -> CleanScores | None:
    """Return one trial's scores on the test items whose text is not in train.

    Returns None where predictions or the dataset's copy are missing. Raises DamagedRecord where the two don't belong
    together.
    """
    frame = read_predictions(folder, "test", epoch)
    copies = ResultStore(root).dataset_descriptions()
    paths = [path for path in copies if path.stem == dataset or path.stem.startswith(f"{dataset}-")]
    if frame is None or len(paths) != 1:
        return None
    facts, rows = read_copy(paths[0])
    test = rows[rows["split"] == "test"].sort_values("row")
    # Predictions are in the order of the split's rows; equal labels and groups prove it.
    same = len(test) == len(frame) and (
        (test["label"].to_numpy() == frame["gold"].to_numpy()).all()
        and (test["group"].to_numpy() == frame["group_id"].to_numpy()).all()
    )
    if not same:
        raise DamagedRecord(f"{folder / PREDICTIONS_FILE}: its test items are not those of {paths[0].name}")
    clean = ~test["text_sha256"].isin(set(rows.loc[rows["split"] == "train", "text_sha256"])).to_numpy()
    gold, predicted = frame["gold"].to_numpy()[clean], frame["predicted"].to_numpy()[clean]
    scores = _scores(gold, predicted, len(facts.label_names)) if len(gold) else None
    return CleanScores(len(test), len(gold), scores)


def audit_section(found: Sequence[DatasetAudit], damaged: Sequence[str]) -> Section:
    """Return the audits, one part for each dataset, or for each copy where sweeps hold different ones of a dataset."""
    parts = [
        Section(
            title,
            (_grid(one.counts), *([_grid(one.balance)] if len(one.balance.columns) else []), Points(_remarks(one))),
            f"audit-{number}",
        )
        for number, (one, title) in enumerate(zip(found, copy_titles(found), strict=True), 1)
    ]
    about = (Paragraph(ABOUT),) if parts else ()
    blocks = (*about, Points(tuple(f"damaged: {line}" for line in damaged))) if damaged else about
    return Section("Data audit", blocks, "audit", tuple(parts))


ABOUT = (
    "Of each split: its items; its texts, each counted once; its groups, whose items belong together (equal texts, "
    "terms of one sentence) and are no independent observations, so that intervals on new texts from the same source "
    "draw groups, not items; the conflicting texts, which have several labels; and the items whose text stands in "
    "train, or in val, too. Below, the items of each class. The majority baseline predicts the most frequent class of "
    "train. The memoriser predicts the most frequent label that the same text has in train, and the majority class for "
    "texts that train lacks."
)


def _grid(frame: pd.DataFrame) -> Grid:
    shown = frame.astype("Int64").astype("string").fillna("")
    rows = tuple((str(split), *map(str, values)) for split, values in zip(shown.index, shown.to_numpy(), strict=True))
    return Grid(("split", *(COLUMNS.get(str(name), str(name)) for name in frame.columns)), rows)


BASELINES = {"majority": "Most frequent class of train", "memoriser": "Memoriser of train"}
COLUMNS = {"in train": "items whose text is in train", "in val": "items whose text is in val"}


def _remarks(one: DatasetAudit) -> tuple[str, ...]:
    lines = [
        f"{BASELINES[name]}, on test: accuracy {100 * score:.2f} %, macro-F1 {100 * macro:.2f} %"
        for name, (score, macro) in one.baselines.items()
    ]
    if "test" in one.counts.index and "in train" in one.counts:
        known, total = (int(one.counts[name]["test"]) for name in ("in train", "items"))
        right = f", {one.known_right} of them with that text's most frequent label" if one.baselines else ""
        share = f"{known:,} of {total:,} test items ({100 * known / total:.0f} %)"
        seen = f"the texts of {share} are also in train{right}"
        lines.append(seen if known else "no text of a test item is in train")
    shared = ", ".join(f"{how_many(count, 'group')} in {a} and {b}" for (a, b), count in one.shared_groups.items())
    lines.append(f"groups that are in two splits: {shared or 'none'}")
    return tuple(lines)
