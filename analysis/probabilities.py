"""Calibration, ensembles of seeds and overlap of errors, from the stored logits of cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np

from analysis.cells import Cell
from analysis.logits import CellLogits, logits_of
from analysis.statistics.calibration import (
    BinnedRun,
    FloatArray,
    IntArray,
    brier,
    calibration_error,
    ensemble,
    error_overlap,
    fitted_temperature,
    log_probabilities,
    negative_log_likelihood,
)
from analysis.statistics.crossed_interval import crossed_interval
from analysis.statistics.resampling import STATISTICS
from analysis.statistics.this_set import Interval

Estimated = tuple[float, Interval | None]
"""A value and its 95 % interval over new seeds and new items; None below three seeds, and where nothing varies."""


@dataclass(frozen=True)
class Calibration:
    """The calibration of one cell's probabilities, mean over seeds."""

    cell: Cell
    n: int
    nll: Estimated
    """The negative log likelihood of an item, in nats."""
    brier: Estimated
    """The Brier score of an item, in [0, 2]."""
    error: Estimated | None
    """The debiased calibration error, in [0, 1]; None where there are too few items."""
    temperature: float | None
    """The mean of the seeds' temperatures, each fitted on validation; None where there is no validation part."""
    scaled_nll: Estimated | None
    """The negative log likelihood once each seed's logits are divided by its temperature."""
    scaled_error: Estimated | None
    """The calibration error once each seed's logits are divided by its temperature."""


def calibration(cell: Cell, found: CellLogits) -> Calibration:
    """Return the calibration of ``cell``, whose logits on the split that it scored are ``found``.

    Raises DamagedRecord where its predictions on validation can't be read.
    """
    log_probs = log_probabilities(found.logits)
    held_out = logits_of(cell, "val") if cell.split == "test" else None
    temperatures, scaled = None, None
    if held_out is not None:
        temperatures = np.array([fitted_temperature(logits, held_out.gold) for logits in held_out.logits])
        scaled = log_probabilities(found.logits / temperatures[:, None, None])
    return Calibration(
        cell=cell,
        n=len(found.logits),
        nll=_mean(negative_log_likelihood(log_probs, found.gold), found),
        brier=_mean(brier(log_probs, found.gold), found, (0.0, 2.0)),
        error=_error(log_probs, found),
        temperature=None if temperatures is None else float(temperatures.mean()),
        scaled_nll=None if scaled is None else _mean(negative_log_likelihood(scaled, found.gold), found),
        scaled_error=None if scaled is None else _error(scaled, found),
    )


def _mean(values: FloatArray, found: CellLogits, bounds: tuple[float, float] = (0.0, np.inf)) -> Estimated:
    """Return the mean of ``values`` (S, N) over seeds and items, with its interval."""

    def statistic(seeds: Sequence[IntArray], weights: FloatArray) -> FloatArray:
        return np.asarray(weights @ values[seeds[0]].mean(axis=0) / weights.sum(axis=1))

    return crossed_interval(statistic, [len(values)], found.gold, found.groups, bounds)


def _error(log_probs: FloatArray, found: CellLogits) -> Estimated | None:
    """Return the mean over seeds of the calibration error; None where there are too few items."""
    try:
        runs = [BinnedRun.of(one, found.gold) for one in log_probs]
    except ValueError:
        return None  # too few items for two bins

    def statistic(seeds: Sequence[IntArray], weights: FloatArray) -> FloatArray:
        return np.asarray(np.mean([calibration_error(runs[seed], weights) for seed in seeds[0]], axis=0))

    return crossed_interval(statistic, [len(runs)], found.gold, found.groups, (0.0, 1.0))


@dataclass(frozen=True)
class EnsembleGain:
    """The score of an ensemble, the mean of all seeds' probabilities, beside the mean score of single seeds."""

    cell: Cell
    n: int
    metric: str
    single: float
    """The mean score of single seeds, in [0, 1]."""
    together: float
    """The score of the ensemble, in [0, 1]."""
    gain: Estimated
    """The difference, for an ensemble of this many seeds."""


def ensemble_gains(
    cell: Cell, found: CellLogits, metrics: Sequence[str] = ("accuracy", "macro_f1")
) -> list[EnsembleGain]:
    """Return what an ensemble of the seeds of ``cell``, with the logits ``found``, gains; empty below two seeds."""
    if len(found.logits) < 2:
        return []
    log_probs = log_probabilities(found.logits)
    num_classes = log_probs.shape[-1]

    @cache
    def together(seeds: tuple[int, ...]) -> IntArray:
        return np.asarray(ensemble(log_probs[list(seeds)]).argmax(axis=-1))

    gains = []
    for metric in metrics:

        def score(predicted: IntArray, weights: FloatArray, metric: str = metric) -> FloatArray:
            return _score(metric, found.gold, predicted, weights, num_classes)

        def parts(seeds: IntArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
            single = np.mean([score(found.predicted[seed], weights) for seed in seeds], axis=0)
            return single, score(together(tuple(seeds.tolist())), weights)

        def statistic(seeds: Sequence[IntArray], weights: FloatArray) -> FloatArray:
            single, joint = parts(seeds[0], weights)
            return joint - single

        count = len(log_probs)
        single, joint = (float(one[0]) for one in parts(np.arange(count), np.ones((1, len(found.gold)))))
        gain = crossed_interval(statistic, [count], found.gold, found.groups)
        gains.append(EnsembleGain(cell, count, metric, single, joint, gain))
    return gains


def _score(metric: str, gold: IntArray, predicted: IntArray, weights: FloatArray, num_classes: int) -> FloatArray:
    """Return a metric (D,) of one run's labels (N,), items weighed by ``weights`` (D, N)."""
    right = (predicted == gold).astype(np.float64)
    if metric == "accuracy":
        return np.asarray(weights @ right / weights.sum(axis=1))
    of_gold, of_predicted = np.eye(num_classes)[gold], np.eye(num_classes)[predicted]  # (N, C)
    counts = [weights @ of_class for of_class in (of_gold * right[:, None], of_gold, of_predicted)]
    return STATISTICS[metric](np.stack(counts, axis=1))


@dataclass(frozen=True)
class Overlap:
    """The overlap of two cells' errors. Both are the same cell for the overlap of its own seeds."""

    first: Cell
    second: Cell
    kappa: Estimated
    """Cohen's kappa of the errors, mean over the pairs of runs that have one."""
    one_right: float
    """The share of items on which at least one run of a pair is right, mean over pairs, in [0, 1]."""


def overlaps(members: Sequence[tuple[Cell, CellLogits]]) -> list[Overlap]:
    """Return the overlap of each of ``members``, at least one cell of one dataset, with itself and with each other.

    A cell with one seed has none with itself. Cells that were scored on other items than the first are left out.
    """
    first = members[0][1]
    kept = [(cell, one) for cell, one in members if one.items == first.items and np.array_equal(one.gold, first.gold)]
    wrong = [(cell, (one.predicted != one.gold).astype(float)) for cell, one in kept]
    within = [_overlap(cell, errors, cell, errors, first) for cell, errors in wrong if len(errors) > 1]
    between = [_overlap(a, of_a, b, of_b, first) for (a, of_a), (b, of_b) in combinations(wrong, 2)]
    return [one for one in (*within, *between) if one is not None]


def _overlap(a: Cell, of_a: FloatArray, b: Cell, of_b: FloatArray, found: CellLogits) -> Overlap | None:
    """Return the overlap of two cells' errors (S, N) each; None where no pair of runs has a kappa."""
    same = a is b

    def pairs(rows: int, columns: int) -> tuple[IntArray, IntArray]:
        """Return the numbers of the runs of each pair. A run is not paired with itself."""
        first, second = np.triu_indices(rows, 1) if same else np.indices((rows, columns)).reshape(2, -1)
        return first, second

    def statistic(seeds: Sequence[IntArray], weights: FloatArray) -> FloatArray:
        first, second = pairs(len(seeds[0]), len(seeds[-1]))
        kappas = error_overlap(of_a[seeds[0]], of_b[seeds[-1]], weights)[:, first, second]
        known = np.isfinite(kappas)
        return np.asarray(np.where(known, kappas, 0.0).sum(axis=1) / np.maximum(1, known.sum(axis=1)))

    first, second = pairs(len(of_a), len(of_b))
    every = error_overlap(of_a, of_b, np.ones((1, len(found.gold))))[0]
    if not np.isfinite(every[first, second]).all():
        return None
    counts = [len(of_a)] if same else [len(of_a), len(of_b)]
    kappa = crossed_interval(statistic, counts, found.gold, found.groups, (-1.0, 1.0))
    one_right = np.mean([1 - np.mean(of_a[i] * of_b[j]) for i, j in zip(first, second, strict=True)])
    return Overlap(a, b, kappa, float(one_right))
