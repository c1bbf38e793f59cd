"""Cells and score tables: only seeds are pooled, n is always said, what failed takes no part, text is escaped."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.cells import cells
from analysis.compare import Score
from analysis.statistics.this_set import Sample
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build, default_specs
from analysis.tables.render import FORMATS, comma_separated, latex, markdown
from analysis.tables.table import TableRow, TableSpec, html_table
from tests.support.records import FINGERPRINT
from tests.support.stores import add, ask
from tunekit.errors import UserError
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore

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
    assert "seeds 3 of 1 cells" in line


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


def spec_of(*rows, label="row"):
    scores = [Score(Sample.of(values), len(values)) for values in rows]
    named = tuple(TableRow(f"{label} {n}", {"d": score}) for n, score in enumerate(scores))
    return TableSpec("table", f"Caption of {label}", "macro_f1", named, {"d": label})


def test_best_is_bold_and_only_what_a_test_cannot_tell_from_it_has_a_dagger():
    table = build(spec_of([0.80, 0.82, 0.81], [0.79, 0.82, 0.80], [0.40, 0.41, 0.42]))
    assert [(e.bold, e.dagger) for e in table.entries.values()] == [(True, False), (False, True), (False, False)]
    assert any("Holm over 2" in note for note in table.notes)


def test_two_seeds_are_not_tested():
    table = build(spec_of([0.8, 0.9], [0.1, 0.2]))
    assert not any(entry.dagger for entry in table.entries.values())
    assert any("not tested" in note for note in table.notes)


@given(st.text(max_size=30))
def test_any_name_keeps_the_tables_form(name):
    table = build(spec_of([0.5, 0.6, 0.7], label=name))
    assert "<script" not in html_table(table).lower()
    body = [line for line in markdown(table).split("\n") if line.startswith("| ")]
    assert len(body) == 2
    assert comma_separated(table).count("macro_f1") >= 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_with_hostile_names(tmp_path):
    tables = [
        build(spec_of([0.5, 0.6, 0.7], [0.5, 0.61, 0.7], label=name))
        for name in (r"\input{/etc/passwd}", "a_b$%&#^~{}<>|")
    ]
    source = "\n".join(map(latex, tables))
    text = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{source}\n\\end{{document}}"
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "passwd)" not in done.stdout
    assert set(FORMATS) == {"md", "tex", "csv", "html"}
