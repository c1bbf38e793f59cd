"""A setting that is written in two ways is one setting; settings that differ stay apart."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.foreign.values import canonical, flat, mixed_kinds, reported
from analysis.tables.build import build
from analysis.tables.specs import all_cells_spec
from tests.support.imports import imported_cells
from tunekit.schema import canonical_json

SAME = [
    (1, 1.0, "1", "1.0", " 1 ", "1e0", np.float64(1), "np.float64(1.0)", np.int64(1), "numpy.int32(1)"),
    (1e-5, "1e-5", "1e-05", "0.00001", "1E-5", np.float64(1e-5), 0.1000e-4),
    (0.1, "0.1000000000000000055511151231257827", ".1"),
    (None, "null", "None"),
    (True, "true", "True"),
    (math.nan, "nan", "NaN"),
    ([1, 2.0], [1.0, 2], "[1, 2]", (1, 2)),
    ({}, "{}"),
]
APART = [
    (1, True, "1_000", "001"),
    (0, False, "0x0", "", None, math.nan, []),
    ("7", "007", "07"),
    (0.1, 0.1 + 1e-16, 0.10000000001),
    (2**53, 2**53 + 1, "9007199254740995"),
    ("12345678901234567890123", "12345678901234567890124"),
    ([1, True], [1, 1], [[1], 1]),
    ("bert", "BERT"),
]


@pytest.mark.parametrize("values", SAME, ids=lambda values: str(values[0]))
def test_one_value_has_one_form(values):
    assert len({canonical_json(canonical(value)) for value in values}) == 1


@pytest.mark.parametrize("values", APART, ids=lambda values: str(values[0]))
def test_different_values_stay_apart(values):
    assert len({canonical_json(canonical(value)) for value in values}) == len(values)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5
)


@pytest.mark.slow
@given(JSON)
def test_the_form_of_any_json_is_a_scalar_that_stays_as_it_is(value):
    found = canonical(value)
    canonical_json(found)
    assert canonical_json(canonical(found)) == canonical_json(found)


@given(st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_same_as_a_number_and_as_a_text(number):
    assert canonical(number) == canonical(repr(number)) == canonical(json.loads(json.dumps(number)))


def test_true_and_one_are_named():
    assert mixed_kinds([True, 1, 2]) == "true and 1"
    assert mixed_kinds([True, False, 8]) == ""


def test_nested_keys_are_joined():
    assert flat({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a/b/c": 1, "a/d": {}, "e": [1]}


@pytest.mark.parametrize(("value", "number"), [("0.5", 0.5), (True, None), ("", None), ("x", None), (3, 3.0)])
def test_a_reported_value_is_a_number_or_absent(value, number):
    assert reported(value) == number


def experiment(root, values, key="setting"):
    for number, value in enumerate(values):
        place = root / "exp" / f"t{number}"
        place.mkdir(parents=True)
        config = {"model": "bert", "dataset": "a", "method": "full", "seed": number, "optim": {key: value}}
        (place / "params.json").write_text(json.dumps(config))
        row = {"training_iteration": 1, "f1": 0.5 + number / 100, "done": True}
        (place / "result.json").write_text(json.dumps(row) + "\n")
    return root / "exp"


@pytest.mark.parametrize(
    "values", [(1, 1.0, "1"), (1e-5, "1e-5", 0.00001), (None, "None", "null"), ([1], [1.0], "[1]")]
)
def test_one_setting_is_one_cell(tmp_path, values, capsys):
    (cell,) = imported_cells(experiment(tmp_path, values), "--map", "test_f1=f1")
    assert len(cell.by_seed("macro_f1")) == 3
    capsys.readouterr()


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((8, None), {"optim/setting 8", "optim/setting null"}),
        ((True, 1), {"optim/setting True", "optim/setting 1"}),
        ((0.123456789, 0.123456788), {"optim/setting 0.123456789", "optim/setting 0.123456788"}),
        ((math.nan, 1), {"optim/setting nan", "optim/setting 1"}),
    ],
)
def test_settings_that_differ_are_shown_apart(tmp_path, values, shown, capsys):
    found = imported_cells(experiment(tmp_path, values), "--map", "test_f1=f1")
    assert {cell.variant for cell in found} == shown
    build(all_cells_spec(found, "macro_f1"))  # no row holds two cells
    assert ("true and 1 are kept apart" in capsys.readouterr().out) == (values[0] is True)
