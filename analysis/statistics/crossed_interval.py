"""The interval of any statistic of several runs on the same items, over new seeds and new items.

``new_text`` has the interval of a row's mean score, whose parts it takes from one table of seeds by items. This module
serves statistics that are no mean over seeds: a calibration error, an ensemble, an overlap between two rows.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from analysis.statistics.resampling import FloatArray, IntArray, codes, strata_of, weights_of
from analysis.statistics.this_set import MIN_SEEDS, Interval, t_interval

DRAWS = 300
Statistic = Callable[[Sequence[IntArray], FloatArray], FloatArray]
"""A function of the seeds of each row, as numbers from 0, and of the weights (D, N) of N items in each of D draws. It
returns a value (D,) for each draw."""

_ROUNDING = 1e-24


def crossed_interval(
    statistic: Statistic,
    seeds: Sequence[int],
    gold: IntArray,
    groups: IntArray,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    level: float = 0.95,
) -> tuple[float, Interval | None]:
    """Return the statistic of all seeds and items, and its interval over new seeds and new items.

    ``seeds`` are the numbers of seeds of the rows. The items' part of the variance is that of the bootstrap of
    ``resampling``, which draws clusters (``groups``) within classes (``gold``); the part of each row's seeds is the
    jackknife's, which leaves out one seed after the other (Efron and Stein 1981, Annals of Statistics 9). Both parts
    hold what varies with seed and item together, so that the interval is rather too wide than too narrow. Degrees of
    freedom are Satterthwaite's. Where the seeds' part alone, with its fewer degrees of freedom, gives a wider interval,
    that one is returned. The interval is cut to ``bounds``, and None where a row has fewer than three seeds or nothing
    varies.
    """
    every = [np.arange(count) for count in seeds]
    once = np.ones((1, len(gold)))
    value = float(statistic(every, once)[0])
    if min(seeds) < MIN_SEEDS:
        return value, None
    cluster = codes(groups)
    strata = strata_of(gold, cluster, int(gold.max()) + 1)
    drawn = np.concatenate([statistic(every, some[:, cluster]) for some in weights_of(strata, DRAWS, 0)])
    parts = [(float(np.var(drawn, ddof=1)), float(len(strata) - strata.max() - 1))]
    for place, count in enumerate(seeds):
        left = [
            float(statistic([np.delete(of, out) if row == place else of for row, of in enumerate(every)], once)[0])
            for out in range(count)
        ]
        parts.append(((count - 1) / count * float(np.sum((np.array(left) - np.mean(left)) ** 2)), count - 1.0))
    if sum(part for part, _ in parts) < _ROUNDING:
        return value, None
    intervals = [_interval(value, some, level) for some in (parts, parts[1:]) if any(part for part, _ in some)]
    found = max(intervals, key=lambda one: one.high)
    return value, Interval(max(bounds[0], found.low), min(bounds[1], found.high), level)


def _interval(value: float, parts: Sequence[tuple[float, float]], level: float) -> Interval:
    """Return Student's t interval from the ``parts`` of the variance, each with its degrees of freedom."""
    variance = sum(part for part, _ in parts)
    df = variance**2 / sum(part**2 / of for part, of in parts)
    return t_interval(value, math.sqrt(variance), df, level)
