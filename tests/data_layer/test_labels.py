"""A label is the text that stands there: two texts are never one class, and what is doubtful is refused or said."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.data.frame import dataset
from tunekit.data.labels import MISSING, class_names, in_order, lookalikes, missing_numbers, warnings
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError

CODES = st.text("0123456789_.e+- ,aA", min_size=1, max_size=5).filter(str.strip)


@given(st.sets(CODES | st.integers().map(str) | st.floats(allow_nan=False).map(str), min_size=1, max_size=12))
def test_two_texts_are_never_one_class(labels: set[str]) -> None:
    names = class_names(labels)
    assert set(names) == labels
    assert len(set(names.values())) == len(labels)
    assert len(in_order(set(names.values()))) == len(labels)
    for label, name in names.items():
        assert name in (label, label.strip()) or float(label) == float(name)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["0", "2", "10"], ("0", "2", "10")),
        (["-1", "1"], ("-1", "1")),
        (["0.0", "1.0"], ("0", "1")),
        (["0", "1.0"], ("0", "1")),
        (["1", "1.0"], ("1", "1.0")),
        (["0", "00", "01", "1"], ("0", "00", "01", "1")),
        (["1e1", "10", "2e0", "3"], ("10", "1e1", "2e0", "3")),
        (["1_11", "11_1", "2_1", "21_"], ("11_1", "1_11", "21_", "2_1")),
        (["0x1", "1"], ("0x1", "1")),
        (["+1", "1"], ("+1", "1")),
        (["\u0661", "1"], ("1", "\u0661")),
        (["1", "1.", "01.0"], ("01.0", "1", "1.")),
        ([" a ", "b"], ("a", "b")),
        (["a", "a "], ("a", "a ")),
        (["true", "True", "1"], ("1", "True", "true")),
    ],
)
def test_names_of_classes(labels: list[str], names: tuple[str, ...]) -> None:
    frame = pd.DataFrame({"text": [f"t{n}" for n in range(60)], "label": [labels[n % len(labels)] for n in range(60)]})
    data = dataset(frame, text="text", label="label")
    assert data.label_names == tuple(sorted(names, key=str)) or data.label_names == names
    read = {
        text: data.label_names[label]
        for part in data.splits.values()
        for text, label in zip(part["text"], part["label"], strict=True)
    }
    assert [read[f"t{n}"] for n in range(len(labels))] == [class_names(labels)[label] for label in labels]


@pytest.mark.parametrize(
    "codes",
    [("1e1", "10", "2e0", "3"), ("0", "00", "01", "1"), ("1_11", "11_1", "2_1", "21_"), ("1_11", "11_1", "2_1")],
)
def test_codes_in_a_file_are_the_classes(codes: tuple[str, ...], tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"t{n},{codes[n % len(codes)]}\n" for n in range(80)))
    assert read_user_dataset(path).label_names == tuple(sorted(codes))


@pytest.mark.parametrize(
    ("labels", "marks"),
    [
        ({"-1", "0", "1", "2"}, {"-1"}),
        ({"-1", "0"}, {"-1"}),
        ({"-1.0", "0.0", "1.0"}, {"-1.0"}),
        ({"-1", "-1.0", "0"}, {"-1", "-1.0"}),
        ({"-100", "0", "1"}, {"-100"}),
        ({"-1", "pos", "neg"}, {"-1"}),
        ({"-1", "1"}, set()),
        ({"-2", "-1", "0", "1", "2"}, set()),
        ({"0", "1"}, set()),
        ({"-a", "b"}, set()),
    ],
)
def test_the_only_negative_number_marks_a_missing_label(labels: set[str], marks: set[str]) -> None:
    assert missing_numbers(labels) == marks


def test_missing_labels_are_refused_with_their_number(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"t{n},{n % 4 - 1}\n" for n in range(80)))
    with pytest.raises(UserError, match=r"20 bad rows: lines 2, 6, 10.*'-1' marks a missing label.*--skip-bad-rows"):
        read_user_dataset(path)
    data = read_user_dataset(path, skip_bad_rows=True)
    assert (data.label_names, data.left_out) == (("0", "1", "2"), {"missing label": 20})
    for mark in MISSING:
        path.write_text(f"text,label\nx,{mark}\n" + "".join(f"t{n},{n % 2}\n" for n in range(80)))
        with pytest.raises(UserError, match="line 2: .* marks a missing label"):
            read_user_dataset(path)


@pytest.mark.parametrize("labels", [["0.5", "1.0"], ["0,5", "1,0"], ["1.5e-3", "2"], ["-.5", "1"]])
def test_numbers_that_are_no_codes_look_like_regression(labels: list[str]) -> None:
    frame = pd.DataFrame({"text": [f"t{n}" for n in range(60)], "label": [labels[n % 2] for n in range(60)]})
    with pytest.raises(UserError, match=r"frame, row 1: label .* looks like regression"):
        dataset(frame, text="text", label="label")


def test_classes_that_look_alike_are_named() -> None:
    counts = {"Pos": 3, "pos": 1, "pos ": 2, "p os": 1, "neg": 5, "e\u0301": 1, "\u00e9": 1, "1": 2, "1.0": 2}
    assert lookalikes(counts) == [["Pos", "pos", "pos ", "p os"], ["e\u0301", "\u00e9"], ["1", "1.0"]]
    assert "'Pos' (3) and 'pos' (1) and 'pos ' (2)" in warnings(counts)[0]
    assert warnings({"a": 2, "b": 2}) == []
    assert warnings({"a": 9, "40": 1}) == ["classes with one row in all: '40'; is each a label?"]
    assert "class 'None' (2 rows) may be the mark of a missing label" in warnings({"None": 2, "a": 1})


def test_a_label_of_test_that_only_looks_like_one_of_train_is_refused_with_it(tmp_path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"t{n},{'ab'[n % 2]}\n" for n in range(20)))
    (tmp_path / "test.csv").write_text("text,label\nx,A\n")
    with pytest.raises(UserError, match="label 'A' of test never occurs in train; train has 'a'"):
        read_user_dataset(tmp_path)
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"t{n},{n % 2}\n" for n in range(20)))
    (tmp_path / "test.csv").write_text("text,label\nx,1.0\n")
    with pytest.raises(UserError, match=r"label '1.0' of test never occurs in train; train has '1'"):
        read_user_dataset(tmp_path)
