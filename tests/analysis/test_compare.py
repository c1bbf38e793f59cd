"""Comparisons of a table's rows with the best: both questions, and why one has no answer."""

import numpy as np
import pandas as pd
import pytest

from analysis.aggregate import cells
from analysis.compare import against_best, comparisons_markdown
from analysis.load import load
from analysis.stats import welch
from analysis.tables import build, default_specs
from tests.analysis.stores import add, ask
from tunekit.data.base import load_dataset, save_dataset
from tunekit.store import ResultStore, UserError

ITEMS = 60


def write_predictions(store, spec, right, rng, ids="i"):
    gold = np.arange(ITEMS) % 2
    predicted = np.where(rng.random(ITEMS) < right, gold, 1 - gold)
    frame = pd.DataFrame(
        {
            "split": "test", "epoch": 1, "item_id": [f"{ids}{n}" for n in range(ITEMS)],
            "group_id": [f"g{n // 2}" for n in range(ITEMS)], "gold": gold.astype("int32"),
            "predicted": predicted.astype("int32"), "logits": [[0.0, 0.0]] * ITEMS,
        }
    )  # fmt: skip
    store.write_predictions(store.folder(spec), frame.sample(frac=1, random_state=int(rng.integers(1000))))
    return float((gold == predicted).mean())


@pytest.fixture
def table(tmp_path, make_spec):
    def make(**ids):
        store, rng = ResultStore(tmp_path / "sweep"), np.random.default_rng(0)
        specs = [make_spec(seed=seed, method=m, method_params={}) for m in ("full", "lora") for seed in range(1, 6)]
        ask(store, specs)
        save_dataset(load_dataset("demo"), store.data_folder)
        for spec in specs:
            add(store, spec)
            accuracy = write_predictions(
                store, spec, 0.9 if spec.method == "full" else 0.6, rng, ids.get(spec.method, "i")
            )
            add(store, spec, [accuracy])
        (spec,) = default_specs(cells(load([store.root])), {}, ["accuracy"])
        return build(spec)

    return make


def test_both_questions_are_answered_and_new_text_is_the_harder_one(table):
    filled = table()
    (versus,) = against_best(filled)
    samples = [entry.score.sample for entry in filled.entries.values()]
    worse, best = sorted(samples, key=lambda sample: sample.mean)
    assert versus.this_set == welch(worse, best)
    assert versus.new_text.difference == pytest.approx(versus.this_set.difference)
    widths = [c.interval.high - c.interval.low for c in (versus.this_set, versus.new_text)]
    assert widths[1] > widths[0]
    assert (versus.row, versus.best, versus.why_not) == ("LoRA", "full fine-tuning", "")
    assert "on new text" in comparisons_markdown([filled])


def test_rows_scored_on_other_items_have_no_answer_on_new_text(table):
    (versus,) = against_best(table(lora="other"))
    assert (versus.new_text, versus.why_not) == (None, "scored on other items")


def test_equal_takes_a_margin_that_two_one_sided_tests_reach(table):
    filled = table()
    wide, narrow = (against_best(filled, margin)[0].equivalence for margin in (0.9, 0.01))
    assert wide < 0.05 < narrow
    assert "p of equal within 90" in comparisons_markdown([filled], 0.9)
    with pytest.raises(UserError, match="margin"):
        against_best(filled, -0.1)
