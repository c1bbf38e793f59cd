"""Plots beside the curves: what is drawn is what the data say, and hover values are in the SVG."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from analysis.compare import SHARE
from analysis.figures.drawing import freeze_layout, hover
from analysis.figures.plots import confusion_matrix, pareto, score_against_cost, seed_spread
from tests.support.drawings import element, titles
from tunekit.tasks import TASKS

HOSTILE = r'$\frac$ <script>alert("x")</script> _a_'


def points(*rows):
    return pd.DataFrame(
        [(f"row {n}", *row) for n, row in enumerate(rows)], columns=["label", "cost", "score", "low", "high"]
    )


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_betters(pairs):
    frame = pd.DataFrame(pairs, columns=["cost", "score"])
    on_front = pareto(frame)
    for n, (cost, score) in enumerate(pairs):
        beaten = any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in pairs)
        assert on_front[n] == (not beaten)
    errors = frame.assign(score=-frame["score"])
    assert pareto(errors, TASKS["regression"].metric("rmse")).equals(on_front)


def test_cost_has_a_point_a_cell_at_its_value_its_interval_and_a_line_on_the_front():
    frame = points((10, 0.8, 0.75, 0.85), (1000, 0.9, np.nan, np.nan), (500, 0.7, 0.6, 0.8))
    figure = Figure()
    ax = figure.subplots()
    assert score_against_cost(frame, ax, replace(SHARE, label="macro-F1"), "parameters") is ax
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [(10, 80), (1000, 90), (500, 70)])
    (front,) = ax.lines
    np.testing.assert_allclose(front.get_xydata(), [(10, 80), (1000, 90), (ax.get_xlim()[1], 90)])
    assert [text.get_fontweight() for text in ax.texts] == ["bold", "bold", "normal"]
    assert titles(figure) == [
        "row 0: macro-F1 80.00 [75.00, 85.00], parameters 10",
        "row 1: macro-F1 90.00, parameters 1,000",
        "row 2: macro-F1 70.00 [60.00, 80.00], parameters 500",
    ]


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(50, 52)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=25)
def test_points_stand_at_their_values_and_numbers_of_close_points_apart(pairs):
    frame = points(*((100 * cost, score / 100, np.nan, np.nan) for cost, score in pairs), (9000, 0.1, 0.05, 0.9))
    ax = score_against_cost(frame, Figure().subplots())
    expected = [*((100 * cost, score) for cost, score in pairs), (9000, 10)]
    np.testing.assert_allclose(ax.collections[0].get_offsets(), expected)
    assert [text.get_text() for text in ax.texts] == [str(n + 1) for n in range(len(expected))]
    places = [(*text.xy, *text.get_position()) for text in ax.texts]
    assert len(set(places)) == len(places), "no number hides another"


@pytest.mark.parametrize("costs", [(10, 11), (10, 1e6), (5, 5)])
def test_the_cost_axis_shows_two_ticks_or_more_and_every_point(costs):
    figure = Figure()
    ax = score_against_cost(points(*((cost, 0.5, np.nan, np.nan) for cost in costs)), figure.subplots())
    freeze_layout(figure)
    low, high = ax.get_xlim()
    assert len([tick for tick in ax.get_xticks() if low <= tick <= high]) > 1
    assert low < min(costs) <= max(costs) < high


def test_confusion_prints_shares_and_leaves_absent_classes_blank():
    shares = np.array([[0.75, 0.25], [np.nan, np.nan]])
    figure = Figure()
    ax = confusion_matrix(shares, ["yes", HOSTILE], figure.subplots())
    assert [text.get_text() for text in ax.texts] == ["75.0", "25.0"]
    assert titles(figure) == ["gold yes, predicted yes: 75.00 %", f"gold yes, predicted {HOSTILE}: 25.00 %"]


def test_every_seed_is_a_point_and_equal_scores_do_not_hide_each_other():
    frame = pd.DataFrame({"row": ["a"] * 3, "seed": [1, 2, 3], "score": [0.5, 0.5, 0.8]})
    figure = Figure()
    dots, bar = seed_spread(frame, figure.subplots()).collections[:2]
    assert bar.get_segments()[0][0, 0] == pytest.approx(60)
    drawn = list(map(tuple, dots.get_offsets()))
    assert len(set(drawn)) == 3
    assert drawn[2] == (80, 0)
    assert titles(figure)[0] == "a: mean 60.00 ± 17.32 (n = 3)"


def test_svg_of_hostile_names_is_text_and_ids_do_not_collide():
    figure = Figure()
    ax = figure.subplots()
    ax.plot([1, 2], [1, 2], label="a")
    hover(ax, [1], [1], [HOSTILE])
    one, two = (element(figure, stem) for stem in ("a", "b"))
    roots = [ElementTree.fromstring(text) for text in (one, two)]
    ids = [{part.get("id") for part in root.iter()} - {None} for root in roots]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert not [part for part in roots[0].iter() if part.tag.endswith("script")]
    assert titles(figure) == [HOSTILE]
    assert "#000000" not in one
