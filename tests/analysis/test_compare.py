"""The one comparison of two rows: for new text where predictions are stored, and why not where it is not made."""

import csv
import io
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sklearn import metrics

from analysis.cells import cells
from analysis.compare import Population, Score, compare, compared_on_new_text, score_of
from analysis.pairs import every_pair, pairs_csv
from analysis.report.answer import answer_section
from analysis.report.comparisons import against_best as report_rows
from analysis.report.comparisons import comparisons_section
from analysis.report.document import Grid
from analysis.report.pages import markdown_sections
from analysis.statistics.multiple import against_best
from analysis.statistics.power import ALPHA
from analysis.statistics.this_set import Sample, welch
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build
from analysis.tables.render import comma_separated
from analysis.tables.specs import default_specs
from analysis.tables.table import Standing
from tests.support.predicted import add_predicted
from tests.support.stores import add, ask
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.store.result_store import ResultStore

ITEMS, SEEDS = 139, 10
SCORES = {
    "accuracy": metrics.accuracy_score,
    "micro_f1": partial(metrics.f1_score, average="micro"),
    "macro_f1": partial(metrics.f1_score, average="macro", labels=range(3), zero_division=0),
    "weighted_f1": partial(metrics.f1_score, average="weighted"),
    "mcc": metrics.matthews_corrcoef,
    "f1:0": partial(metrics.f1_score, pos_label=0),
    "f1:1": metrics.f1_score,
}


def habits(share, rng):
    """Runs of a row that has its own hard items: seeds agree but for two items, so that they hide the items' part."""
    usual = rng.random(ITEMS) < share
    runs = np.tile(usual, (SEEDS, 1))
    for run in runs:
        run[rng.integers(ITEMS, size=2)] ^= True
    return runs


@pytest.fixture
def found(tmp_path, make_spec):
    """The cells of a store: one row a method, with predictions unless its runs are plain scores."""

    def make(seeds=SEEDS, ids=None, **rows):
        store = ResultStore(tmp_path / "sweep")
        specs = {
            (method, seed): make_spec(seed=seed, method=method, method_params={})
            for method in rows
            for seed in range(1, seeds + 1)
        }
        ask(store, list(specs.values()))
        save_dataset(load_dataset("demo"), store.data_folder)
        for (method, seed), spec in specs.items():
            run = rows[method][seed - 1]
            if np.ndim(run):
                add_predicted(store, spec, run, (ids or {}).get(method, "i"))
            else:
                add(store, spec, [run])
        return {cell.method: cell for cell in cells(read_sweeps([store.root]))}

    return make


def table_of(cells_by_method, metric="accuracy"):
    (spec,) = default_specs(list(cells_by_method.values()), [metric])
    return build(spec)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_a_difference_of_these_items_alone_is_not_called_worse_on_new_text(found, metric):
    """Welch's t over seeds is sure of it; the items, of which others would have come out otherwise, are not."""
    rng = np.random.default_rng(8)
    rows = found(full=habits(0.80, rng), lora=habits(0.80, rng))
    compared = compare(score_of(rows["full"], metric), score_of(rows["lora"], metric))
    here = welch(*(rows[name].sample(metric) for name in ("full", "lora")))
    assert here.p < 0.001 < ALPHA < compared.p
    assert (compared.population, compared.tested, compared.reason) == (Population.NEW_TEXT, True, "")
    assert compared.difference == pytest.approx(here.difference)
    table = table_of(rows, metric)
    assert {entry.standing for entry in table.entries.values()} == {Standing.BEST, Standing.ALIKE}
    assert "new texts from the same source" in " ".join(table.notes)
    told = markdown_sections([answer_section([table])])
    assert "on new texts from the same source" in told
    assert "this difference is not significant" in told
    (row,) = report_rows(table)
    assert row.this_set.p < 0.001, "the second line, on this test set, is beside it"


def test_without_predictions_the_marks_hold_for_these_items_and_say_so(found):
    rng = np.random.default_rng(1)
    rows = found(full=rng.normal(0.8, 0.01, SEEDS), lora=rng.normal(0.6, 0.01, SEEDS))
    compared = compare(score_of(rows["lora"], "accuracy"), score_of(rows["full"], "accuracy"))
    assert (compared.population, compared.test) == (Population.THIS_SET, "Welch's t over seeds")
    assert compared.why_this_set == "no predictions stored"
    notes = " ".join(table_of(rows).notes)
    assert "a paper may say so of these test items, not of new texts" in notes
    assert "There is no test for new texts (no predictions stored)." in notes


def test_rows_with_and_without_predictions_are_told_apart_by_a_letter(found):
    rng = np.random.default_rng(2)
    rows = found(full=habits(0.9, rng), lora=habits(0.4, rng), adapter=rng.normal(0.5, 0.01, SEEDS))
    table = table_of(rows)
    entries = {table.spec.rows[n].label: entry for (n, _), entry in table.entries.items()}
    assert entries["LoRA"].versus.population is Population.NEW_TEXT
    assert entries["Adapter"].versus.population is Population.THIS_SET
    assert (entries["LoRA"].marks, entries["Adapter"].marks) == ("", "a")
    assert "a: compared on these test items alone." in table.notes


@pytest.fixture
def four(found):
    """Three rows of four seeds: full fine-tuning and LoRA steady, the adapter anything but."""
    rng = np.random.default_rng(7)
    hard = rng.random(ITEMS)
    wild = np.array([hard < share for share in (0.2, 0.4, 0.6, 0.8)])
    return found(seeds=4, full=habits(0.9, rng), lora=habits(0.8, rng), adapter=wild)


def test_each_p_names_the_test_that_gave_it(four):
    table = table_of(four)
    by_row = {table.spec.rows[n].label: entry for (n, _), entry in table.entries.items()}
    steady, wild = by_row["LoRA"].versus, by_row["Adapter"].versus
    assert (steady.test, wild.test) == ("crossed analysis of variance", "Welch's t over seeds")
    assert wild.p == pytest.approx(welch(*(four[name].sample("accuracy") for name in ("adapter", "full"))).p)
    assert steady.p > welch(*(four[name].sample("accuracy") for name in ("lora", "full"))).p
    notes = " ".join(table.notes)
    assert "Here that is the p of the crossed analysis of variance, except where the letter of a score" in notes
    assert "a: p is that of Welch's t over seeds, the larger one." in notes
    assert (by_row["LoRA"].marks, by_row["Adapter"].marks) == ("", "a")
    rows = {row["row"]: row for row in csv.DictReader(io.StringIO(comma_separated(table)))}
    assert [rows[name]["test"] for name in ("LoRA", "Adapter")] == [steady.test, wild.test]


def test_every_pair_of_rows_is_shown_and_those_with_the_best_have_the_p_of_the_marks(four):
    table = table_of(four)
    pairs = every_pair(table)
    assert [(one.row, one.minus) for one in pairs] == [
        ("LoRA", "full fine-tuning"), ("Adapter", "full fine-tuning"), ("Adapter", "LoRA"),
    ]  # fmt: skip
    p_values = [one.comparison.p for one in pairs]
    corrected = [one.comparison.p_corrected for one in pairs]
    assert corrected == [*against_best([p_values[:2]])[0], None], "one family: rows against the best"
    marks = [one.versus for one in table.entries.values() if one.versus]
    assert {id(one.comparison) for one in pairs[:2]} == set(map(id, marks))
    other = compare(*(score_of(four[name], "accuracy") for name in ("adapter", "lora")))
    assert pairs[2].comparison.p == other.p
    rows = list(csv.DictReader(io.StringIO(pairs_csv([table]))))
    assert [(row["row"], row["minus"], row["test"]) for row in rows] == [
        (one.row, one.minus, one.comparison.test) for one in pairs
    ]
    assert [row["p_corrected"] for row in rows] == [*map(str, corrected[:2]), ""]
    section = comparisons_section([table])
    assert "| Adapter | LoRA |" in markdown_sections([section])
    heads = [name for block in section.parts[0].blocks if isinstance(block, Grid) for name in block.head]
    assert [name for name in heads if name in ("p", "permutation p", "corrected p")] == [], (
        "each says if it is corrected"
    )
    assert [name for name in heads if name.startswith("p, ")].count("p, corrected as the marks") == 1
    assert "without the best: not tested in the table" in markdown_sections([section])


def test_the_smallest_permutation_p_of_so_few_seeds_is_named(four):
    text = markdown_sections([comparisons_section([table_of(four)])])
    assert text.count("0.0286, the smallest that so few seeds allow") == 2


@pytest.mark.slow
def test_related_items_are_drawn_together_and_the_table_says_so(found):
    rng = np.random.default_rng(2)
    rows = found(full=habits(0.9, rng), lora=habits(0.4, rng))
    assert not any("drawn together" in note for note in table_of(rows).notes), "each item is a group of its own"
    grouped = found_in_groups(rows)
    notes = table_of(grouped).notes
    assert f"Items of one group, such as equal texts, are drawn together ({ITEMS} items in 70 groups)." in notes


def found_in_groups(rows):
    """The same cells, two items a group."""
    for cell in rows.values():
        for trial in cell.completed:
            path = trial.path / "predictions.parquet"
            table = pq.read_table(path)
            groups = [f"g{int(name[1:]) // 2}" for name in table["item_id"].to_pylist()]
            place = table.schema.get_field_index("group_id")
            field = table.schema.field("group_id")
            pq.write_table(table.set_column(place, field, pa.array(groups, type=field.type)), path)
    return {name: replace(cell) for name, cell in rows.items()}


@pytest.mark.slow
def test_rows_of_other_test_items_are_not_tested(found):
    rng = np.random.default_rng(3)
    rows = found(full=habits(0.9, rng), lora=habits(0.4, rng), ids={"lora": "other"})
    table = table_of(rows)
    assert {entry.standing for entry in table.entries.values()} == {Standing.BEST, Standing.NOT_TESTED}
    assert any("scored on different test items" in note for note in table.notes)
    assert "scored on different test items" in markdown_sections([comparisons_section([table])])


@pytest.mark.slow
def test_rows_without_spread_over_seeds_are_tested_by_their_items(found):
    same = np.tile(np.arange(ITEMS) % 3 > 0, (SEEDS, 1))
    other = np.tile(np.arange(ITEMS) % 5 > 0, (SEEDS, 1))
    rows = found(full=same, lora=other, adapter=same)
    scores = {name: score_of(cell, "accuracy") for name, cell in rows.items()}
    compared = compare(scores["full"], scores["lora"])
    hits = same[0].astype(float) - other[0]
    assert compared.p == pytest.approx(stats.ttest_1samp(hits, 0).pvalue)
    alike = compare(scores["full"], scores["adapter"])
    assert (alike.tested, alike.reason) == (False, "the two rows differ nowhere, over seeds or over items")


@pytest.mark.slow
@pytest.mark.parametrize("metric", SCORES)
def test_every_score_of_items_has_an_answer_for_new_text(found, metric):
    rng = np.random.default_rng(4)
    by_method = {"full": habits(0.9, rng), "lora": habits(0.5, rng)}
    rows = found(**by_method)
    compared = compare(score_of(rows["lora"], metric), score_of(rows["full"], metric))
    assert compared.population is Population.NEW_TEXT
    gold = np.arange(ITEMS) % 2
    means = [
        np.mean([SCORES[metric](gold, np.where(run, gold, 1 - gold)) for run in runs])
        for runs in (by_method["lora"], by_method["full"])
    ]
    assert compared.estimate.difference == pytest.approx(means[0] - means[1])
    assert compared.p < 0.01
    again, why_not = compared_on_new_text(metric, rows["lora"], rows["full"])
    assert (again, why_not) == (compared.estimate, "")


def test_a_factor_scales_the_second_row(found):
    rng = np.random.default_rng(5)
    rows = found(full=habits(0.8, rng), lora=habits(0.5, rng))
    scores = {name: score_of(cell, "accuracy") for name, cell in rows.items()}
    plain, scaled = (compare(scores["lora"], scores["full"], factor) for factor in (1.0, 0.65))
    assert plain.difference - scaled.difference == pytest.approx(-0.35 * scores["full"].sample.mean)
    assert plain.p < 0.05 < scaled.p
    above, below = (one.p for one in plain.estimate.one_sided())
    assert 2 * below == pytest.approx(plain.p)
    assert above + below >= 1, "each is the larger p of two tests"


def test_what_seeds_do_not_move_is_compared_and_not_tested():
    def of(values, metric="peak_memory_bytes"):
        return Score(Sample.of(values), len(values), metric)

    saved = compare(of([5.8e9] * 3), of([1e10] * 3), 0.75)
    assert (saved.exact, saved.tested, saved.p) == (True, False, None)
    assert saved.difference == pytest.approx(-1.7e9)
    moved = compare(of([5.8e9, 5.9e9, 5.8e9]), of([1e10] * 3), 0.75)
    assert (moved.exact, moved.tested) == (False, True), "what varies is tested"
    score = compare(of([0.5] * 3, "accuracy"), of([0.6] * 3, "accuracy"))
    assert (score.exact, score.tested) == (False, False), "seeds can move a score, though these did not"


@pytest.mark.slow
def test_the_seeds_needed_are_planned_with_the_tables_test_and_its_correction(found):
    rng = np.random.default_rng(8)
    rows = found(full=habits(0.80, rng), lora=habits(0.80, rng), adapter=habits(0.3, rng))
    table = table_of(rows)
    by_row = {one.row: one for one in report_rows(table)}
    assert by_row["LoRA" if "LoRA" in by_row else "full fine-tuning"].needed == "not reached"
    assert by_row["Adapter"].needed.startswith("3")
    text = markdown_sections([comparisons_section([table])])
    low, high = sorted(100 * one.smallest for one in by_row.values())
    assert (
        f"on {ITEMS} test items, a true difference below {low:.2f} to {high:.2f} points (depending on the row) is "
        "found in fewer than 80 % of studies, however many seeds each of them trains." in text
    )
