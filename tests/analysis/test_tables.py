"""Cells and score tables: only seeds are pooled, n is always said, what failed takes no part, text is escaped."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.cells import cells
from analysis.compare import Score
from analysis.report.answer import answer_section
from analysis.report.pages import markdown_sections
from analysis.statistics.multiple import against_best
from analysis.statistics.this_set import Sample, welch
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build
from analysis.tables.render import comma_separated, markdown
from analysis.tables.specs import default_specs
from analysis.tables.table import Standing, TableRow, TableSpec, html_table, shown
from tests.support.records import FINGERPRINT
from tests.support.stores import add, ask
from tunekit.commands.results import table_as_json
from tunekit.errors import UserError
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore
from tunekit.tasks import TASKS

VALUES = [0.61, 0.59, 0.65, 0.6]


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "sweep")


def found(store, select="last"):
    return cells(read_sweeps([store.root]), select)


def filled(store, metric="macro_f1"):
    return [build(spec) for spec in default_specs(found(store), [metric])]


def test_means_are_numpys_and_missing_seeds_are_said(store, make_spec):
    specs = [make_spec(seed=seed) for seed in range(5)]
    ask(store, specs)
    for spec, value in zip(specs[:4], VALUES, strict=True):
        add(store, spec, [0.1, value])
    (cell,) = found(store)
    sample = cell.sample("macro_f1")
    assert (sample.mean, sample.std) == pytest.approx((np.mean(VALUES), np.std(VALUES, ddof=1)))
    assert cell.unfinished == (4,)
    assert "61.25 ± 2.63 (4/5)" in markdown(filled(store)[0])


@pytest.mark.parametrize(("select", "expected"), [("last", 0.4), ("best-val", 0.2), ("best-test", 0.7)])
def test_selection_takes_its_epoch(store, make_spec, select, expected):
    add(store, make_spec(), [0.7, 0.2, 0.4])
    (cell,) = found(store, select)
    assert cell.by_seed("macro_f1") == {1: expected}


def test_an_unknown_selection_is_refused(store, make_spec):
    add(store, make_spec())
    with pytest.raises(UserError, match="last, best-val, best-test"):
        found(store, "best")


def test_failed_trials_take_no_part_and_are_counted(store, make_spec):
    for seed in range(1, 5):
        add(store, make_spec(seed=seed), [0.9], Status.DIVERGED if seed == 4 else Status.COMPLETED)
        add(store, make_spec(seed=seed, method="full", method_params={}), [0.5 + seed / 100])
    (table,) = filled(store)
    entry = table.entries[next(n for n, row in enumerate(table.spec.rows) if row.label == "LoRA"), "demo"]
    assert (entry.bold, entry.dagger, entry.text) == (False, False, "90.00 ± 0.00 (3/4)")
    assert any("1 diverged" in note for note in table.notes)


CHANGES = {
    "model": "other", "dataset": "other", "method": "other", "learning_rate": 0.5, "batch_size": 7, "epochs": 9,
    "max_length": 99, "weight_decay": 0.5, "warmup_ratio": 0.5, "precision": "bf16", "train_limit": 50,
    "val_fraction": 0.5, "data_seed": 3, "score_test": False, "method_params": {"r": 2},
    "class_weights": "balanced", "label_smoothing": 0.5, "focal_gamma": 2.0,
    "lr_schedule": "constant", "max_grad_norm": 0.0, "head_learning_rate": 10.0, "layer_decay": 0.5,
    "patience": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_changing_any_field_but_the_seed_never_changes_an_existing_cell(store, make_spec, name):
    for seed, value in enumerate(VALUES):
        add(store, make_spec(seed=seed), [value])
    (before,) = found(store)
    add(store, replace(make_spec(seed=9), **{name: CHANGES[name]}), [0.99])
    after = {cell.key: cell for cell in found(store)}
    assert len(after) == 2
    assert after[before.key].sample("macro_f1") == before.sample("macro_f1")


def test_trials_of_two_fingerprints_are_rows_of_their_own(store, make_spec):
    add(store, make_spec(seed=1), [0.4])
    add(store, make_spec(seed=2), [0.8], fingerprint=replace(FINGERPRINT, data="other"))
    assert sorted(cell.sample("macro_f1").mean for cell in found(store)) == [0.4, 0.8]
    assert all("fingerprint" in cell.variant for cell in found(store))


def test_configurations_are_named_by_the_fields_in_which_they_differ(store, make_spec):
    for rate in (5e-4, 1e-4):
        add(store, make_spec(learning_rate=rate))
    assert {cell.variant for cell in found(store)} == {"lr 5e-4", "lr 1e-4"}


def test_an_option_of_the_loss_is_named_where_it_differs_with_the_default_of_the_plain_one(store, make_spec):
    for smoothing in (0.0, 0.1):
        add(store, make_spec(label_smoothing=smoothing))
    assert {cell.variant for cell in found(store)} == {"label smoothing 0", "label smoothing 0.1"}
    add(store, make_spec(class_weights="balanced"))
    assert "class weights balanced, label smoothing 0" in {cell.variant for cell in found(store)}


def test_mixed_executions_are_noted(store, make_spec):
    add(store, make_spec(seed=1), execution={"device": "cpu"})
    add(store, make_spec(seed=2), execution={"device": "cuda"})
    assert any("mixes ways of execution" in note for note in filled(store)[0].notes)


def test_a_trial_in_two_sweeps_counts_once(store, make_spec, tmp_path):
    other = ResultStore(tmp_path / "other")
    for one in (store, other):
        add(one, make_spec())
    records = read_sweeps([store.root, other.root])
    assert [problem.kind for problem in records.problems] == ["trial that is in two sweeps counted once"]
    assert cells(records)[0].sample("macro_f1").n == 1


def test_seeds_asked_for_later_are_named(store, make_spec):
    ask(store, [make_spec(seed=1), make_spec(seed=2)])
    ask(store, [make_spec(seed=seed) for seed in (1, 2, 3)])
    add(store, make_spec(seed=1))
    (line,) = read_sweeps([store.root]).later_seeds
    assert "seed 3 of 1 cell was asked for" in line


def test_damage_is_named_and_left_out(store, make_spec):
    add(store, make_spec(seed=1), [0.4])
    add(store, make_spec(seed=2), [0.8])
    path = store.folder(make_spec(seed=2)) / "epochs.jsonl"
    path.write_text(path.read_text()[:-20])
    (store.trials_folder / "stray").mkdir()
    records = read_sweeps([store.root])
    assert {problem.kind for problem in records.problems} == {
        "damaged trial left out",
        "folder without a spec.json left out",
    }
    assert cells(records)[0].sample("macro_f1").mean == 0.4


def test_no_sweep_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no sweep"):
        read_sweeps([tmp_path])


def spec_of(*rows, label="row", failures=None):
    scores = [Score(Sample.of(values), len(values)) for values in rows]
    for number, kinds in (failures or {}).items():
        scores[number] = replace(scores[number], failures=kinds)
    named = tuple(TableRow(f"{label} {n}", {"d": score}) for n, score in enumerate(scores))
    return TableSpec("table", f"Caption of {label}", "macro_f1", named, {"d": label})


def standings(table):
    return {table.spec.rows[number].label: entry.standing for (number, _), entry in table.entries.items()}


BEST, NEAR, FAR = [0.80, 0.82, 0.81], [0.79, 0.82, 0.80], [0.40, 0.41, 0.42]


def test_a_row_is_the_best_or_does_not_differ_from_it_or_is_worse():
    table = build(spec_of(BEST, NEAR, FAR))
    assert list(standings(table).values()) == [Standing.BEST, Standing.ALIKE, Standing.WORSE]
    assert [(e.bold, e.dagger) for e in table.entries.values()] == [(True, False), (False, True), (False, False)]
    correction = "step-down Bonferroni over the pairs of rows that remain, 3 at first"
    assert f"Correction of p: {correction}." in table.notes
    assert {entry.versus.correction for entry in table.entries.values() if entry.versus} == {correction}
    assert "these test items, not of new text" in " ".join(table.notes)


def test_the_corrected_p_is_that_of_the_steps_over_rows():
    table = build(spec_of(BEST, NEAR, FAR))
    near, far = (table.entries[number, "d"].versus for number in (1, 2))
    p_values = [welch(Sample.of(values), Sample.of(BEST)).p for values in (NEAR, FAR)]
    assert [near.p, far.p] == p_values
    assert [near.p_corrected, far.p_corrected] == against_best([p_values])[0]
    assert (near.low, near.high) == (near.estimate.interval.low, near.estimate.interval.high)


@pytest.mark.parametrize(
    ("rows", "failures", "reason"),
    [
        (([0.8, 0.9], [0.1, 0.2]), {}, "2 seeds, and a test takes at least 3"),
        (([0.5] * 3, [0.6] * 3), {}, "neither row varies over its seeds, and there are no predictions stored"),
        ((BEST, [0.5]), {}, "1 seed, and a test takes at least 3"),
    ],
)
def test_where_nothing_is_tested_the_reason_is_the_true_one(rows, failures, reason):
    table = build(spec_of(*rows, failures=failures))
    assert Standing.WORSE not in standings(table).values()
    assert f"The highest mean of a column is bold. No difference was tested ({reason})." in table.notes
    assert not any(entry.marks for entry in table.entries.values())


def test_a_row_that_was_not_tested_says_so_and_why_beside_rows_that_were():
    table = build(spec_of(BEST, FAR, [0.5, 0.6], [0.99, 0.9], [0.45] * 3, failures={4: {"diverged": 1}}))
    assert list(standings(table).values())[2:] == [Standing.NOT_TESTED] * 3
    assert [table.entries[number, "d"].marks for number in range(5)] == ["", "", "a", "b", "c"]
    assert "a: not tested: 2 seeds, and a test takes at least 3." in table.notes
    assert any(note.startswith("b: ") and "higher mean is not bold" in note for note in table.notes)
    assert any(note.startswith("c: 1 diverged") for note in table.notes)
    told = markdown_sections([answer_section([table])])
    assert "row 0 is best" in told
    assert "above row 1" in told
    assert "row 2 and row 3 were not tested (2 seeds, and a test takes at least 3)" in told


def test_the_csv_has_the_state_and_the_test_of_every_entry():
    rows = list(csv.DictReader(io.StringIO(comma_separated(build(spec_of(BEST, NEAR, FAR, [0.5, 0.6]))))))
    assert [row["standing"] for row in rows] == [
        "best", "not significantly different from the best", "significantly worse than the best", "not tested",
    ]  # fmt: skip
    assert [row["tested"] for row in rows] == ["0", "1", "1", "0"]
    far = welch(Sample.of(FAR), Sample.of(BEST))
    numbers = [float(rows[2][name]) for name in ("difference", "low", "high", "p")]
    assert numbers == pytest.approx([far.difference, far.interval.low, far.interval.high, far.p])
    assert float(rows[2]["p_corrected"]) == pytest.approx(3 * far.p)
    assert (rows[3]["p"], rows[3]["p_corrected"], rows[3]["reason"]) == ("", "", "2 seeds, and a test takes at least 3")
    assert {row["holds_for"] for row in rows[1:3]} == {"these test items"}


def test_json_says_what_the_csv_says():
    table = build(spec_of(BEST, NEAR, FAR, [0.5, 0.6]))
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    entries = json.loads(json.dumps(table_as_json(table)))["entries"]
    names = ["row", "standing", "test", "p", "p_corrected", "correction"]
    names += ["holds_for", "difference", "low", "high", "n", "reason"]
    for row, entry in zip(rows, entries, strict=True):
        said = {name: "" if entry[name] is None else str(entry[name]) for name in names}
        assert said == {name: row[name] for name in names}
        assert entry["tested"] is (row["tested"] == "1")
        assert " ".join(map(repr, entry["values"])) == row["values"]
    assert [one["standing"] for one in entries][:3] == [Standing.BEST, Standing.ALIKE, Standing.WORSE]


def test_a_place_without_trials_stands_in_the_json_alone():
    spec = spec_of(BEST, FAR)
    table = build(replace(spec, columns={**spec.columns, "other": "Other"}))
    entries = table_as_json(table)["entries"]
    assert [(one["column"], one["n"], one["standing"]) for one in entries if one["row"] == "row 1"] == [
        ("row", 3, "significantly worse than the best"), ("Other", 0, "not tested"),
    ]  # fmt: skip
    assert len(comma_separated(table).splitlines()) == 3


some = settings(max_examples=60, deadline=None)  # the first example loads scipy
values = st.lists(st.integers(0, 60).map(lambda k: k / 100), min_size=1, max_size=4)


@some
@given(st.lists(values, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_verdict(rows, random):
    spec = spec_of(*rows)
    mixed = replace(spec, rows=tuple(random.sample(spec.rows, len(spec.rows))))
    assert standings(build(mixed)) == standings(build(spec))


@some
@given(st.lists(values, min_size=2, max_size=4), values.filter(lambda row: len(row) > 2))
def test_an_added_row_that_is_not_the_best_makes_no_other_row_worse_and_is_counted(rows, added):
    before, after = build(spec_of(*rows)), build(spec_of(*rows, added))
    if after.best["d"] == len(rows) or after.best["d"] != before.best.get("d"):
        return  # another row is the best, and the table says which
    new = standings(after)
    flipped = {label for label, old in standings(before).items() if new[label] is not old}
    assert all(standings(before)[label] is Standing.WORSE and new[label] is Standing.ALIKE for label in flipped)
    if flipped:
        notes = [[note for note in one.notes if "Correction of p" in note] for one in (before, after)]
        assert notes[0] != notes[1]


def test_a_hopeless_row_changes_no_verdict():
    near = [0.78, 0.80, 0.79]
    before, after = build(spec_of(BEST, near, FAR)), build(spec_of(BEST, near, FAR, [0.001, 0.0011, 0.0009]))
    assert standings(before) == {label: old for label, old in standings(after).items() if label != "row 3"}
    assert standings(after)["row 3"] is Standing.WORSE


@given(st.text(max_size=30))
def test_any_name_keeps_the_tables_form(name):
    table = build(spec_of([0.5, 0.6, 0.7], label=name))
    assert "<script" not in html_table(table).lower()
    body = [line for line in markdown(table).split("\n") if line.startswith("| ")]
    assert len(body) == 2
    assert comma_separated(table).count("macro_f1") >= 1


@given(st.floats(1e-9, 1e9), st.floats(0, 3), st.sampled_from([1.0, -1.0]))
def test_a_mean_and_its_spread_have_the_same_decimals(mean, ratio, sign):
    rmse = TASKS["regression"].metric("rmse")
    texts = shown(Sample(sign * mean, ratio * mean, 5), rmse).split(" ± ")
    decimals, exponents = (
        [pick(text) for text in texts] for pick in (decimals_of, lambda text: text.partition("e")[2])
    )
    assert len(set(decimals)) == len(set(exponents)) == 1
    assert float(texts[0]) == pytest.approx(sign * mean, abs=0.51 * 10.0 ** (int(exponents[0] or 0) - decimals[0]))
    assert rmse.number(mean) == rmse.numbers(mean, mean / 3)[0], "the largest value decides"


def decimals_of(text):
    return len(text.partition("e")[0].partition(".")[2])


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.43, 0.005), ["0.4300", "0.0050"]),
        ((0.00123, 0.00002), ["0.001230", "0.000020"]),
        ((123456.0, 78.0), ["1.235e+05", "0.001e+05"]),
        ((1.5e-7, 0.0), ["1.500e-07", "0.000e-07"]),
        ((0.0, 0.0), ["0.0000", "0.0000"]),
    ],
)
def test_small_and_large_values_without_bounds_have_four_digits(values, texts):
    assert TASKS["regression"].metric("rmse").numbers(*values) == texts
