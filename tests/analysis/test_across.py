"""Rows over several datasets: against autorank and rliable, and what a store of three datasets shows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.report.across_section import across_section
from analysis.report.pages import markdown_page
from analysis.report.report import Choices, compose, write_all
from analysis.results import Results, load
from analysis.statistics.across_datasets import compare_across, interquartile_mean
from tests.support.stores import add, add_of_task, ask
from tunekit.errors import UserError
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore

pytestmark = pytest.mark.slow


def drawn(rows: int, datasets: int, seeds: int = 5, gap: float = 0.02, seed: int = 0) -> list[list[np.ndarray]]:
    """Scores whose mean grows from row to row, with noise of the dataset's and row's own and of seeds."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0.6, 0.1, datasets)
    own = rng.normal(0, 0.02, (rows, datasets))
    return [
        [rng.normal(shared[d] + gap * row + own[row, d], 0.01, seeds) for d in range(datasets)] for row in range(rows)
    ]


@pytest.mark.parametrize(("rows", "datasets"), [(3, 5), (4, 8), (6, 12)])
def test_ranks_and_critical_difference_are_autoranks(rows: int, datasets: int) -> None:
    from autorank import autorank

    scores = drawn(rows, datasets)
    means = pd.DataFrame({f"r{number}": [values.mean() for values in row] for number, row in enumerate(scores)})
    theirs = autorank(means, force_mode="nonparametric", approach="frequentist", verbose=False)
    ours = compare_across(scores)
    assert [one.value for one in ours.mean_ranks] == pytest.approx(
        [theirs.rankdf.loc[f"r{number}", "meanrank"] for number in range(rows)]
    )
    assert ours.critical_difference == pytest.approx(theirs.cd, rel=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 5), st.integers(3, 6), st.integers(1, 6), st.integers(0, 1000))
def test_interquartile_mean_and_win_rate_are_rliables(rows: int, datasets: int, seeds: int, seed: int) -> None:
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed: its arch lacks wheels for 3.14")
    scores = drawn(rows, datasets, seeds, seed=seed)
    floors = np.full(datasets, 0.1)
    ours = compare_across(scores, floors)
    best = np.array([[values.mean() for values in row] for row in scores]).max(axis=0)
    for number, row in enumerate(scores):
        rescaled = np.array([(values - 0.1) / (best[d] - 0.1) for d, values in enumerate(row)]).T
        assert ours.iqms[number].value == pytest.approx(metrics.aggregate_iqm(rescaled))
        wins = [
            metrics.probability_of_improvement(np.array(row).T, np.array(other).T)
            for place, other in enumerate(scores)
            if place != number
        ]
        assert ours.win_rates[number].value == pytest.approx(np.mean(wins))


@settings(max_examples=12, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing(order: list[int], seed: int) -> None:
    scores = drawn(4, 4, 3, seed=seed)
    first, second = compare_across(scores, np.zeros(4)), compare_across([scores[row] for row in order], np.zeros(4))
    assert [first.mean_ranks[row] for row in order] == list(second.mean_ranks)
    assert [first.iqms[row].value for row in order] == pytest.approx([one.value for one in second.iqms])
    assert first.p == pytest.approx(second.p)
    assert {frozenset(group) for group in first.groups} == {
        frozenset(order[row] for row in group) for group in second.groups
    }


def test_friedman_rejects_a_null_as_often_as_it_says() -> None:
    rejected = [compare_across(drawn(3, 6, gap=0.0, seed=seed)).p <= 0.05 for seed in range(100)]
    assert np.mean(rejected) <= 0.095  # a nominal 5 % and two standard errors


def test_intervals_over_datasets_hold_the_truth() -> None:
    truth = [one.value for one in compare_across(drawn(3, 200, gap=0.005, seed=10_000)).win_rates]
    held = []
    for seed in range(200):
        for one, value in zip(compare_across(drawn(3, 6, gap=0.005, seed=seed)).win_rates, truth, strict=True):
            held.append(one.interval is not None and one.interval.low <= value <= one.interval.high)
    assert np.mean(held) >= 0.9


def test_with_few_datasets_an_interval_holds_the_truth_about_as_often_as_the_report_says() -> None:
    truth = [one.value for one in compare_across(drawn(3, 200, gap=0.02, seed=10_000)).win_rates]
    held = []
    for seed in range(200):
        for one, value in zip(compare_across(drawn(3, 4, gap=0.02, seed=seed)).win_rates, truth, strict=True):
            held += [one.interval.low <= value <= one.interval.high] if one.interval else []
    assert 0.83 <= np.mean(held) <= 0.93  # the report says 88 to 90 %


def test_a_row_that_never_changes_its_rank_has_no_interval() -> None:
    found = compare_across(drawn(2, 3, gap=0.3))
    assert [one.interval for one in found.mean_ranks] == [None, None]
    assert found.smallest_p == 0.25


@pytest.mark.parametrize(
    ("scores", "floors"),
    [
        (drawn(1, 3), None),
        (drawn(3, 2), None),
        ([drawn(1, 3)[0], drawn(1, 4)[0]], None),
        ([[np.array([])] * 3] * 2, None),
        ([[np.array([0.5, np.nan])] * 3] * 2, None),
        (drawn(2, 3), np.ones(3)),
    ],
)
def test_what_can_not_be_compared_is_refused(scores: list[list[np.ndarray]], floors: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="takes|numbers of datasets|lacks|majority"):
        compare_across(scores, floors)


def test_the_interquartile_mean_leaves_the_outer_quarters_out() -> None:
    assert interquartile_mean(np.array([0.0, 0.5, 0.6, 1.0])) == pytest.approx(0.55)


def results(folder: Path, make_spec, datasets: int, failed: bool = False) -> Results:
    """Two methods on some datasets, three seeds each."""
    store = ResultStore(folder / "several")
    specs = []
    for dataset in ("one", "two", "three", "four")[:datasets]:
        for method, params in (("full", {}), ("lora", {"r": 4})):
            specs += [make_spec(dataset=dataset, method=method, method_params=params, seed=seed) for seed in (1, 2, 3)]
    ask(store, specs)
    for place, spec in enumerate(specs):
        score = 0.5 + 0.1 * (spec.method == "full") + 0.01 * spec.seed
        add(store, spec, [score], Status.FAILED if failed and not place else Status.COMPLETED)
    return load(store.root)


OF_EACH = {
    "cola+classification.mcc-0123456789ab": ("mcc", 0.5, 0.4),
    "rte+classification.accuracy-0123456789ab": ("accuracy", 0.7, 0.6),
    "sts-b+regression-0123456789ab": ("pearson", 0.6, 0.8),
    "ages+regression.rmse-0123456789ab": ("rmse", 3.0, 9.0),
}
"""Datasets with the name of the primary metric and its values with full fine-tuning and with LoRA."""


def of_different_metrics(folder: Path, make_spec) -> Results:
    """Two methods on datasets with different primary metrics, three seeds each."""
    store = ResultStore(folder / "several")
    methods = {"full": {}, "lora": {"r": 4}}
    specs = {
        (dataset, method, seed): make_spec(dataset=dataset, method=method, method_params=params, seed=seed)
        for dataset in OF_EACH
        for method, params in methods.items()
        for seed in (1, 2, 3)
    }
    ask(store, list(specs.values()))
    for (dataset, method, seed), spec in specs.items():
        metric, *values = OF_EACH[dataset]
        value = values[[*methods].index(method)] + 0.001 * seed
        if metric == "accuracy":
            add(store, spec, [value])
        else:
            add_of_task(store, spec, [{f"{split}_{metric}": value for split in ("val", "test")}])
    return load(store.root)


def test_datasets_of_different_primary_metrics_are_ranked_each_by_its_own(tmp_path: Path, make_spec) -> None:
    found = of_different_metrics(tmp_path, make_spec)
    compared = found.across_datasets()
    assert compared.metric == "primary"
    assert [one.split(" (")[1] for one in compared.datasets] == ["MCC)", "accuracy)", "Pearson's r)", "RMSE)"]
    frame = compared.frame.set_index("row")
    full, lora = (next(row for row in frame.index if name in row) for name in ("full", "LoRA"))
    assert frame["mean_rank"].to_dict() == {full: 1.25, lora: 1.75}
    assert frame["win_rate"].to_dict() == {full: 0.75, lora: 0.25}
    assert frame["iqm"].isna().all()
    assert "there are no rescaled scores" in compared.notes[0]
    table = str(found.table())
    assert table.startswith("Primary metric (test, last epoch)")
    assert all(text in table for text in ("50.20 ± 0.10", "70.20 ± 0.10", "0.8020 ± 0.0010", "3.0020 ± 0.001"))
    with pytest.raises(UserError, match="there is no metric 'primry', did you mean 'primary'"):
        found.table("primry")


def test_a_report_answers_by_the_primary_metric_of_each_dataset(tmp_path: Path, make_spec) -> None:
    found = of_different_metrics(tmp_path, make_spec)
    out = tmp_path / "report"
    report = compose(found.records, Choices(formats=("svg",)), out)
    write_all(report, out)
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "(MCC): full fine-tuning is best by mean MCC" in page.replace("Full", "full")
    assert "(RMSE): full fine-tuning is best by mean RMSE" in page.replace("Full", "full")
    assert "(Pearson's r): LoRA is best by mean Pearson's r" in page
    assert (out / "tables" / "across-primary.csv").exists()
    assert [table.spec.metric for table in report.tables][0] == "primary"


def test_three_datasets_are_compared_and_drawn(tmp_path: Path, make_spec) -> None:
    found = results(tmp_path, make_spec, 3)
    frame = found.across_datasets().frame
    assert frame["row"].str.contains("LoRA").tolist() == [False, True]
    assert frame["mean_rank"].tolist() == [1.0, 2.0]
    assert frame["win_rate"].tolist() == [1.0, 0.0]
    assert found.critical_difference().axes
    out = tmp_path / "report"
    report = compose(found.records, Choices(formats=("svg",)), out)
    write_all(report, out)
    written = pd.read_csv(out / "tables" / "across-macro-f1.csv")
    assert written["mean_rank"].tolist() == [1.0, 2.0]
    tex = (out / "tables" / "across-macro-f1.tex").read_text(encoding="utf-8")
    assert r"\label{tab:across-macro-f1}" in tex
    assert len([line for line in tex.split("\n") if line.endswith(r" \\")]) == 3
    assert (out / "figures" / "across-macro-f1.svg").exists()
    page = markdown_page(report.title, report.sections)
    assert "the smallest p that Friedman's test can reach with so few is 0.25" in page


def test_two_datasets_are_refused_in_words(tmp_path: Path, make_spec) -> None:
    found = results(tmp_path, make_spec, 2)
    compared = found.across_datasets()
    assert compared.compared is None
    assert compared.frame.empty
    assert "at least 3 datasets" in compared.notes[0]
    assert "at least 3 datasets" in compared._repr_html_()
    with pytest.raises(UserError, match="at least 3 datasets"):
        found.critical_difference()
    section = across_section([("accuracy", compared), ("macro-F1", compared)])
    (reasons,) = section.blocks
    assert section.parts == (), "nothing is compared, so that no definition is needed"
    assert [line.count("at least 3 datasets") for line in reasons.items] == [1]


def test_a_row_with_a_failed_trial_takes_no_part_and_is_named(tmp_path: Path, make_spec) -> None:
    compared = results(tmp_path, make_spec, 3, failed=True).across_datasets()
    assert compared.compared is None
    assert "takes no part" in compared.notes[1]
