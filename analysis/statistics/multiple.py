"""Several tests at once: Holm's correction.

A score table corrects over every pair of rows of a column, not only over the pairs with the best row, since the best
row is found in the same scores: a row that looks worse than it may be worse than any of the others by luck alone.
Whichever row is the best, its pairs are among those that are corrected, so that Holm's proof covers them
(``benchmarks/corrections.py`` compares other rules).
"""

from collections.abc import Sequence

import numpy as np

HOLM = "Holm"


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's (1979, Scand. J. Statistics 6) adjusted p of one family, in the given order; [] for none.

    ValueError where a p is not in [0, 1].
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p values must be in [0, 1], not {list(p_values)}")
    p = np.array(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted.tolist()


def over_pairs(number: int) -> str:
    """Return the name of the correction of a table in which ``number`` pairs of rows were tested."""
    return "none: one pair of rows" if number == 1 else f"{HOLM} over all {number} pairs of rows"
