"""Expected validation performance against budget: what the best of n random trials scores on average.

Dodge et al. 2019, "Show Your Work: Improved Reporting of Experimental Results" (EMNLP), by the unbiased estimator of
Tang et al. 2020, "Showing Your Work Doesn't Always Work" (ACL).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln

from analysis.search import DEFAULT, Searched, is_score
from tunekit.store.result_store import SearchTrial, TrialState

FloatArray = npt.NDArray[np.float64]

MIN_TRIALS = 3


def refused(one: Searched) -> str | None:
    """Why a study can't show it; None where it can."""
    study = one.study
    if not is_score(one.objective) or study.directions[0] != "maximize":
        return f"{one.objective} is no score"
    if study.sampler != "random":
        return (
            f"its trials were suggested by {study.sampler}, each in the light of those before: they are no independent "
            "draws, and the best of n of them says nothing of a search of n trials; search with --sampler random"
        )
    if study.scheduler != "none":
        return f"{study.scheduler} stopped trials before their last score; search with --scheduler none"
    if len(drawn(one)) < MIN_TRIALS:
        return f"{len(drawn(one))} random trials have ended, and it takes {MIN_TRIALS}"
    return None


def drawn(one: Searched) -> tuple[SearchTrial, ...]:
    """The random trials: all but the default configuration, which nobody drew, and repeats."""
    seen: set[tuple[str, ...]] = set()
    kept = []
    for trial in one.study.trials:
        if trial.number != DEFAULT and trial.state is not TrialState.PRUNED and trial.trial_ids not in seen:
            kept.append(trial)
        seen.add(trial.trial_ids)
    return tuple(kept)


def expected_best(values: Sequence[float]) -> pd.DataFrame:
    """Mean and standard deviation of the best of n draws without replacement from ``values``, for n = 1 to N.

    Columns n, mean and std. A draw of n holds the i-th smallest of N as its best in C(i-1, n-1) of C(N, n) cases.
    ValueError without values.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    if not len(ordered):
        raise ValueError("no values")
    total = len(ordered)
    rank = np.arange(1.0, total + 1)
    rows = []
    for n in range(1, total + 1):
        kept = rank >= n
        shares = np.exp(_log_choose(rank[kept] - 1, n - 1) - _log_choose(np.array(float(total)), n))
        mean = float(shares @ ordered[kept])
        variance = float(shares @ ordered[kept] ** 2) - mean**2
        rows.append((n, mean, max(variance, 0.0) ** 0.5))
    return pd.DataFrame(rows, columns=["n", "mean", "std"])


def _log_choose(n: FloatArray, k: int) -> FloatArray:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
