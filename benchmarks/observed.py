"""The released study's variance of seeds, items and habits, and how often its tables err at these values.

Whether a run predicts an item rightly varies for four reasons: the seed makes a whole run better or worse, the item is
hard for every method, a method has a habit of its own on the item, and the rest belongs to the run and the item alone.
The study is the one of ``docs/results.md``; its predictions on test give the four variances by the
method of moments. Simulated studies with these variances and no difference between methods then show how often a row is
called worse than the best, and studies with a gap show how often the gap is found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from analysis.cell_predictions import predictions_of
from analysis.cells import cells
from analysis.statistics.new_text import SeedPredictions
from analysis.sweep_records import read_sweeps
from benchmarks.conclusions import comparisons_of, worse_rows
from benchmarks.support.harness import Outcome

STUDY = Path(__file__).parents[1] / "docs" / "results" / "study-minilm"
NULLS, STUDIES = 1000, 500
"""The simulated studies without a difference, and those with one, at each number of seeds."""
SEEDS = (3, 5, 10, 20)
GAP = 0.05
"""What the first row of a study with a gap has in expected accuracy above the others."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Components:
    """The variance of whether a prediction is right (0 or 1), over R methods, S seeds and I test items of a dataset."""

    accuracy: float
    """The mean accuracy over methods and seeds, in [0, 1]."""
    seed: float
    """The variance of a method's accuracy over seeds, without what the items of one test set add to it."""
    item: float
    """The covariance over items of two methods."""
    habit: float
    """The covariance over items of two seeds of one method, less ``item``."""
    rest: float
    """What is left of the variance of a single prediction."""

    def of_difference(self, seeds: int, items: int) -> dict[str, float]:
        """Return the variance of the difference of two methods' mean accuracies, by its cause.

        Both methods have ``seeds`` seeds and the same ``items`` items, so that what is hard for both cancels.
        """
        return {
            "seeds": 2 * self.seed / seeds,
            "habits": 2 * self.habit / items,
            "rest": 2 * self.rest / (seeds * items),
        }


def run(quick: bool) -> Outcome:
    """Figures: for each dataset of the study its components, and the simulated errors and power at several seeds."""
    nulls, studies = (20, 5) if quick else (NULLS, STUDIES)
    found: dict[str, Any] = {}
    for dataset, rows in rows_of(STUDY):
        parts = components(rows)
        seeds, items = rows[0].predicted.shape
        found[dataset] = asdict(parts) | {
            "items": items,
            "seeds": seeds,
            "variance of a difference": parts.of_difference(seeds, items),
            "simulated": [simulated(parts, rows[0], one, nulls, studies) for one in SEEDS],
        }
    return Outcome(figures={"nulls": nulls, "studies": studies, "gap": GAP, "datasets": found})


def rows_of(sweep: Path) -> Iterator[tuple[str, list[SeedPredictions]]]:
    """Yield each dataset of the sweep with the predictions on test of each of its cells."""
    found = cells(read_sweeps([sweep]))
    for dataset in dict.fromkeys(cell.dataset for cell in found):
        yield dataset, [predictions_of(cell).predictions for cell in found if cell.dataset == dataset]


def components(rows: Sequence[SeedPredictions]) -> Components:
    """Return the components of R >= 2 methods with the same items and S >= 2 seeds each, by the method of moments."""
    hits = [(row.predicted == row.gold).astype(float) for row in rows]
    accuracy = float(np.mean([row.mean() for row in hits]))
    item = float(np.mean([_between(one, other).mean() for one, other in combinations(hits, 2)]))
    same = float(np.mean([_between(row, row)[~np.eye(len(row), dtype=bool)].mean() for row in hits]))
    one_run = float(np.mean([np.var(row, axis=1, ddof=1).mean() for row in hits]))
    rest = one_run - same
    over_seeds = float(np.mean([np.var(row.mean(axis=1), ddof=1) for row in hits]))
    seed = max(0.0, over_seeds - rest / hits[0].shape[1])
    return Components(accuracy, seed, item, max(0.0, same - item), rest)


def _between(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the covariances over items (S, S') of the seeds of two rows, (S, I) and (S', I)."""
    centred = [row - row.mean(axis=1, keepdims=True) for row in (one, other)]
    return np.asarray(centred[0] @ centred[1].T / (one.shape[1] - 1))


def simulated(parts: Components, like: SeedPredictions, seeds: int, nulls: int, studies: int) -> dict[str, Any]:
    """Return the percentages of simulated tables of three methods with an error, and of worse rows found at a gap.

    ``like`` gives the gold labels, from which those of each study are drawn anew.
    """
    rng = np.random.default_rng([seeds, len(like.gold)])
    wrong: dict[str, list[bool]] = {}
    found: dict[str, list[bool]] = {}
    for gap in [0.0] * nulls + [GAP] * studies:
        for test, p_of in comparisons_of([study(parts, like, seeds, gap, rng)]).items():
            (called,) = worse_rows(range(3), range(1), p_of)
            if gap:
                found.setdefault(test, []).extend(called[1:])
            else:
                wrong.setdefault(test, []).append(any(called))
    return {"seeds": seeds} | {
        test: {
            "wrong": round(100 * float(np.mean(wrong[test])), 1),
            "found": round(100 * float(np.mean(found[test])), 1),
        }
        for test in wrong
    }


def study(
    parts: Components, like: SeedPredictions, seeds: int, gap: float, rng: np.random.Generator
) -> list[SeedPredictions]:
    """Return the predictions of three methods, the first ``gap`` above the others in expected accuracy.

    A prediction is right where a normal value with mean m and variance 1 is above 0. The value is the sum of a part of
    the item, one of method and item, and one of the run and the item, whose variances give ``parts`` its covariances;
    the seed moves m. A wrong prediction is of a class that is drawn once an item, for all methods.
    """
    threshold = norm.ppf(parts.accuracy)
    shared, same = (_latent(parts.accuracy, one) for one in (parts.item, parts.item + parts.habit))
    spread = np.sqrt(parts.seed) / norm.pdf(threshold)
    gold = rng.choice(like.gold, len(like.gold))
    gold[: like.num_classes] = np.arange(like.num_classes)  # Each class occurs, as a test split of this kind has it.
    wrong = (gold + rng.integers(1, like.num_classes, len(gold))) % like.num_classes
    hard = np.sqrt(shared) * rng.standard_normal(len(gold))
    groups = np.arange(len(gold))
    rows = []
    for row in range(3):
        mean = norm.ppf(min(parts.accuracy + (gap if row == 0 else 0.0), 0.999))
        habit = np.sqrt(same - shared) * rng.standard_normal(len(gold))
        own = np.sqrt(1 - same) * rng.standard_normal((seeds, len(gold)))
        value = mean + spread * rng.standard_normal((seeds, 1)) + hard + habit + own
        rows.append(SeedPredictions(gold, np.where(value > 0, gold, wrong), groups, like.num_classes))
    return rows


def _latent(share: float, covariance: float) -> float:
    """Return the correlation of two normal values that are above a threshold with probability ``share`` each and whose
    being above it has the covariance; at most 0.999."""
    threshold = norm.ppf(share)

    def excess(correlation: float) -> float:
        both = multivariate_normal.cdf([threshold] * 2, cov=[[1.0, correlation], [correlation, 1.0]])
        return float(both) - share**2 - covariance

    if covariance <= 0 or excess(0.999) <= 0:
        return 0.0 if covariance <= 0 else 0.999
    return float(brentq(excess, 0.0, 0.999))
