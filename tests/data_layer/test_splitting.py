"""Draws of rows: stratified, nested, never tearing a text or a group apart, and a function of the seed alone."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.base import TextDataset, content_hash, limit_and_carve, make_dataset, make_frame
from tunekit.data.splitting import draw_parts, stratified_sample, tied_rows
from tunekit.errors import UserError

ROWS = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=80)


def dataset(num_rows: int = 200) -> TextDataset:
    labels = [0 if i % 10 else 1 for i in range(num_rows)]
    train = make_frame([f"text {i // 2}" for i in range(num_rows)], labels)
    test = make_frame(["one", "two"], [0, 1])
    names = ("common", "rare")
    splits = {"train": train, "test": test}
    return make_dataset(
        "x", splits, display_name="X", label_names=names, content_hash=content_hash(splits, names), pair_as="pair"
    )


@pytest.mark.slow
@settings(deadline=None)
@given(ROWS, st.integers(0, 3))
def test_no_text_or_group_stands_in_two_parts(rows: list[tuple[int, int, int]], seed: int) -> None:
    frame = make_frame(
        [f"t{t}" for t, _, _ in rows], [label for _, label, _ in rows], groups=[f"g{g}" for *_, g in rows]
    )
    parts = draw_parts(frame, {"train": 0.8, "test": 0.1, "val": 0.1}, seed)
    assert sorted(row for part in parts.values() for row in part) == list(range(len(rows)))
    for column in ("text", "group"):
        values = [set(frame[column].iloc[part]) for part in parts.values()]
        assert sum(map(len, values)) == frame[column].nunique()
    assert set(frame["label"].iloc[parts["train"]]) == set(frame["label"])
    assert parts == draw_parts(frame, {"train": 0.8, "test": 0.1, "val": 0.1}, seed)


def test_ties_reach_over_other_rows() -> None:
    frame = make_frame(["a", "a", "b", "c"], [0, 0, 0, 0], groups=["1", "2", "2", "3"])
    assert tied_rows(frame) == [[0, 1, 2], [3]]


def test_one_aspect_in_two_sentences_is_not_one_text() -> None:
    frame = make_frame(["food", "food"], [0, 1], pairs=["good food", "bad food"], groups=["1", "2"])
    assert tied_rows(frame) == [[0], [1]]


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(2, 150), st.integers(0, 3))
def test_samples_are_stratified_and_nested(size: int, seed: int) -> None:
    frame = dataset().splits["train"]
    rows = stratified_sample(frame, size, seed)
    assert len(rows) == size
    assert rows == sorted(rows)
    assert abs(Counter(frame["label"].iloc[rows])[1] - size / 10) <= 1
    assert set(rows) <= set(stratified_sample(frame, size + 1, seed))


def test_limit_and_carve_is_drawn_by_its_seed() -> None:
    data = dataset()

    def drawn(seed: int) -> tuple[list[str], list[str]]:
        cut = limit_and_carve(data, train_limit=50, val_fraction=0.2, data_seed=seed)
        assert list(cut.splits) == ["train", "val", "test"]
        assert list(cut.splits["train"].index) == list(range(50))
        assert len(cut.splits["val"]) == 40
        assert not set(cut.splits["train"]["text"]) & set(cut.splits["val"]["text"])
        return list(cut.splits["train"]["item_id"]), list(cut.splits["val"]["item_id"])

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    order = list(data.splits["train"]["item_id"])
    assert sorted(drawn(0)[0], key=order.index) == drawn(0)[0]


def test_limits_that_change_nothing() -> None:
    data = dataset()
    cut = limit_and_carve(data, train_limit=200, val_fraction=0, data_seed=3)
    assert cut.splits["train"].equals(data.splits["train"])
    assert "val" not in cut.splits


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"train_limit": 0, "val_fraction": 0}, "train_limit must be at least 1"),
        ({"train_limit": None, "val_fraction": 1.0}, "val_fraction must be"),
        ({"train_limit": None, "val_fraction": 1e-6}, "too few rows"),
    ],
)
def test_limits_out_of_range(limits: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        limit_and_carve(dataset(), data_seed=0, **limits)


def test_a_dev_part_is_not_carved_twice() -> None:
    data = limit_and_carve(dataset(), train_limit=None, val_fraction=0.1, data_seed=0)
    with pytest.raises(UserError, match="has a dev part of its own"):
        limit_and_carve(data, train_limit=None, val_fraction=0.1, data_seed=0)


def test_item_ids_number_equal_rows() -> None:
    frame = make_frame(["a", "a", "a"], [0, 0, 1])
    args = {"display_name": "X", "label_names": ("n", "y"), "content_hash": "-", "pair_as": "pair"}
    ids = list(make_dataset("x", {"train": frame}, **args).splits["train"]["item_id"])
    assert len(set(ids)) == 3
    again = make_dataset("x", {"train": frame.iloc[1:]}, **args).splits["train"]["item_id"]
    assert list(again) == [ids[0], ids[2]], "an id depends on the item, not on its row"


@pytest.mark.slow
@given(st.integers(0, 199))
def test_content_hash_sees_every_label(row: int) -> None:
    data = dataset()
    changed = data.splits["train"].copy()
    changed.loc[row, "label"] = 1 - changed.loc[row, "label"]
    assert content_hash(data.splits | {"train": changed}, data.label_names) != data.content_hash
    assert content_hash(data.splits, ("common", "other")) != data.content_hash
