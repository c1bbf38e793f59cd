"""Curves: what is drawn is the mean and the sample std of the seeds; the same data gives the same bytes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.figures.captioned import CaptionedFigure, save
from analysis.figures.curves import learning_curves, loss_curve, score_curve, share_limits

SEEDS, EPOCHS = 3, 4


@pytest.fixture
def epochs():
    rng = np.random.default_rng(0)
    rows = [(seed, epoch) for seed in range(SEEDS) for epoch in range(1, EPOCHS + 1)]
    frame = pd.DataFrame(rows, columns=["seed", "epoch"])
    names = ("train_loss", "test_accuracy", "test_micro_f1", "test_macro_f1")
    return frame.assign(step=12 * frame["epoch"], **{name: rng.random(len(frame)) for name in names})


def steps(count):
    rows = [(seed, step, 1 / step + seed) for seed in range(SEEDS) for step in range(1, count + 1)]
    return pd.DataFrame(rows, columns=["seed", "step", "train_loss"])


def test_a_score_curve_is_the_mean_the_band_and_every_seed(epochs):
    ax = Figure().subplots()
    assert score_curve(epochs, "test_macro_f1", ax) is ax
    values = epochs.pivot_table(index="epoch", columns="seed", values="test_macro_f1").to_numpy() * 100
    assert len(ax.lines) == SEEDS + 1
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), values.mean(axis=1))
    corners = ax.collections[0].get_paths()[0].vertices
    mean, std = values.mean(axis=1), values.std(axis=1, ddof=1)
    for epoch in range(EPOCHS):
        drawn = corners[corners[:, 0] == epoch + 1, 1]
        assert (drawn.min(), drawn.max()) == pytest.approx((mean[epoch] - std[epoch], mean[epoch] + std[epoch]))


@pytest.mark.parametrize(("count", "points"), [(48, 48), (1000, 334)])
def test_the_loss_is_the_mean_of_each_epoch_over_its_faint_steps(count, points):
    frame = steps(count)
    ax = loss_curve(frame, Figure().subplots(), count / EPOCHS)
    assert len(ax.lines[0].get_xdata()) == points
    assert max(ax.lines[0].get_xdata()) == EPOCHS
    np.testing.assert_allclose(ax.lines[-1].get_xdata(), np.arange(EPOCHS) + 0.5)
    means = frame.sort_values(["step", "seed"])["train_loss"].to_numpy().reshape(EPOCHS, -1).mean(axis=1)
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), means)


def test_a_trial_that_ran_fewer_epochs_keeps_its_place_on_the_axis():
    frame = steps(48)
    shorter = frame[(frame["seed"] > 0) | (frame["step"] <= 24)]
    ax = loss_curve(shorter, Figure().subplots(), 12)
    assert np.nanmax(np.where(np.isnan(ax.lines[0].get_ydata()), np.nan, ax.lines[0].get_xdata())) == 2
    assert max(ax.lines[1].get_xdata()) == EPOCHS


def test_losses_and_scores_have_the_same_axis_of_epochs(epochs):
    losses, scores = learning_curves(steps(48), epochs, "test", "a").axes
    assert losses.get_xlim() == scores.get_xlim()
    assert losses.get_xlabel() == scores.get_xlabel() == "epoch"


@pytest.mark.parametrize("same", [True, False])
def test_micro_f1_is_left_out_where_it_equals_accuracy(epochs, same):
    frame = epochs.assign(test_micro_f1=epochs["test_accuracy"]) if same else epochs
    scores = learning_curves(None, frame, "test", "a").axes[1]
    assert any("icro" in label for label in scores.get_legend_handles_labels()[1]) != same


def test_compared_figures_share_their_limits(epochs):
    figures = [
        learning_curves(steps(9), epochs, "test", "a"),
        learning_curves(None, epochs.assign(test_accuracy=2), "test", "b"),
    ]
    share_limits([figure.axes for figure in figures])
    for panel in range(2):
        assert figures[0].axes[panel].get_ylim() == figures[1].axes[panel].get_ylim()


def test_fewer_seeds_at_later_epochs_are_said(epochs):
    figure = learning_curves(None, epochs[(epochs["seed"] > 0) | (epochs["epoch"] < 3)], "test", "a")
    assert figure.axes[1].get_xlabel() == "epoch (fewer seeds from epoch 3)"


@pytest.mark.slow
def test_files_are_the_same_bytes_each_time_whatever_the_name(epochs, tmp_path):
    written = []
    for folder in ("one", "two"):
        figure = learning_curves(steps(9), epochs, "test", r"$\frac$ <script> _x_ $")
        written.append(
            [
                path.read_bytes()
                for path in save([CaptionedFigure("figure-01", "", "curves", figure)], tmp_path / folder)
            ]
        )
    assert written[0] == written[1]
    assert b"<script>" not in written[0][1]
