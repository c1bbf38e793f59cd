"""Figures of searches: what is drawn is what search.json says, and nothing where there is nothing to say."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from analysis.cells import cells
from analysis.figures.figures import figures_of
from analysis.figures.search_figures import search_figures
from analysis.figures.search_plots import (
    contour,
    history,
    importance_bars,
    objectives,
    running_mean,
    sensitivity,
    slice_of,
)
from analysis.paper.spec import read_paper
from analysis.report.report import KINDS
from analysis.search import SearchResult, search_results
from analysis.search_statistics import (
    expected_best,
    expected_score,
    importances,
    near,
    random_trials,
    why_no_expected_best,
)
from analysis.sweep_records import read_sweeps
from tests.support.drawings import titles
from tests.support.search_stores import SETTLED, SPACE, trial, write
from tunekit.schema import TrialSpec
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import SearchStudy, SearchTrial, TrialState

MINE = ("sensitivity", "budget", "history", "slice", "contour", "importance", "front")


def frame(*rows):
    """Trials as the plots take them: learning rate, score, state."""
    return pd.DataFrame(
        [(n, *row, f"lr {row[0]:g}") for n, row in enumerate(rows)],
        columns=["number", "learning_rate", "score", "state", "label"],
    )


TRIALS = frame((1e-4, 60.0, "complete"), (1e-3, 70.0, "complete"), (2e-3, 69.5, "complete"), (1e-2, 40.0, "pruned"),
               (1e-1, np.nan, "failed"))  # fmt: skip


def a_study(values, **changes):
    """A study whose complete trials have ``values``, number by number, learning rates rising, ranks in turn."""
    ranks = SPACE["r"]["choices"]
    trials = tuple(
        SearchTrial(
            number=n, params={"learning_rate": 1e-5 * 1.3**n, "r": ranks[n * n % len(ranks)]},
            state=TrialState.COMPLETE, values=(value,), epochs=2, seconds=1.0, trial_ids=(f"{n:012d}",),
        )
        for n, value in enumerate(values)
    )  # fmt: skip
    study = SearchStudy(**{**SETTLED, "trials": trials, **changes})
    named = {"model_name": "Tiny BERT", "method_name": "LoRA", "dataset_name": "Demo"}
    return SearchResult(study=study, **named, params={}, missing=0, roles=())


RANDOM = {"sampler": "random", "scheduler": "none"}


def test_sensitivity_draws_complete_trials_filled_and_names_the_range_near_the_best():
    figure = Figure()
    ax = figure.subplots()
    assert sensitivity({"LoRA": TRIALS}, {"LoRA": (1e-3, 2e-3)}, ax, "macro-F1", "1 point") is ax
    filled, hollow = ax.collections[:2]
    np.testing.assert_allclose(filled.get_offsets(), [(1e-4, 60), (1e-3, 70), (2e-3, 69.5)])
    np.testing.assert_allclose(hollow.get_offsets(), [(1e-2, 40)])
    bar = ax.lines[0]
    np.testing.assert_allclose(bar.get_xdata(), [1e-3, 2e-3])
    assert ax.get_legend_handles_labels()[1] == ["LoRA: within 1 point of its best at 0.001 to 0.002"]
    assert titles(figure)[0] == "LoRA, trial 0 (complete): 60.00, lr 0.0001"


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-5, -2), st.floats(0, 100)), min_size=1, max_size=12))
def test_the_running_mean_stays_among_its_scores(points):
    rates, scores = 10 ** np.array([x for x, _ in points]), np.array([y for _, y in points])
    _, mean, std = running_mean(rates, scores)
    seen = mean[np.isfinite(mean)]
    assert len(seen)
    assert scores.min() - 1e-6 <= seen.min()
    assert seen.max() <= scores.max() + 1e-6
    assert np.nanmin(std) >= 0


def test_the_running_mean_is_not_drawn_where_there_is_no_trial():
    rates, mean, _ = running_mean(np.array([1e-5, 1e-2]), np.array([1.0, 2.0]))
    assert np.isnan(mean[np.argmin(abs(np.log10(rates) + 3.5))])
    assert mean[0] == pytest.approx(1)


@pytest.mark.parametrize(("maximise", "expected"), [(True, [60, 70, 70]), (False, [60, 60, 60])])
def test_history_is_the_best_complete_so_far(maximise, expected):
    ax = history(TRIALS, Figure().subplots(), "macro-F1", maximise=maximise)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), expected)
    assert ax.get_legend_handles_labels()[1] == ["best so far", "complete", "pruned", "failed"]


def test_a_slice_has_a_place_for_every_value():
    scored = TRIALS.dropna(subset=["score"])
    ax = slice_of(scored, "learning_rate", Figure().subplots(), "learning rate", log=True)
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 0], [1e-4, 1e-3, 2e-3])
    named = scored.assign(alpha=["r", 8, "2r", "r"])
    ax = slice_of(named, "alpha", Figure().subplots(), "alpha", log=False)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["r", "8", "2r"]
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 0], [0, 1, 2])


def test_a_contour_needs_an_area_and_averages_one_place():
    rows = [(1e-4, 2, 10.0), (1e-4, 8, 20.0), (1e-3, 2, 30.0), (1e-3, 2, 50.0)]
    trials = pd.DataFrame(rows, columns=["rate", "r", "score"]).assign(number=range(4), state="complete")
    figure = Figure()
    ax = contour(trials, ("rate", "r"), (True, True), figure.subplots(), "macro-F1")
    assert figure.axes[0] is ax
    low, high = figure.axes[1].get_ylim()
    assert (low, high) == pytest.approx((10, 40), abs=3)
    for line in (trials.assign(r=2), trials.assign(r=trials["rate"] * 1e4)):
        with pytest.raises(ValueError, match="no area"):
            contour(line, ("rate", "r"), (True, True), Figure().subplots(), "macro-F1")


def test_bars_are_the_shares():
    ax = importance_bars({"learning rate": 0.75, "r": 0.25}, Figure().subplots())
    assert [bar.get_width() for bar in ax.patches] == [75, 25]
    assert [text.get_text() for text in ax.texts] == ["75 %", "25 %"]


def test_the_front_is_joined_by_a_line_and_numbered():
    rows = [(0, 60.0, 100, True), (1, 55.0, 200, False), (2, 70.0, 400, True)]
    trials = pd.DataFrame(rows, columns=["number", "score", "second", "front"])
    ax = objectives(trials, Figure().subplots(), ("macro-F1", "parameters"))
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [(100, 60), (200, 55), (400, 70)])
    np.testing.assert_allclose(ax.lines[0].get_xydata()[:2], [(100, 60), (400, 70)])
    assert [text.get_text() for text in ax.texts] == ["0", "2"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_the_expected_best_is_the_mean_over_all_draws(values):
    found = expected_best(values)
    for n, mean, std in found.itertuples(index=False):
        bests = [max(draw) for draw in combinations(values, int(n))]
        assert mean == pytest.approx(np.mean(bests), abs=1e-9)
        assert std == pytest.approx(np.std(bests), abs=1e-6)


def test_the_caption_of_the_budget_counts_one_epoch_as_one():
    one = a_study([0.3, 0.5, 0.6, 0.4], **RANDOM)
    trials = tuple(replace(trial, epochs=1) for trial in one.study.trials)
    figures = search_figures([replace(one, study=replace(one.study, trials=trials))])
    (found,) = [figure for figure in figures if figure.kind == "budget"]
    assert "of 1 epoch each" in found.caption


def test_the_budget_is_of_independent_random_trials_alone():
    values = [0.9, 0.5, 0.6, 0.7]
    one = a_study(values, **RANDOM)
    assert why_no_expected_best(one) is None
    assert [trial.number for trial in random_trials(one)] == [1, 2, 3]  # nobody drew the default
    assert "independent" in why_no_expected_best(a_study(values, sampler="tpe", scheduler="none"))
    assert "stopped trials" in why_no_expected_best(a_study(values, sampler="random", scheduler="asha"))
    assert "2 random trials" in why_no_expected_best(a_study(values[:3], **RANDOM))
    assert [captioned.kind for captioned in search_figures([one])].count("budget") == 1
    assert "budget" not in [captioned.kind for captioned in search_figures([a_study(values)])]


def test_a_repeated_suggestion_is_drawn_once():
    one = a_study([0.9, 0.5, 0.6, 0.7], **RANDOM)
    again = SearchTrial(**{**vars(one.study.trials[2]), "number": 4, "epochs": 0})
    repeated = a_study([], trials=(*one.study.trials, again), **RANDOM)
    assert random_trials(repeated) == random_trials(one)


def test_a_failed_trial_counts_as_nothing_gained_and_is_said():
    one = a_study([0.9, 0.5, 0.6, 0.7], **RANDOM)
    failed = SearchTrial(**{**vars(one.study.trials[3]), "state": TrialState.FAILED, "values": None})
    (captioned,) = [p for p in search_figures([a_study([], trials=(*one.study.trials[:3], failed), **RANDOM)])
                if p.kind == "budget"]  # fmt: skip
    assert "1 failed trials count as 0" in captioned.caption
    drawn_means = captioned.figure.axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(drawn_means[[0, -1]], [100 * np.mean([0.5, 0.6, 0]), 60])


def test_importance_finds_the_parameter_that_decides():
    rates = np.arange(24)
    one = a_study([0.9 - 0.02 * abs(n - 12) for n in rates])
    shares = importances(one)
    assert list(shares)[0] == "learning_rate"
    assert sum(shares.values()) == pytest.approx(1)
    assert "9 complete trials" in importances(a_study([0.1 * n for n in range(9)]))
    assert "one parameter" in importances(a_study([0.1] * 12, space={"r": SPACE["r"]}))
    assert "one score" in importances(a_study([0.5] * 12))
    low = {"learning_rate": {**SPACE["learning_rate"], "high": 2e-5}, "r": SPACE["r"]}
    assert "outside the space" in importances(a_study([0.9 - 0.01 * n for n in rates], space=low))


@pytest.mark.slow
def test_a_real_study_has_all_its_figures_once(tmp_path):
    store = ResultStore(tmp_path / "sweep")
    trials = []
    for number in range(12):
        params = {"r": SPACE["r"]["choices"][number * number % 6]}
        spec = TrialSpec(model="tiny-bert", dataset="demo", method="lora", method_params=params, seed=1,
                         learning_rate=1e-5 * 1.6**number)  # fmt: skip
        found = trial(store, spec, number, [0.5 + 0.03 * number * (12 - number) / 4])
        trials.append(SearchTrial(**{**vars(found), "values": (found.values[0], 100.0 + number)}))
    two = {"objectives": ("macro_f1", "num_trainable_params"), "directions": ("maximize", "minimize")}
    write(store, {"trials": tuple(trials), **two, **RANDOM})
    records = read_sweeps([store.root])
    figures = figures_of(records, cells(records))
    assert [captioned.kind for captioned in figures] == list(MINE)
    assert set(MINE) <= set(KINDS)
    assert len({captioned.stem for captioned in figures}) == len(figures)
    for captioned in figures:
        assert titles(captioned.figure) or captioned.kind == "importance"


RMSE = {"dataset": "demo-regression", "objectives": ("rmse",), "directions": ("minimize",)}


def test_less_may_be_better():
    one = a_study([3.0, 2.01, 2.0, 2.03, 4.0], **RMSE, **RANDOM)
    assert [trial.number for trial in one.complete] == [2, 1, 3, 0, 4]
    assert [trial.number for trial in near(one)] == [1, 2]
    (captioned,) = [found for found in search_figures([one]) if found.kind == "sensitivity"]
    assert captioned.figure.axes[0].get_legend_handles_labels()[1] == [
        "LoRA: within 1 % of its best at 1.3e-5 to 1.69e-5"
    ]
    assert "within 1 % of the method's best" in captioned.caption
    expected = expected_score(one)["mean"].tolist()  # trial 0 is the default, which nobody drew
    assert expected == pytest.approx([np.mean([2.01, 2.0, 2.03, 4.0]), (3 * 2.0 + 2 * 2.01 + 2.03) / 6, 2.0025, 2.0])


def test_a_failed_trial_counts_as_the_worst_value_where_there_is_one():
    lost = SearchTrial(
        number=9, params={}, state=TrialState.FAILED, values=None, epochs=1, seconds=1.0, trial_ids=("x",)
    )
    unbounded, shares, correlations = (
        a_study([0.5] * 4, **RANDOM, **changes)
        for changes in (RMSE, {}, {**RMSE, "objectives": ("pearson",), "directions": ("maximize",)})
    )
    unbounded, shares, correlations = (
        replace(one, study=replace(one.study, trials=(*one.study.trials, lost)))
        for one in (unbounded, shares, correlations)
    )
    assert why_no_expected_best(unbounded) == "trials failed, and RMSE has no worst value that could stand for them"
    assert why_no_expected_best(shares) is None
    assert expected_score(shares)["mean"][0] == pytest.approx(0.375)
    assert expected_score(correlations)["mean"][0] == pytest.approx(0.125)


def test_nothing_is_drawn_of_a_study_without_complete_trials():
    assert search_figures([a_study([])]) == []


def test_a_paper_may_ask_for_them(tmp_path):
    (tmp_path / "paper.yaml").write_text("sweeps: [sweep]\nfigures: [sensitivity, budget]\n")
    assert read_paper(tmp_path / "paper.yaml").figures == ("sensitivity", "budget")


def test_the_series_of_one_method_searched_twice_are_told_apart():
    found = [a_study([0.5, 0.6, 0.7]), a_study([0.6, 0.7, 0.8], sampler="gp")]
    (captioned,) = [one for one in search_figures(found) if one.kind == "sensitivity"]
    labels = captioned.figure.axes[0].get_legend_handles_labels()[1]
    assert [label.split(":")[0] for label in labels] == ["LoRA, tpe", "LoRA, gp"]


def test_searches_are_read_through_the_study(tmp_path):
    store = ResultStore(tmp_path / "sweep")
    store.trials_folder.mkdir(parents=True)
    write(store, {"method": "full"})
    records = read_sweeps([store.root])
    assert [one.study.method for one in search_results(records, [])] == ["full"]
