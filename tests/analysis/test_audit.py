"""The data audit: the real files' known defects, worked-out baselines, named damage."""

import hashlib
import json
import re

import pandas as pd
import pytest

from analysis.report.audit import audit, audit_section, clean_scores
from analysis.report.pages import markdown_sections
from tests.conftest import needs_real_data
from tests.support.records import FINGERPRINT
from tests.support.stores import add
from tunekit.__main__ import main
from tunekit.data.base import make_dataset, make_frame
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore


@needs_real_data
def test_acl_arc_has_its_known_defects(tmp_path):
    save_dataset(load_dataset("acl_arc"), ResultStore(tmp_path).data_folder)
    (found,), damaged = audit(tmp_path)
    counts = found.counts
    assert counts.loc["train", ["items", "texts", "conflicting"]].tolist() == [1688, 1270, 20]
    assert (counts.loc["test", "in train"], counts.loc["val", "in train"], counts.loc["test", "in val"]) == (52, 43, 9)
    assert (found.known_right, damaged) == (47, [])
    assert found.baselines["majority"][0] == 71 / 139
    assert "the texts of 52 of 139 test items (37 %) are also in train, 47 of them" in markdown_sections(
        [audit_section([found], [])]
    )


@needs_real_data
def test_restaurants_items_stand_in_sentences(tmp_path):
    save_dataset(load_dataset("restaurant"), ResultStore(tmp_path).data_folder)
    (found,), _ = audit(tmp_path)
    assert found.counts.loc["test", ["items", "groups"]].tolist() == [1120, 600]
    assert found.shared_groups == {("train", "val"): 1, ("train", "test"): 1}, "one sentence occurs twice in the files"
    assert found.baselines["majority"][0] == 0.65


def test_groups_that_cross_splits_are_counted(tmp_path):
    splits = {
        "train": make_frame(["a", "b", "c"], [0, 1, 2], groups=["1", "2", "3"]),
        "test": make_frame(["d", "e", "f"], [0, 1, 2], groups=["2", "2", "4"]),
    }
    labels = ("x", "y", "z")
    data = make_dataset("own", splits, display_name="Own", label_names=labels, content_hash="0" * 16, pair_as="pair")
    save_dataset(data, ResultStore(tmp_path).data_folder)
    (found,), _ = audit(tmp_path)
    assert found.shared_groups == {("train", "test"): 1}
    assert "groups that are in two splits: 1 group in train and test" in markdown_sections([audit_section([found], [])])


@pytest.fixture
def trial(tmp_path, make_spec):
    """A store with the demo data and a trial that is right on every second test item."""
    store = ResultStore(tmp_path)
    save_dataset(load_dataset("demo"), store.data_folder)
    (parquet,) = store.data_folder.glob("*.parquet")
    rows = pd.read_parquet(parquet)
    test = rows[rows["split"] == "test"].sort_values("row")
    gold = test["label"].to_numpy(dtype="int32")
    wrong = (test["row"].to_numpy() % 2).astype("int32")
    frame = pd.DataFrame(
        {
            "split": "test", "epoch": 1, "item_id": [str(n) for n in range(len(test))], "gold": gold,
            "group_id": test["group"].to_numpy(), "predicted": (gold + wrong) % 3, "logits": [[0.0] * 3] * len(test),
        }
    )  # fmt: skip
    folder = store.open_trial(make_spec(), FINGERPRINT)
    store.write_predictions(folder, frame)
    known = test["text_sha256"].isin(set(rows.loc[rows["split"] == "train", "text_sha256"])).to_numpy()
    return store, folder, float((wrong[~known] == 0).mean()), int((~known).sum())


def test_clean_scores_are_those_of_texts_that_are_not_in_train(trial):
    store, folder, accuracy, count = trial
    found = clean_scores(store.root, "demo", folder, 1)
    assert (found.num_clean, found.scores[0]) == (count, accuracy)
    assert found.num_test == 300


@pytest.mark.parametrize(
    ("num_known", "said"),
    [
        (0, ", none of whose texts is in train"),
        (100, r"; accuracy 50\.00, macro-F1 \d\d\.\d\d on the 200 whose text is not in train"),
        (300, ", the text of each of which is in train"),
    ],
)
def test_the_command_names_the_items_of_each_score(num_known, said, trial, make_spec, capsys):
    store, *_ = trial
    add(store, make_spec())
    (parquet,) = store.data_folder.glob("*.parquet")
    rows = pd.read_parquet(parquet)
    known = rows.index[rows["split"] == "test"][:num_known]
    rows.loc[known, "text_sha256"] = rows.loc[rows["split"] == "train", "text_sha256"].iloc[0]
    rows.to_parquet(parquet)
    sidecar = parquet.with_suffix(".json")
    digest = hashlib.sha256(parquet.read_bytes()).hexdigest()
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "parquet_sha256": digest}))
    assert main(["audit", str(store.root)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.search(rf": accuracy 50\.00, macro-F1 50\.00 on all 300 test items{said}$", line)


def test_predictions_of_other_items_are_refused(trial):
    store, folder, *_ = trial
    frame = pd.read_parquet(folder / "predictions.parquet")
    store.write_predictions(folder, frame.assign(gold=frame["gold"].to_numpy()[::-1]))
    with pytest.raises(DamagedRecord, match="are not those of demo"):
        clean_scores(store.root, "demo", folder, 1)


def test_a_changed_copy_is_named(trial):
    store, *_ = trial
    (parquet,) = store.data_folder.glob("*.parquet")
    parquet.write_bytes(parquet.read_bytes() + b"x")
    found, (line,) = audit(store.root)
    assert found == []
    assert "its sha256 is not the one" in line
