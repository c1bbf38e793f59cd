"""A class that test lacks: said under the table, with the highest macro-F1 possible; a metric leaves it out."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from analysis.cells import cells
from analysis.predictions import METRICS
from analysis.statistics.new_text import SeedPredictions, difference, variations
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build
from analysis.tables.specs import default_specs, settings_specs
from tests.support.predicted import add_predicted
from tests.support.stores import add, ask
from tunekit.store.result_store import ResultStore

LABELS = ["pos", "neg", "neutral", "mixed"]


@pytest.fixture
def store(tmp_path, make_spec):
    """A store whose test split lacks two of four classes."""
    store = ResultStore(tmp_path / "sweep")
    specs = [make_spec(seed=seed) for seed in (1, 2, 3)]
    ask(store, specs)
    for spec in specs:
        add_predicted(store, spec, [True] * 20)
    store.data_folder.mkdir()
    rows = pd.DataFrame(
        {
            "split": ["train"] * 4 + ["test"] * 20, "row": range(24), "label": [0, 1, 2, 3] + [0, 1] * 10,
            "text_sha256": "x", "group": "g",
        }
    )  # fmt: skip
    rows.to_parquet(store.data_folder / "demo-1.parquet")
    facts = {"name": "demo", "display_name": "Demo", "content_hash": "1", "label_names": LABELS, "parquet_sha256": "1"}
    (store.data_folder / "demo-1.json").write_text(json.dumps(facts))
    return store


def found(store):
    return cells(read_sweeps([store.root]))


def test_the_table_says_which_classes_test_lacks_and_how_high_a_score_can_be(store):
    (spec,) = default_specs(found(store), ["macro_f1"])
    assert any(
        "The test split of Demo lacks 2 of 4 classes (neutral, mixed), which count as F1 = 0: no model can reach more "
        "than 50.00" in note
        for note in build(spec).notes
    )


def test_a_perfect_model_gets_everything_where_only_the_classes_that_occur_count(store):
    (cell,) = found(store)
    assert cell.sample("macro_f1_present").mean == 1
    assert METRICS["macro_f1"](np.array([0, 1]), np.array([0, 1]), 4) == 0.5


def test_accuracy_needs_no_such_line(store):
    (spec,) = default_specs(found(store), ["accuracy"])
    assert not any("lacks" in note for note in build(spec).notes)


def test_the_table_of_settings_says_it_too(store, make_spec):
    for seed in (1, 2):
        add(store, make_spec(seed=seed, learning_rate=0.5), [0.5])
    (spec,) = settings_specs(found(store), ["macro_f1"])
    assert any("lacks 2 of 4 classes" in note for note in spec.notes)


def test_a_copy_that_cannot_be_read_is_named_and_nothing_is_said_of_its_classes(store):
    (path,) = store.data_folder.glob("*.parquet")
    path.write_bytes(b"no parquet")
    records = read_sweeps([store.root])
    assert [problem.kind for problem in records.problems] == ["damaged copy of a dataset"]
    assert cells(records)[0].absent == ()


def test_its_test_on_new_text_is_that_of_macro_f1_in_another_unit():
    """Classes that no item has add nothing, so that one score is a multiple of the other."""
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, 60)
    rows = [
        SeedPredictions(gold, np.where(rng.random((4, 60)) < right, gold, 1 - gold), np.arange(60), 4)
        for right in (0.9, 0.6)
    ]
    whole, present = (difference(*variations(rows, metric)) for metric in ("macro_f1", "macro_f1_present"))
    assert present.difference == pytest.approx(2 * whole.difference)
    assert present.p == pytest.approx(whole.p)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_the_mean_over_the_classes_that_occur_is_scikit_learns_and_a_multiple_of_macro_f1(pairs):
    gold, predicted = (np.array(one) for one in zip(*pairs, strict=True))
    occurring = sorted(set(gold.tolist()))
    expected = f1_score(gold, predicted, labels=occurring, average="macro", zero_division=0)
    present, whole = (METRICS[name](gold, predicted, 5) for name in ("macro_f1_present", "macro_f1"))
    assert present == pytest.approx(expected)
    assert present == pytest.approx(whole * 5 / len(occurring))
