"""The registered datasets against the counts and defects that are known of their files."""

import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.support.dataset_contract import check_rows
from tunekit.data.base import DATASETS, PINNED, TextDataset, content_hash, limit_and_carve
from tunekit.data.copies import load_dataset
from tunekit.data.files import DATA_DIR, PinnedFile, read_pinned
from tunekit.data.summary import summarise
from tunekit.errors import UserError
from tunekit.tasks import TASKS

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def real(name: str, monkeypatch: pytest.MonkeyPatch) -> TextDataset:
    if not SHARED.is_dir():
        pytest.skip(f"the real data files are not in {SHARED}")
    monkeypatch.setenv(DATA_DIR, str(SHARED))
    return load_dataset(name)


def label_counts(data: TextDataset, split: str) -> dict[str, int]:
    return {data.label_names[label]: n for label, n in Counter(data.splits[split]["label"]).items()}


def test_acl_arc(monkeypatch: pytest.MonkeyPatch) -> None:
    data = real("acl_arc", monkeypatch)
    names = ("Background", "Uses", "CompareOrContrast", "Motivation", "Extends", "Future")
    expected = {"train": (867, 317, 305, 76, 63, 60), "val": (59, 21, 21, 5, 4, 4), "test": (71, 26, 25, 7, 5, 5)}
    for split, counts in expected.items():
        assert label_counts(data, split) == dict(zip(names, counts, strict=True))
    seen = summarise(data)
    assert seen.rows == {"train": 1688, "val": 114, "test": 139}
    assert seen.duplicated["train"] == 1688 - 1270
    assert (seen.leaked["val_in_train"], seen.leaked["test_in_train"]) == (43, 52)
    assert seen.absent_classes == {}


def test_restaurant(monkeypatch: pytest.MonkeyPatch) -> None:
    data = real("restaurant", monkeypatch)
    assert label_counts(data, "train") == {"positive": 2094, "negative": 779, "neutral": 579}
    assert label_counts(data, "val") == {"positive": 70, "negative": 26, "neutral": 54}
    assert label_counts(data, "test") == {"positive": 728, "negative": 196, "neutral": 196}
    assert data.label_names == ("positive", "neutral", "negative")
    seen = summarise(data)
    assert seen.duplicated["train"] == 36
    assert (seen.leaked["val_in_train"], seen.leaked["test_in_train"]) == (0, 1)
    train = data.splits["train"]
    lowered = set(zip(train["text"].str.lower(), train["pair"].str.lower(), strict=True))
    assert len(train) - len(lowered) == 38, "the README's count ignores case"
    test = data.splits["test"]
    assert test["group"].nunique() == test["pair"].nunique() == 600


def test_agnews_7k6(monkeypatch: pytest.MonkeyPatch) -> None:
    data = real("agnews_7k6", monkeypatch)
    for split, counts in {"train": (1706, 1711, 1717, 1706), "test": (194, 189, 183, 194)}.items():
        assert label_counts(data, split) == dict(zip(data.label_names, counts, strict=True))
    seen = summarise(data)
    assert (seen.duplicated["train"], seen.leaked) == (0, {"test_in_train": 0})
    order = list(map(int, (SHARED / "agnews" / "split_seed2024_test_rows.txt").read_text().split()))
    with (SHARED / "agnews" / "test.csv").open(newline="") as file:
        rows = [(f"{title} {description}", int(index) - 1) for index, title, description in csv.reader(file)]
    test = data.splits["test"]
    assert list(zip(test["text"], test["label"], strict=True)) == [rows[row] for row in order]


@pytest.mark.slow
def test_carving_the_real_corpus_keeps_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    data = limit_and_carve(real("agnews_7k6", monkeypatch), train_limit=400, val_fraction=0.1, data_seed=0)
    assert {split: len(frame) for split, frame in data.splits.items()} == {"train": 400, "val": 684, "test": 760}
    assert max(label_counts(data, "train").values()) - min(label_counts(data, "train").values()) <= 2


def test_demo() -> None:
    data = load_dataset("demo")
    seen = summarise(data)
    assert seen.rows == {"train": 600, "val": 100, "test": 300}
    assert seen.duplicated["train"] == 0
    assert seen.leaked == {"val_in_train": 0, "test_in_train": 0, "test_in_val": 0}
    for split in data.splits:
        counts = label_counts(data, split)
        assert set(counts) == {"positive", "neutral", "negative"}
        assert min(counts.values()) > 0.15 * seen.rows[split]
    groups = [set(frame["group"]) for frame in data.splits.values()]
    assert not groups[0] & groups[1]
    assert not groups[2] & (groups[0] | groups[1])
    per_sentence = data.splits["train"].groupby("group")["label"].nunique()
    assert (per_sentence > 1).sum() > 50, "contrasts give one sentence two labels"
    assert all(
        text in pair for text, pair in zip(data.splits["test"]["text"], data.splits["test"]["pair"], strict=True)
    )


@pytest.mark.parametrize("name", list(DATASETS))
def test_contract(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    info = DATASETS[name]
    assert info.pair_as in ("sep_token", "pair")
    assert info.licence
    assert info.homepage
    if info.content_hash.startswith(PINNED):
        pytest.skip(f"{name} comes from the hub")
    data = load_dataset(name) if name == "demo" else real(name, monkeypatch)
    assert content_hash(data.splits, data.label_names) == info.content_hash
    check_rows(data)
    for frame in data.splits.values():
        if TASKS[info.task].form == "labels":
            assert np.array(frame["label"].to_list()).any(axis=0).all(), "each label occurs in each split"
        if TASKS[info.task].form == "tags":
            tags = {tag for own in frame["label"] for tag in own.split(" ")}
            assert tags == set(info.label_names), "each tag occurs in each split"


def test_content_other_than_declared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = DATASETS["demo"].load()
    rows["test"].loc[0, "label"] = (rows["test"].loc[0, "label"] + 1) % 3
    monkeypatch.setitem(DATASETS["demo"].__dict__, "load", lambda: rows)
    with pytest.raises(UserError, match="dataset 'demo' has content hash"):
        load_dataset("demo")


def test_pinned_file_missing_or_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_DIR, str(tmp_path))
    file = PinnedFile("a/b.txt", "owner/repo@c0ffee", "x/b.txt", "0" * 64)
    url = "https://raw.githubusercontent.com/owner/repo/c0ffee/x/b.txt"
    with pytest.raises(UserError, match=f"cannot read .*b.txt .*{url}"):
        read_pinned(file)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_text("other")
    with pytest.raises(UserError, match=f"b.txt has sha256 .*{url}"):
        read_pinned(file)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    def fail(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.delenv(DATA_DIR, raising=False)
    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(
        UserError, match=r"cannot fetch acl_arc/train.jsonl from https://.*ConnectionError.*" + DATA_DIR
    ):
        load_dataset("acl_arc")


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def fail(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=r"cannot load fancyzhx/ag_news .*HF_HOME.*HF_ENDPOINT.*agnews_7k6"):
        load_dataset("agnews")


@pytest.mark.slow
def test_full_corpus_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def hub(num_test: int) -> dict:
        sizes = {"train": 120000, "test": num_test}
        return {s: {"text": ["a"] * n, "label": [i % 4 for i in range(n)]} for s, n in sizes.items()}

    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision: hub(7600))
    assert summarise(load_dataset("agnews")).rows == {"train": 120000, "test": 7600}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision: hub(7596))
    with pytest.raises(UserError, match="declared"):
        load_dataset("agnews")


def test_unknown_name() -> None:
    with pytest.raises(UserError, match="did you mean 'restaurant'"):
        load_dataset("restaurants")


@pytest.mark.slow
def test_import_is_light() -> None:
    heavy = "torch ray transformers datasets"
    script = f"import sys, tunekit.data; sys.exit(' '.join(set('{heavy}'.split()) & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
