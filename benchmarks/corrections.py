"""Which correction a table takes: error and power of four rules that say which rows are worse than the best.

Normal scores over seeds, tested by Welch's t. ``steps`` is the rule that tables use (``multiple.against_best``).
``comparisons`` is Holm over the comparisons with the best row, which is found in the same scores. ``all pairs`` is Holm
over every pair of rows. ``Hsu`` is multiple comparisons with the best (Hsu 1984, Annals of Statistics 12): each row is
compared with the best as the control of a one-sided Dunnett test, Bonferroni over columns.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.statistics.multiple import against_best, holm
from analysis.statistics.power import ALPHA
from benchmarks.support.harness import Outcome

FloatArray = npt.NDArray[np.float64]

STUDIES, DRAWS = 1000, 20_000
"""Studies of each design, and draws for a quantile of Dunnett's distribution."""
SHAPES = ((3, 3), (10, 3), (20, 1))
SEEDS = (3, 5, 10, 20)
STDS: Mapping[str, tuple[float, float]] = {"equal": (1.0, 1.0), "unequal": (0.25, 1.0)}
"""The standard deviations over seeds, by turns of the rows."""
NEAREST, FARTHEST = 0.5, 6.0
"""The gaps of the rows below the best at 5 seeds, in standard deviations; they shrink with the root of the seeds."""
AT_THREE = 3.0
"""By what the gaps are larger at 3 seeds, where hardly any of them would be found."""


def run(quick: bool) -> Outcome:
    """Figures: for each design and rule, the percentage of tables with an error, and of worse rows found."""
    studies = 5 if quick else STUDIES
    found = []
    for (rows, columns), seeds, stds in [((3, 3), 3, "equal")] if quick else product(SHAPES, SEEDS, STDS):
        scale = np.resize(STDS[stds], rows)
        gaps = np.append(0.0, np.linspace(NEAREST, FARTHEST, rows - 1)) * np.sqrt(5 / seeds)
        gaps *= AT_THREE if seeds == 3 else 1.0
        rng = np.random.default_rng([rows, columns, seeds])
        wrong, power = (
            [_called_worse(scale[:, None] * rng.standard_normal((columns, rows, seeds)) - gap[:, None])
             for _ in range(studies)]
            for gap in (np.zeros(rows), gaps)
        )  # fmt: skip
        design: dict[str, Any] = {"rows": rows, "columns": columns, "seeds": seeds, "stds": stds}
        for rule in wrong[0]:
            errors = [bool(study[rule].any()) for study in wrong]
            shares = [float(study[rule][:, 1:].mean()) for study in power]
            design[rule] = {"wrong": _percent(errors), "found": _percent(shares)}
        found.append(design)
        sys.stderr.write(f"{design}\n")
    return Outcome(figures={"studies": studies, "designs": found})


def _percent(values: Sequence[float]) -> float:
    return round(100 * float(np.mean(values)), 1)


def _called_worse(scores: FloatArray) -> dict[str, npt.NDArray[np.bool_]]:
    """Return, for each rule, which rows of scores (columns, rows, seeds) are called worse, (columns, rows)."""
    columns, rows, seeds = scores.shape
    variances = scores.var(axis=2, ddof=1) / seeds
    means = scores.mean(axis=2)
    total = variances[:, :, None] + variances[:, None, :]
    df = total**2 * (seeds - 1) / (variances[:, :, None] ** 2 + variances[:, None, :] ** 2)
    t = (means[:, :, None] - means[:, None, :]) / np.sqrt(total)
    p = 2 * stats.t.sf(np.abs(t), df)
    best = means.argmax(axis=1)
    others = [[row for row in range(rows) if row != top] for top in best]
    of_best = [[float(p[column, best[column], row]) for row in others[column]] for column in range(columns)]
    upper = np.triu_indices(rows, 1)
    adjusted = np.ones_like(p)
    adjusted[:, *upper] = np.reshape(holm(p[:, *upper].ravel().tolist()), (columns, -1))
    adjusted = np.minimum(adjusted, adjusted.transpose(0, 2, 1))
    flat = iter(holm([value for column in of_best for value in column]))
    by_rule = {
        "steps": against_best(of_best),
        "comparisons": [[next(flat) for _ in column] for column in of_best],
        "all pairs": [[adjusted[c, best[c], row] for row in others[c]] for c in range(columns)],
        "Hsu": [
            [
                0.0 if t[c, best[c], row] > _dunnett(rows, round(df[c, best[c], row]), ALPHA / columns) else 1.0
                for row in others[c]
            ]
            for c in range(columns)
        ],
    }
    called = {rule: np.zeros((columns, rows), dtype=bool) for rule in by_rule}
    for rule, values in by_rule.items():
        for column, of_column in enumerate(values):
            called[rule][column, others[column]] = np.array(of_column) <= ALPHA
    return called


@cache
def _dunnett(rows: int, df: int, alpha: float) -> float:
    """Return the upper quantile of the largest of the t of ``rows`` - 1 rows against one control."""
    rng = np.random.default_rng(1)
    control, others = rng.standard_normal((DRAWS, 1)), rng.standard_normal((DRAWS, rows - 1))
    spread = np.sqrt(rng.chisquare(df, (DRAWS, 1)) / df)
    return float(np.quantile(((others - control) / np.sqrt(2) / spread).max(axis=1), 1 - alpha))
