"""Comparisons of a table's rows with the best: both questions, and why one has no answer."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from analysis.cells import cells
from analysis.claims.grammar import Part, Quantifier, Relation
from analysis.claims.measured import cell_lookup
from analysis.claims.row import ClaimRow
from analysis.claims.verdicts import Claim, Verdict, evaluate
from analysis.compare import OTHER_ITEMS, Population
from analysis.report.comparisons import UNPLANNED, against_best, comparisons_section, single_runs_section
from analysis.report.pages import markdown_sections
from analysis.statistics.permutation import paired
from analysis.statistics.this_set import welch
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build
from analysis.tables.specs import default_specs
from tests.support.stores import add, ask
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.errors import UserError
from tunekit.store.result_store import ResultStore

ITEMS = 60


GOLD = np.arange(ITEMS) % 2


def write_predictions(store, spec, right, rng, ids="i"):
    predicted = np.where(rng.random(ITEMS) < right, GOLD, 1 - GOLD)
    frame = predictions(predicted, ids, group_size=2).sample(frac=1, random_state=int(rng.integers(1000)))
    store.write_predictions(store.folder(spec), frame)
    return float((predicted == GOLD).mean())


def predictions(predicted, ids="i", group_size=1):
    return pd.DataFrame(
        {
            "split": "test", "epoch": 1, "item_id": [f"{ids}{n}" for n in range(ITEMS)],
            "group_id": [f"g{n // group_size}" for n in range(ITEMS)], "gold": GOLD.astype("int32"),
            "predicted": predicted.astype("int32"), "logits": [[0.0, 0.0]] * ITEMS,
        }
    )  # fmt: skip


@pytest.fixture
def table(tmp_path, make_spec):
    def make(seeds=5, **ids):
        store, rng = ResultStore(tmp_path / "sweep"), np.random.default_rng(0)
        specs = [
            make_spec(seed=seed, method=m, method_params={}) for m in ("full", "lora") for seed in range(1, seeds + 1)
        ]
        ask(store, specs)
        save_dataset(load_dataset("demo"), store.data_folder)
        for spec in specs:
            add(store, spec)
            accuracy = write_predictions(
                store, spec, 0.9 if spec.method == "full" else 0.6, rng, ids.get(spec.method, "i")
            )
            add(store, spec, [accuracy])
        (spec,) = default_specs(cells(read_sweeps([store.root])), ["accuracy"])
        return build(spec)

    return make


def test_both_questions_are_answered_and_new_text_is_the_harder_one(table):
    filled = table()
    (versus,) = against_best(filled)
    samples = [entry.score.sample for entry in filled.entries.values()]
    worse, best = sorted(samples, key=lambda sample: sample.mean)
    assert versus.this_set == welch(worse, best)
    assert versus.versus.difference == pytest.approx(versus.this_set.difference)
    new_text = versus.versus.estimate
    assert new_text.interval.high - new_text.interval.low > versus.this_set.interval.high - versus.this_set.interval.low
    assert (versus.row, versus.best, versus.versus.population) == ("LoRA", "full fine-tuning", Population.NEW_TEXT)
    assert "new texts from the same source" in markdown_sections([comparisons_section([filled])])


def test_rows_scored_on_other_items_have_no_answer_on_new_text(table):
    (versus,) = against_best(table(lora="other"))
    assert (versus.versus.estimate, versus.versus.reason) == (None, OTHER_ITEMS)


def test_trials_that_predict_one_class_each_and_not_the_same_one_leave_no_seeds_to_plan(tmp_path, make_spec):
    store, classes = ResultStore(tmp_path / "sweep"), {"full": (0, 1, 0), "lora": (0, 1, 1)}
    specs = [make_spec(seed=seed, method=method, method_params={}) for method in classes for seed in (1, 2, 3)]
    ask(store, specs)
    save_dataset(load_dataset("demo"), store.data_folder)
    for spec in specs:
        add(store, spec, [0.5])
        predicted = np.full(ITEMS, classes[spec.method][spec.seed - 1])
        store.write_predictions(store.folder(spec), predictions(predicted))
    found = cells(read_sweeps([store.root]))
    (table,) = map(build, default_specs(found, ["accuracy"]))
    (versus,) = against_best(table)
    assert versus.versus.tested
    assert versus.versus.p == 1
    assert (versus.detectable, versus.smallest, versus.needed) == (None, None, UNPLANNED)
    assert UNPLANNED in markdown_sections([comparisons_section([table])])
    full, lora = (ClaimRow(specs[0].model, method) for method in classes)
    part = Part("said", full, Relation.ABOVE, lora, specs[0].dataset, "accuracy")
    (claim,) = evaluate([Claim("x", "A sentence.", Quantifier.ALL, (part,))], cell_lookup(found))
    assert (claim.verdict, claim.needed) == (Verdict.UNDECIDED, None)
    assert "not known" in claim.reason


@pytest.mark.slow
def test_equal_takes_a_margin_that_two_one_sided_tests_reach(table):
    filled = table()
    wide, narrow = (against_best(filled, margin)[0].equivalence for margin in (0.9, 0.01))
    assert wide < 0.05 < narrow
    assert "p of equal within 90" in markdown_sections([comparisons_section([filled], 0.9)])
    with pytest.raises(UserError, match="margin"):
        against_best(filled, -0.1)


@pytest.mark.slow
def test_pairs_are_seed_by_seed_with_their_correlation_and_only_on_request(table):
    filled = table()
    (versus,) = against_best(filled)
    worse, best = sorted(
        (e.score.cell.by_seed("accuracy") for e in filled.entries.values()), key=lambda s: sum(s.values())
    )
    assert versus.by_seed == paired(worse, best)
    ((*_, grid),) = (part.blocks for part in comparisons_section([filled], pair=True).parts)
    assert grid.head[-1] == "correlation"
    assert grid.rows[0][-1] == f"{versus.by_seed.correlation:.2f}"
    assert not [grid for grid in comparisons_section([filled]).parts[0].blocks if "correlation" in grid.head]


def test_rows_of_other_models_are_not_paired(table, make_spec):
    filled = table()
    for entry in filled.entries.values():
        object.__setattr__(entry.score.cell, "model", entry.score.cell.method)
    assert against_best(filled)[0].by_seed is None


def test_one_run_against_one_run_is_mcnemars_and_several_runs_are_not(table):
    assert single_runs_section([table()]).blocks == ()


def test_mcnemar_counts_the_items_that_one_alone_has_right(table):
    filled = table(seeds=1)
    frames = []
    for entry in filled.entries.values():
        (run,) = entry.score.cell.completed
        frames.append(pd.read_parquet(run.path / "predictions.parquet").set_index("item_id").sort_index())
    right = [(frame["gold"] == frame["predicted"]).to_numpy() for frame in frames]
    best, other = sorted(right, key=np.sum, reverse=True)
    (_, grid) = single_runs_section([filled]).blocks
    ((*_, b, c, p),) = grid.rows
    assert (int(b), int(c)) == ((other & ~best).sum(), (best & ~other).sum())
    assert float(p) == pytest.approx(binomtest(int(b), int(b) + int(c)).pvalue, rel=0.01)
    (versus,) = against_best(filled)
    assert (versus.this_set, versus.versus.reason) == (None, "1 seed, and a test takes at least 3")
