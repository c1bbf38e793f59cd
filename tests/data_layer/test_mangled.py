"""Files with known contents, in every layout and mangled in many ways: read as those contents, or refused."""

import csv
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.mangled import JSON_MANGLERS, LAYOUTS, MANGLERS, Layout, Row, contents, json_records
from tunekit.data.base import TextDataset
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError

pytestmark = pytest.mark.slow

PACE = {
    "deadline": None,
    "derandomize": bool(os.environ.get("CI")),
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


def rows_of(data: TextDataset) -> list[Row]:
    """Return the text and the class of each row, in an order that does not depend on the split."""
    return sorted(
        (text.replace("\r\n", "\n").replace("\r", "\n"), data.label_names[label])
        for frame in data.splits.values()
        for text, label in zip(frame["text"], frame["label"], strict=True)
    )


def read_or_refusal(path: Path, **how: object) -> tuple[TextDataset | None, str]:
    """Return the dataset, or the message with which it is refused."""
    try:
        return read_user_dataset(path, **how), ""
    except UserError as error:
        return None, str(error)


@settings(max_examples=80, **PACE)
@given(contents(), LAYOUTS)
def test_every_layout_is_read_as_its_contents(rows: list[Row], layout: Layout) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = layout.write(Path(folder), layout.text(rows))
        data, refused = read_or_refusal(path)
        if data is None:
            assert "line ends, from line" in refused, "only texts that look like rows may be refused"
            data = read_user_dataset(path, quotes="fields")
        assert rows_of(data) == sorted(rows)
        assert data.name.startswith("mine-")
        assert data.left_out == {}


@pytest.mark.parametrize("how", MANGLERS)
@settings(max_examples=25, **PACE)
@given(st.data(), contents(), st.booleans(), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_a_mangled_file_is_read_as_its_contents_or_refused(
    how: str, draw: st.DataObject, rows: list[Row], text_first: bool, quoting: int
) -> None:
    layout = Layout(text_first=text_first, quoting=csv.QUOTE_MINIMAL if how == "a quote lost" else quoting)
    text = MANGLERS[how](draw.draw, layout.records(rows))
    with tempfile.TemporaryDirectory() as folder:
        path = layout.write(Path(folder), text)
        data, refused = read_or_refusal(path)
        assert "\n" not in refused
        assert data is None or rows_of(data) == sorted(rows), text


@settings(max_examples=60, **PACE)
@given(
    contents(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.builds(
        Layout,
        encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
        zipped=st.booleans(),
        suffix=st.sampled_from([".jsonl", ".JSON"]),
    ),
)
def test_json_lines_of_every_layout_are_read_as_their_contents(
    rows: list[Row], ascii_only: bool, label_first: bool, line_end: str, layout: Layout
) -> None:
    records = json_records(rows, ascii_only=ascii_only, label_first=label_first)
    with tempfile.TemporaryDirectory() as folder:
        path = layout.write(Path(folder), "".join(records).replace("\n", line_end))
        assert rows_of(read_user_dataset(path)) == sorted(rows)


@pytest.mark.parametrize("how", JSON_MANGLERS)
@settings(max_examples=15, **PACE)
@given(st.data(), contents())
def test_mangled_json_lines_are_read_as_their_contents_or_refused(
    how: str, draw: st.DataObject, rows: list[Row]
) -> None:
    text = JSON_MANGLERS[how](draw.draw, json_records(rows))
    with tempfile.TemporaryDirectory() as folder:
        data, refused = read_or_refusal(Layout(suffix=".jsonl").write(Path(folder), text))
        assert "\n" not in refused
        assert data is None or rows_of(data) == sorted(rows), text


@settings(max_examples=40, **PACE)
@given(st.data(), contents(), st.sets(st.integers(0, 29), max_size=6))
def test_bad_rows_that_are_left_out_take_no_other_row_with_them(
    draw: st.DataObject, rows: list[Row], places: set[int]
) -> None:
    wrong = st.sampled_from(["", "a,b,c", "lonely", ",pos", "x,", "x,nan", "text,label", "z\0,pos", "u, ,v"])
    records = Layout(quoting=csv.QUOTE_ALL).records(rows)
    added = 0
    for place in sorted(places, reverse=True):
        line = draw.draw(wrong)
        added += bool(line)
        records.insert(place + 1, f"{line}\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Layout().write(Path(folder), "".join(records))
        data, _ = read_or_refusal(path, skip_bad_rows=True, quotes="fields")
        assert data is not None
        assert rows_of(data) == sorted(rows)
        assert sum(data.left_out.values()) == added
