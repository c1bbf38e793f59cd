"""A folder that ``save_to_disk`` wrote is the data that was saved, or is refused by the file that is wrong."""

import json
import shutil

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunekit.data.labels import NOTHING_TO_READ
from tunekit.data.sources import DataSource, read_source
from tunekit.errors import UserError

LABELS = ["neg", "pos"]
FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=LABELS), "other": Value("int64")})
ROWS = [{"text": f"text {number}", "label": number % 2, "other": number} for number in range(60)]


@pytest.fixture(autouse=True, scope="module")
def quiet():
    datasets.disable_progress_bars()


def made(rows=ROWS, features=FEATURES):
    return Dataset.from_list(rows, features=features)


def read(folder, **columns):
    return read_source(DataSource(str(folder), **columns))[0]


def pairs(data):
    return {
        split: [(text, data.label_names[label]) for text, label in zip(frame["text"], frame["label"], strict=True)]
        for split, frame in data.splits.items()
    }


def every(data):
    return sorted(pair for part in pairs(data).values() for pair in part)


def expected(rows):
    return [(row["text"], LABELS[row["label"]]) for row in rows]


FORMS = {
    "as it is": lambda data: data,
    "in shards": lambda data: data,
    "numpy format": lambda data: data.with_format("numpy"),
    "some columns": lambda data: data.with_format("numpy", columns=["text"]),
    "large text": lambda data: data.cast_column("text", Value("large_string")),
    "chosen rows": lambda data: datasets.concatenate_datasets([data, data]).select(range(60)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_dataset_is_its_rows_with_its_classes_names(form, tmp_path):
    FORMS[form](made()).save_to_disk(tmp_path / "saved", num_shards=7 if form == "in shards" else 1)
    data = read(tmp_path / "saved")
    made().to_parquet(tmp_path / "saved.parquet")
    assert data.content_hash == read(tmp_path / "saved.parquet").content_hash
    assert every(data) == sorted(expected(ROWS))
    assert data.label_names == ("neg", "pos")


def test_a_shuffled_selection_is_what_was_selected(tmp_path):
    chosen = made().shuffle(seed=3).select(range(40))
    chosen.save_to_disk(tmp_path / "saved")
    assert every(read(tmp_path / "saved")) == sorted(expected(chosen.to_list()))


@pytest.mark.parametrize("dev", ["dev", "val", "validation", "Validation"])
def test_a_dict_of_datasets_keeps_its_splits_and_says_what_it_leaves_out(dev, tmp_path):
    parts = {"train": made(ROWS[:40]), dev: made(ROWS[40:50]), "test": made(ROWS[50:]), "unsupervised": made(ROWS[:3])}
    DatasetDict(parts).save_to_disk(tmp_path / "saved")
    data = read(tmp_path / "saved")
    assert pairs(data) == {
        "train": expected(ROWS[:40]), "val": expected(ROWS[40:50]), "test": expected(ROWS[50:])
    }  # fmt: skip
    assert "left out: split unsupervised" in data.reading_notes


def test_a_test_split_whose_labels_are_secret_is_left_out_and_said(tmp_path):
    secret = made([{**row, "label": -1} for row in ROWS[50:]])
    DatasetDict(train=made(ROWS[:50]), test=secret).save_to_disk(tmp_path / "saved")
    data = read(tmp_path / "saved")
    assert "left out: split test, none of whose rows has a label" in data.reading_notes
    assert every(data) == sorted(expected(ROWS[:50]))


def test_rows_without_a_label_are_bad_rows_and_no_class(tmp_path):
    made([{**row, "label": -1 if row["other"] in (3, 5) else row["label"]} for row in ROWS]).save_to_disk(
        tmp_path / "s"
    )
    with pytest.raises(UserError, match=r"2 bad rows: rows 4, 6: 'label' is -1.*--skip-bad-rows"):
        read(tmp_path / "s")
    data = read(tmp_path / "s", skip_bad_rows=True)
    assert (data.label_names, data.left_out) == (("neg", "pos"), {"missing label": 2})


def test_columns_are_named_and_pairs_are_two(tmp_path):
    rows = [
        {"a": f"one {number}", "b": f"two {number}", "y": LABELS[number % 2], "doc": number // 4}
        for number in range(80)
    ]
    Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    data = read(tmp_path / "saved", text=["a", "b"], label="y", group="doc")
    train = data.splits["train"]
    assert all(text.replace("one", "two") == pair for text, pair in zip(train["text"], train["pair"], strict=True))
    with pytest.raises(UserError, match=r"no column 'text' \(there are: 'a', 'b', 'y', 'doc'\)"):
        read(tmp_path / "saved")
    with pytest.raises(UserError, match="--separator is for CSV"):
        read(tmp_path / "saved", text="a", label="y", separator=";")


words = st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda text: not NOTHING_TO_READ.fullmatch(text))


@given(texts=st.lists(words, min_size=8, max_size=16), shards=st.integers(1, 4), named=st.booleans())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_comes_back_as_it_was_saved(texts, shards, named, tmp_path_factory):
    folder, classes = tmp_path_factory.mktemp("any") / "saved", ["b c", "ä_1", "00"]
    rows = [{"text": text, "label": classes[place % 3]} for place, text in enumerate(texts)]
    data = Dataset.from_list(rows)
    if named:
        data = data.cast_column("label", ClassLabel(names=classes))
    DatasetDict(train=data, test=data).save_to_disk(folder, num_shards={"train": shards, "test": 1})
    assert pairs(read(folder)) == dict.fromkeys(("train", "test"), [(row["text"], row["label"]) for row in rows])


def break_state(folder, **changes):
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, **changes}))


def shard(folder):
    return min(folder.glob("*.arrow"))


UNREADABLE = r"data-.*\.arrow: can't be read as Arrow data"
DAMAGE = {
    "a missing shard": (lambda folder: shard(folder).unlink(), UNREADABLE),
    "a torn shard": (lambda folder: shard(folder).write_bytes(shard(folder).read_bytes()[:-300]), UNREADABLE),
    "an empty shard": (lambda folder: shard(folder).write_bytes(b""), UNREADABLE),
    "another file": (lambda folder: shard(folder).write_bytes(b"PAR1" * 99), UNREADABLE),
    "a torn state": (lambda folder: (folder / "state.json").write_text("{"), r"state\.json: can't be read"),
    "a list as state": (lambda folder: (folder / "state.json").write_text("[]"), r"state\.json: it is no JSON object"),
    "no files": (lambda folder: break_state(folder, _data_files=[]), "it lists no data files"),
    "files that are none": (lambda folder: break_state(folder, _data_files=[1, "x"]), "it lists no data files"),
    "a file that is none": (
        lambda folder: break_state(folder, _data_files=[{"filename": shard(folder).name}, 1]),
        "it lists no data files",
    ),
    "a file elsewhere": (
        lambda folder: break_state(folder, _data_files=[{"filename": "../secret.arrow"}]),
        "it lists no data files",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_by_its_file(damage, tmp_path):
    made().save_to_disk(tmp_path / "saved", num_shards=2)
    shutil.copy(next((tmp_path / "saved").glob("*.arrow")), tmp_path / "secret.arrow")
    harm, message = DAMAGE[damage]
    harm(tmp_path / "saved")
    with pytest.raises(UserError, match=message) as refused:
        read(tmp_path / "saved")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["test"], "it has no split train"), ([], "it has no split train"), ("train", "it names no splits"),
        (["train", "dev", "val"], "dev and val are both val"), (["../saved"], "it names no splits"),
        (None, "it names no splits"),
    ],
)  # fmt: skip
def test_splits_that_are_none_are_refused(splits, message, tmp_path):
    DatasetDict({name: made() for name in ("train", "test", "dev", "val")}).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    with pytest.raises(UserError, match=message):
        read(tmp_path / "saved")


def test_a_test_part_may_be_another_split_and_validation_is_then_drawn_from_train(tmp_path):
    parts = {"train": made(), "dev": made(ROWS[:20]), "extra": made(ROWS[20:40]), "test": made(ROWS[40:])}
    DatasetDict(parts).save_to_disk(tmp_path / "saved")
    data = read(tmp_path / "saved", test_split="dev")
    assert pairs(data)["test"] == expected(ROWS[:20])
    assert sorted(pairs(data)["train"] + pairs(data)["val"]) == sorted(expected(ROWS))
    assert len(data.splits["val"]) == 6
    assert data.note == "the test part is the split dev, and the validation part is drawn from its training split"
    assert "left out: splits extra, test" in data.reading_notes
    own_dev = read(tmp_path / "saved", test_split="extra")
    assert (pairs(own_dev)["val"], pairs(own_dev)["test"]) == (expected(ROWS[:20]), expected(ROWS[20:40]))
    assert own_dev.note == "the test part is the split extra"
    assert read(tmp_path / "saved").note == ""
    with pytest.raises(UserError, match="no split 'dve', did you mean 'dev'"):
        read(tmp_path / "saved", test_split="dve")


def test_a_test_part_without_labels_is_refused(tmp_path):
    hidden = made([{**row, "label": -1} for row in ROWS[:20]])
    DatasetDict({"train": made(), "dev": made(ROWS[:20]), "hidden": hidden}).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match="none of the rows of its split hidden has a label to test on"):
        read(tmp_path / "saved", test_split="hidden")
    made().save_to_disk(tmp_path / "one")
    with pytest.raises(UserError, match="it has no splits, and so none that is called 'dev'"):
        read(tmp_path / "one", test_split="dev")
