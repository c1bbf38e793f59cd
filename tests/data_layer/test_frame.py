"""A DataFrame as a dataset: its types and its index do not matter, its content does; what can't be used is refused."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.base import TextDataset, limit_and_carve
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.data.frame import dataset
from tunekit.data.labels import NOTHING_TO_READ
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError

TEXTS = [f"line {i}" for i in range(60)]
LABELS = ["yes" if i % 3 else "no" for i in range(60)]
FRAME = pd.DataFrame({"text": TEXTS, "label": LABELS, "doc": [i // 4 for i in range(60)]})


def make(frame: pd.DataFrame = FRAME, **changes: object) -> TextDataset:
    return dataset(frame, **{"text": "text", "label": "label", **changes})


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sizes(data: TextDataset) -> dict[str, int]:
    return {split: len(rows) for split, rows in data.splits.items()}


def test_a_frame_is_split_as_a_file_of_the_same_rows(tmp_path) -> None:
    FRAME.to_csv(tmp_path / "mine.csv", index=False)
    data, of_file = make(name="mine"), read_user_dataset(tmp_path / "mine.csv")
    assert (data.name, data.display_name) == (of_file.name, "mine")
    assert data.name == f"mine-{data.content_hash}"
    assert sizes(data) == {"train": 48, "val": 6, "test": 6}
    assert data.split_note == of_file.split_note
    assert "80% train, 10% test, 10% val" in data.split_note
    assert all(data.splits[split].equals(of_file.splits[split]) for split in data.splits)


@pytest.mark.parametrize("kind", ["object", "str", "string", "string[python]", "string[pyarrow]", "category"])
def test_types_of_texts_do_not_matter(kind: str) -> None:
    assert make(FRAME.astype({"text": kind, "label": kind})).content_hash == make().content_hash


@pytest.mark.parametrize("kind", ["int8", "int64", "Int64", "float32", "Float64", "object", "category", "str"])
def test_whole_numbers_are_classes_whatever_their_type(kind: str) -> None:
    numbers = pd.Series([10, 9, 2] * 20).astype(kind)
    data = make(FRAME.assign(label=numbers.to_numpy() if kind == "float32" else numbers))
    assert data.label_names == ("2", "9", "10")


def test_unused_categories_and_numpy_scalars_are_no_trouble() -> None:
    labels = pd.Categorical(LABELS, categories=["maybe", "no", "yes"])
    assert make(FRAME.assign(label=labels)).label_names == ("no", "yes")
    scalars = pd.Series([np.int64(i % 2) for i in range(60)], dtype="object")
    assert make(FRAME.assign(label=scalars)).label_names == ("0", "1")
    assert make(FRAME.assign(label=np.arange(60) % 2 == 0)).label_names == ("False", "True")


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.permutations(range(60)), st.integers(0, 3))
def test_the_index_means_nothing_and_the_frame_is_left_alone(index: list[int], repeated: int) -> None:
    frame = FRAME.set_axis([one // (repeated + 1) for one in index])
    before = frame.copy(deep=True)
    data = make(frame)
    assert data.content_hash == make().content_hash
    pd.testing.assert_frame_equal(frame, before)
    frame["text"] = "changed"
    assert "changed" not in set(data.splits["train"]["text"])


WORDS = st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda text: not NOTHING_TO_READ.fullmatch(text))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, min_size=30, max_size=40, unique=True), st.lists(st.integers(0, 2), min_size=40, max_size=40))
def test_every_row_is_in_one_split_with_its_own_label(texts: list[str], numbers: list[int]) -> None:
    labels = ["no", "yes", *("yes" if number else "no" for number in numbers)][: len(texts)]
    data = make(pd.DataFrame({"text": texts, "label": labels}))
    rows = [
        (text, data.label_names[label])
        for part in data.splits.values()
        for text, label in zip(part["text"], part["label"], strict=True)
    ]
    assert sorted(rows) == sorted(zip(texts, labels, strict=True))


def test_rows_of_one_group_stay_together_and_an_empty_group_is_none() -> None:
    data = make(group="doc")
    groups = [set(part["group"]) for part in data.splits.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 15
    docs = FRAME["doc"].astype("Int64").where(FRAME["doc"] > 0)
    assert make(FRAME.assign(doc=docs), group="doc").splits["train"]["group"].nunique() > 12
    with_nan = FRAME.assign(doc=FRAME["doc"].astype(float).where(FRAME["doc"] > 13))
    assert sizes(make(with_nan, group="doc"))["train"] == 48  # the 56 rows without a group are not one group


@pytest.mark.parametrize(
    ("words", "expected", "said"),
    [
        (
            ["train"] * 40 + ["dev"] * 10 + ["test"] * 10,
            {"train": 40, "val": 10, "test": 10},
            "given: train, val, test",
        ),
        (["train"] * 50 + ["test"] * 10, {"train": 50, "test": 10}, "given: train, test"),
        (["Train"] * 50 + ["validation"] * 10, {"train": 45, "val": 10, "test": 5}, "90% train, 10% test"),
        (["train"] * 60, {"train": 48, "val": 6, "test": 6}, "80% train"),
    ],
)
def test_a_split_column_is_kept_and_what_it_lacks_is_drawn(words, expected, said) -> None:
    for kind in ("object", "category", "string"):
        data = make(FRAME.assign(part=pd.Series(words).astype(kind)), split="part")
        assert sizes(data) == expected
        assert said in data.split_note


def test_a_pair_is_read_after_the_text(tmp_path) -> None:
    data = make(FRAME.assign(other=[f"pair {i}" for i in range(60)]), pair="other", name="Two texts")
    assert data.pair_as == "pair"
    assert data.splits["test"]["pair"].str.startswith("pair ").all()
    save_dataset(data, tmp_path, with_text=True)
    again = load_dataset(data.name, tmp_path)
    assert again.splits["train"].equals(data.splits["train"])
    assert limit_and_carve(data, train_limit=10, val_fraction=0, data_seed=0).split_note == data.split_note


def changed(column: str, row: int, value: object) -> pd.DataFrame:
    values = FRAME[column].astype(object).tolist()
    values[row] = value
    return FRAME.assign(**{column: pd.Series(values, dtype="object")})


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, float("nan"), "", "  "])
def test_missing_values_are_refused(missing: object) -> None:
    assert "frame, row 4: empty text in column 'text'" in refusal(lambda: make(changed("text", 3, missing)))
    assert "frame, row 4: empty label in column 'label'" in refusal(lambda: make(changed("label", 3, missing)))


def test_a_missing_value_of_an_extension_type_is_refused() -> None:
    labels = pd.Series([0, 1] * 29 + [1, None], dtype="Int64")
    assert "row 60: empty label" in refusal(lambda: make(FRAME.assign(label=labels)))
    assert "row 60: empty text" in refusal(
        lambda: make(FRAME.assign(text=pd.Series([*TEXTS[:-1], None], dtype="string[pyarrow]")))
    )


def test_the_label_none_as_a_text_is_a_label_and_nan_is_a_missing_one() -> None:
    assert make(FRAME.assign(label=["none", "None"] * 30)).label_names == ("None", "none")
    assert "30 bad rows: rows 1, 3, 5" in refusal(lambda: make(FRAME.assign(label=["nan", "None"] * 30)))


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: make([1]), "a pandas DataFrame, not of list"),
        (lambda: make(FRAME["text"]), "not of Series"),
        (lambda: make(FRAME.iloc[:0]), "frame: no rows"),
        (lambda: make(text="txt"), "no column 'txt', did you mean 'text'?; there are: 'text', 'label', 'doc'"),
        (lambda: make(FRAME.set_axis([0, 1, 2], axis=1)), "no column 'text'; there are: '0', '1', '2'"),
        (lambda: make(text=3), "no column 3"),
        (lambda: make(text="label"), "must be different columns"),
        (lambda: make(FRAME.set_axis(["text", "text", "label"], axis=1)), "column 'text' occurs 2 times"),
        (lambda: make(pd.concat({"a": FRAME}, axis=1)), "its columns have 2 levels"),
        (lambda: make(changed("text", 1, 7)), "row 2: column 'text' holds int, not text"),
        (lambda: make(changed("text", 1, ["a"])), "row 2: column 'text' holds list, not text"),
        (lambda: make(changed("text", 1, "\ud800")), "not valid Unicode"),
        (lambda: make(changed("label", 1, ["a", "b"])), "row 2: column 'label' holds several labels"),
        (lambda: make(changed("label", 1, np.array([1, 2]))), "row 2: column 'label' holds several labels"),
        (lambda: make(changed("label", 1, b"a")), "row 2: column 'label' holds bytes"),
        (lambda: make(FRAME.assign(label=pd.Timestamp("2020"))), "holds Timestamp"),
        (lambda: make(FRAME.assign(label=np.linspace(0, 1, 60))), "looks like regression"),
        (lambda: make(FRAME.assign(label="a")), "frame: every label of train is 'a'"),
        (lambda: make(FRAME.iloc[:3]), "too few rows, or groups, to split 80/10/10; name a column with split="),
        (lambda: make(FRAME.iloc[:3].assign(part="train"), split="part"), "mark rows of test in the column of split="),
        (
            lambda: make(FRAME.assign(part="trian"), split="part"),
            "60 bad rows: rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10: column",
        ),
        (lambda: make(FRAME.assign(part=np.nan), split="part"), "column 'part' holds None; a split is train, val, dev"),
        (lambda: make(FRAME.assign(part="test"), split="part"), "no row is train in column 'part'"),
        (lambda: make(split="parts"), "no column 'parts'"),
        (lambda: make(name=" "), "the name of a dataset is a text"),
    ],
)
def test_wrong_frames_are_refused_in_one_line(act: Callable[[], object], said: str) -> None:
    assert said in refusal(act)


def test_a_label_of_test_that_train_lacks_is_refused() -> None:
    frame = changed("label", 59, "maybe").assign(part=["train"] * 50 + ["test"] * 10)
    assert "row 60: label 'maybe' of test never occurs in train" in refusal(lambda: make(frame, split="part"))


def test_a_dataset_shows_itself_in_one_line():
    data = make(name="Lines")
    rows = ", ".join(f"{len(data.splits[split])} {split}" for split in ("train", "val", "test"))
    assert repr(data) == f"TextDataset {data.name}: {rows} rows, 2 classes; {data.split_note}"
    assert "\n" not in repr(data)
    assert repr(load_dataset("demo")).endswith("classes")


@pytest.mark.slow
def test_all_bad_rows_are_refused_at_once_and_left_out_on_request() -> None:
    frame = FRAME.assign(part=["train"] * 40 + ["test"] * 19 + ["tset"])
    frame.loc[3, "text"] = " "
    frame.loc[[5, 45], "label"] = None
    message = refusal(lambda: make(frame, split="part"))
    assert "frame: 4 bad rows: row 4: empty text in column 'text'; rows 6, 46: empty label" in message
    assert "row 60: column 'part' holds 'tset'; a split is" in message
    assert message.endswith("skip_bad_rows=True leaves them out")
    data = make(frame, split="part", skip_bad_rows=True)
    assert sizes(data) == {"train": 38, "test": 18}
    assert data.left_out == {"empty label": 2, "no such split": 1, "empty text": 1}
    clean = make(frame.drop([3, 5, 45, 59]), split="part")
    assert (data.name, clean.left_out) == (clean.name, {})
