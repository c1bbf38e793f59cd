"""Several tests at once: Holm's correction, and a step-down one for rows of a table that are tested against the best.

The best row of a column is found in the same scores that are tested. By luck alone any row can look the best and any
other worse, so ``against_best`` corrects for every pair of rows of a column, not only for the pairs that are tested,
and takes a row's pairs off the count once the row is found worse. It is a sequentially rejective Bonferroni test
(Goeman and Solari 2010, Annals of Statistics 38; Shaffer 1986, JASA 81, leaves out pairs by the same logic), not Holm's
over these pairs: Holm would count every pair, and take one off a step. That the best row is found in the scores is
outside their proofs; simulations cover it (``benchmarks/corrections.py``, ``tests/analysis/test_multiple.py``).
"""

from collections.abc import Sequence

import numpy as np

STEP_DOWN = "step-down Bonferroni over the pairs of rows that remain"
"""The name of the correction of ``against_best``."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's (1979, Scand. J. Statistics 6) adjusted p of one family, in the given order; [] for none.

    Raises ValueError where a p is not in [0, 1].
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted.tolist()


def against_best(columns: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the adjusted p of each row against the best row of its column, in the given order.

    ``columns`` holds, for each column of a table, the p of every row but the best against the best. The chance that any
    row is called worse than the best while it is among the best is at most ``alpha``, over the whole table, where a row
    is called worse at an adjusted p of at most ``alpha``. Smallest p first, each p is multiplied by the number of pairs
    of rows, over all columns, that can still be formed without a row that came before; none is below the one before it.
    Raises ValueError where a p is not in [0, 1].
    """
    left = [len(column) + 1 for column in columns]
    adjusted = [[0.0] * len(column) for column in columns]
    largest = 0.0
    places = [(p, c, r) for c, p_values in enumerate(columns) for r, p in enumerate(_checked(p_values).tolist())]
    for p, column, row in sorted(places):
        largest = max(largest, min(1.0, p * pairs(left)))
        adjusted[column][row] = largest
        left[column] -= 1
    return adjusted


def pairs(sizes: Sequence[int]) -> int:
    """Return the number of pairs of rows within columns of so many rows."""
    return sum(size * (size - 1) // 2 for size in sizes)


def _checked(p_values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p values must be in [0, 1], not {list(p_values)}")
    return np.array(p_values, dtype=np.float64)
