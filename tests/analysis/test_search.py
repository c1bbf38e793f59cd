"""Searches in the analysis: every number of the section re-computed by hand, and what is not known said."""

import json
import shutil
from collections import Counter
from statistics import mean, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.cells import cells
from analysis.figures.figures import figures_of
from analysis.report.document import Grid, Link, Points
from analysis.report.pages import markdown_page
from analysis.report.search_section import search_section
from analysis.report.summary import left_out_section
from analysis.search import search_results
from analysis.statistics.this_set import Sample, welch
from analysis.sweep_records import read_sweeps
from tests.support.search_stores import SPACE, confirm, describe, predictions, trial, write
from tunekit.search.choosing import item_standard_error
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import TrialState

CURVES = {0: [0.5, 0.6], 1: [0.5, 0.9, 0.8], 2: [0.7, 0.88], 3: [0.3], 4: [0.2]}
RATES = {0: 5e-4, 1: 1e-3, 2: 2e-3, 3: 1e-5, 4: 5e-3}
RANKS = {0: 32, 1: 16, 2: 2, 3: 1, 4: 8}
STATES = {3: TrialState.PRUNED, 4: TrialState.FAILED}
TESTS = {"default": (0.50, 0.52, 0.54), "best": (0.70, 0.74, 0.78), "1se": (0.71, 0.72, 0.73)}
CHOSEN = {"default": 0, "best": 1, "1se": 2}


@pytest.fixture(scope="module")
def specs(module_spec):
    return {
        number: module_spec(learning_rate=RATES[number], method_params={"r": RANKS[number]}, epochs=3)
        for number in CURVES
    }


@pytest.fixture(scope="module")
def module_spec():
    from tunekit.schema import TrialSpec

    def make(**changes):
        fields = {"model": "tiny-bert", "dataset": "demo", "method": "lora", "seed": 1, "learning_rate": 5e-4}
        return TrialSpec(**{**fields, **changes})

    return make


@pytest.fixture(scope="module")
def root(tmp_path_factory, specs):
    store = ResultStore(tmp_path_factory.mktemp("search") / "sweep")
    describe(store)
    trials = [
        trial(store, specs[n], n, curve, STATES.get(n, TrialState.COMPLETE), params=100 * RANKS[n],
              right=round(20 * max(curve)))
        for n, curve in CURVES.items()
    ]  # fmt: skip
    choices = [
        confirm(store, specs[n], n, role, [value + 0.1 for value in TESTS[role]], TESTS[role])
        for role, n in CHOSEN.items()
    ]
    write(store, {"trials": tuple(trials), "choices": tuple(choices)})
    return store.root


@pytest.fixture
def store(root, tmp_path):
    return ResultStore(shutil.copytree(root, tmp_path / "sweep"))


def study_of(store):
    records = read_sweeps([store.root])
    (found,) = search_results(records, cells(records))
    return found


def section_of(store):
    records = read_sweeps([store.root])
    return search_section(search_results(records, cells(records)))


def grid(section, head):
    """The rows of the grid whose first headings are ``head``, as texts by heading."""
    (found,) = [b for b in section.blocks if isinstance(b, Grid) and b.head[: len(head)] == head]
    plain = [[item.text if isinstance(item, Link) else item for item in row] for row in found.rows]
    return [dict(zip(found.head, row, strict=True)) for row in plain]


def lines(section):
    return [item for block in section.blocks if isinstance(block, Points) for item in block.items]


def edited(store, **changes):
    """The store with fields of its study replaced in search.json."""
    path = store.root / "search.json"
    content = json.loads(path.read_text())
    content["studies"][0] |= changes
    path.write_text(json.dumps(content))
    return store


def test_default_beside_tuned(store):
    rows = {row["choice"]: row for row in grid(section_of(store), ("search", "choice"))}
    assert list(rows) == ["default", "best", "1se"]
    for role, number in CHOSEN.items():
        row, values = rows[role], [100 * value for value in TESTS[role]]
        assert row["test, fresh seeds"] == f"{mean(values):.2f} ± {stdev(values):.2f}"
        assert row["validation, fresh seeds"].startswith(f"{mean(values) + 10:.2f} ± ")
        assert row["validation, search"].startswith(f"{100 * max(CURVES[number]):.2f} ± ")
        lost = mean(values) + 10 - 100 * max(CURVES[number])
        assert float(row["change on re-test"]) == pytest.approx(lost, abs=0.006)
        assert row["n"] == "3"
        assert row["trainable parameters"] == f"{100 * RANKS[number]:,}"
    assert rows["best"]["configuration"] == "lr 0.001, r 16"
    difference = mean(TESTS["best"]) - mean(TESTS["default"])
    compared = welch(*(Sample.of([float(value) for value in TESTS[role]]) for role in ("best", "default")))
    said = rows["best"]["test, less the default"]
    assert said.startswith(f"{100 * difference:+.2f} [{100 * compared.interval.low:+.2f}")
    # the store keeps no test predictions
    assert said.endswith(f"uncorrected p = {compared.p:.3g} (Welch's t over seeds), these test items")
    assert rows["default"]["test, less the default"] == ""


def test_the_test_score_leads_to_its_trials(store):
    records = read_sweeps([store.root])
    anchors = {cell.anchor for cell in cells(records) if not cell.searched}
    (tuned,) = [b for b in section_of(store).blocks if isinstance(b, Grid) and b.head[1] == "choice"]
    links = [item.href[1:] for row in tuned.rows for item in row if isinstance(item, Link)]
    assert set(links) == anchors
    assert len(links) == 3


def test_the_item_standard_error_is_that_of_the_chosen_epochs_predictions(store):
    expected = item_standard_error([predictions(round(20 * 0.9), 2)], "macro_f1", 2)
    assert study_of(store).role("best").standard_error == pytest.approx(expected)


def test_the_budget_and_the_size_of_the_space(store):
    (row,) = grid(section_of(store), ("search", "space"))
    counts = Counter(STATES.get(number, TrialState.COMPLETE) for number in CURVES)
    assert (row["complete"], row["pruned"], row["failed"]) == tuple(str(counts[state]) for state in TrialState)
    epochs = sum(map(len, CURVES.values()))
    assert (row["epochs"], row["seconds"]) == (str(epochs), str(2 * epochs))
    assert row["planned"] == "12"
    assert row["space"].endswith(f": continuous x {len(SPACE['r']['choices'])}")
    assert row["how"] == "tpe (seed 0), asha"


def test_what_lies_within_one_standard_error_and_the_1se_choice(store):
    found = study_of(store)
    error = found.role("best").standard_error
    assert [one.number for one in found.within] == [n for n in (1, 2, 0) if max(CURVES[n]) >= 0.9 - error]
    edited(store, choices=[])
    found = study_of(store)
    cheapest = min(found.within, key=lambda one: RANKS[one.number])
    assert [(one.role, one.trial.number) for one in found.roles] == [
        ("default", 0),
        ("best", 1),
        ("1se", cheapest.number),
    ]
    assert any("not confirmed" in line for line in lines(section_of(store)))


def test_the_range_of_learning_rates_near_the_best(store):
    (row,) = grid(section_of(store), ("search", "best"))
    assert (row["best"], row["from"], row["to"]) == ("0.001", "0.001", "0.001")
    path = store.root / "search.json"
    content = json.loads(path.read_text())
    content["studies"][0]["trials"][2]["values"] = [0.895]
    path.write_text(json.dumps(content))
    (row,) = grid(section_of(store), ("search", "best"))
    assert (row["from"], row["to"], row["width (factor)"]) == ("0.001", "0.002", "2")
    assert (row["configurations within"], row["of complete"]) == ("2", "3")


def test_all_trials_stand_there_the_best_first(store):
    (part,) = section_of(store).parts
    rows = [dict(zip(part.blocks[-1].head, row, strict=True)) for row in part.blocks[-1].rows]
    assert [row["trial"] for row in rows] == ["1", "2", "0", "3", "4"]
    assert [row["state"] for row in rows[-2:]] == ["pruned", "failed"]
    assert rows[-1]["macro-F1 on validation"] == ""
    assert rows[0]["remarks"].startswith("best")


def test_two_objectives_have_a_front(store):
    values = {0: [0.6, 3200], 1: [0.9, 1600], 2: [0.88, 200]}
    path = store.root / "search.json"
    content = json.loads(path.read_text())
    for number in CURVES:
        content["studies"][0]["trials"][number]["values"] = values.get(number)
    content["studies"][0] |= {
        "objectives": ["macro_f1", "num_trainable_params"],
        "directions": ["maximize", "minimize"],
    }
    path.write_text(json.dumps(content))
    assert [one.number for one in study_of(store).front] == [1, 2]
    (part,) = section_of(store).parts
    marked = [row[0] for row in part.blocks[-1].rows if "Pareto front" in row[-1]]
    assert marked == ["1", "2"]


def test_unequal_budgets_are_said(store):
    content = json.loads((store.root / "search.json").read_text())
    other = {**content["studies"][0], "method": "adapter", "trials": content["studies"][0]["trials"][:3]}
    content["studies"].append(other)
    (store.root / "search.json").write_text(json.dumps(content))
    assert any(
        "unequal budgets" in line and "LoRA 5" in line and "Adapter 3" in line for line in lines(section_of(store))
    )


def test_confirming_cells_are_told_apart(store):
    found = [cell for cell in cells(read_sweeps([store.root])) if not cell.searched]
    assert {cell.variant for cell in found} == {
        "default, lr 5e-4, r 32", "best, lr 0.001, r 16", "1se, lr 0.002, r 2",
    }  # fmt: skip


def test_one_configuration_in_all_roles_is_one_cell(store):
    ids = json.loads((store.root / "search.json").read_text())["studies"][0]["choices"][1]["trial_ids"]
    edited(store, choices=[{"role": role, "number": 1, "trial_ids": ids} for role in CHOSEN])
    variants = [cell.variant for cell in cells(read_sweeps([store.root])) if not cell.searched]
    assert "default, best, 1se, lr 0.001, r 16" in variants
    rows = grid(section_of(store), ("search", "choice"))
    assert [(row["choice"], row["test, less the default"]) for row in rows] == [("default, best, 1se", "")]


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 1, "studies": [{}]}', "\xff"])
def test_a_damaged_search_is_a_counted_problem(store, content):
    (store.root / "search.json").write_bytes(content.encode("latin-1"))
    records = read_sweeps([store.root])
    report = markdown_page(
        "report", [left_out_section(records), search_section(search_results(records, cells(records)))]
    )
    assert "Damaged search.json left out: 1 case" in report
    assert any(str(store.root / "search.json") in problem.detail for problem in records.problems)
    assert figures_of(records, []) == []


def test_lost_trials_and_unknown_things_are_a_line_each(store):
    for folder in store.trials_folder.glob("*-s1001-*"):
        shutil.rmtree(folder)
    found = lines(section_of(store))
    assert any("5 trials that search.json names are not in the store" in line for line in found)
    assert any("no item standard error of the best, its trials are not in the store" in line for line in found)


def test_without_predictions_the_standard_error_is_not_guessed(store):
    for path in store.trials_folder.glob("*-s1001-*/predictions.parquet"):
        path.unlink()
    rows = {row["choice"]: row for row in grid(section_of(store), ("search", "choice"))}
    assert rows["best"]["validation, search"] == "90.00"
    assert any("no validation predictions are stored" in line for line in lines(section_of(store)))


def test_a_study_without_a_complete_trial_says_so(store):
    trials = json.loads((store.root / "search.json").read_text())["studies"][0]["trials"][3:]
    edited(store, trials=trials, choices=[])
    assert any("no trial is complete" in line for line in lines(section_of(store)))


def test_confirming_seeds_that_have_not_ended_are_counted(store):
    (folder,) = store.trials_folder.glob(
        f"{read_sweeps([store.root]).searches[0].model}-*-s3-*{_ids(store, 'best')[2]}"
    )
    (folder / "summary.json").unlink()
    rows = {row["choice"]: row for row in grid(section_of(store), ("search", "choice"))}
    assert rows["best"]["n"] == "2/3"


def _ids(store, role):
    return next(one for one in read_sweeps([store.root]).searches[0].choices if one.role == role).trial_ids


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 19))
def test_the_bootstrap_of_accuracy_is_the_clustered_formula(right):
    frame = predictions(right, 1)
    hits = (frame["gold"] == frame["predicted"]).to_numpy().astype(float)
    totals = hits.reshape(-1, 2).mean(axis=1)  # groups of two
    exact = np.std(totals) / len(totals) ** 0.5
    assert item_standard_error([frame], "accuracy", 2) == pytest.approx(exact, rel=0.08)


def test_the_bootstrap_draws_groups_whole():
    frame = predictions(10, 1)
    alone = frame.assign(group_id=frame["item_id"])
    together = item_standard_error([frame], "accuracy", 2)
    assert together == pytest.approx(item_standard_error([alone], "accuracy", 2) * 2**0.5, rel=0.08)
    with pytest.raises(ValueError, match="num_trainable_params"):
        item_standard_error([frame], "num_trainable_params", 2)


def test_equal_seeds_leave_the_error_as_it_is():
    frame = predictions(10, 1)
    assert item_standard_error([frame, frame], "macro_f1", 2) == pytest.approx(
        item_standard_error([frame], "macro_f1", 2)
    )
