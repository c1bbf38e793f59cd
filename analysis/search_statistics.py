"""Statistics of a search's trials: rates near the best, the expected best of n random trials, and importances.

The expected best is that of Dodge et al. 2019, "Show Your Work: Improved Reporting of Experimental Results" (EMNLP), by
the unbiased estimator of Tang et al. 2020, "Showing Your Work Doesn't Always Work" (ACL).
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.search import DEFAULT, SearchResult, learning_rate
from tunekit.parsing import how_many
from tunekit.store.search_records import SearchTrial, TrialState

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


FloatArray = npt.NDArray[np.float64]

MARGIN = 0.01
"""The largest distance from the best at which a learning rate counts as nearly as good: one point of a score with
bounds, and one percent of the best value of another."""
MIN_TRIALS = 3


def near(one: SearchResult) -> tuple[SearchTrial, ...]:
    """Return the complete trials at most ``MARGIN`` worse than the best, in the order of their learning rates."""
    tuned = [trial for trial in one.complete if "learning_rate" in trial.params]
    if not tuned:
        return ()
    best = one.merit(one.complete[0])
    margin = MARGIN if _has_bounds(one) else MARGIN * abs(best)
    return tuple(sorted((trial for trial in tuned if one.merit(trial) >= best - margin), key=learning_rate))


def margin_text(one: SearchResult) -> str:
    """Return the distance from the best within which ``near`` takes trials, for people."""
    if not _has_bounds(one):
        return f"{100 * MARGIN:g} %"
    in_percent = one.measure is not None and one.measure.unit == "%"
    return f"{100 * MARGIN:g} point" if in_percent else f"{MARGIN:g}"


def _has_bounds(one: SearchResult) -> bool:
    return one.measure is None or one.measure.is_share


def why_no_expected_best(one: SearchResult) -> str | None:
    """Return why a study has no expected best of n trials; None where it has."""
    study = one.study
    if one.measure is None:
        return f"{one.objective} is no score"
    if study.sampler != "random":
        return (
            f"its trials were suggested by {study.sampler}, each in the light of those before: they are no independent "
            "draws, and the best of n of them says nothing of a search of n trials; search with --sampler random"
        )
    if study.scheduler != "none":
        return f"{study.scheduler} stopped trials before their last score; search with --scheduler none"
    if len(random_trials(one)) < MIN_TRIALS:
        return f"{len(random_trials(one))} random trials have ended, and it takes {MIN_TRIALS}"
    if one.measure.worst is None and any(trial.state is TrialState.FAILED for trial in random_trials(one)):
        return f"trials failed, and {one.measure.label} has no worst value that could stand for them"
    return None


def expected_score(one: SearchResult) -> pd.DataFrame:
    """Return the mean and standard deviation of the best score of n random trials of ``one``; see ``expected_best``.

    A failed trial has cost its budget and counts as the worst possible score. The study must have an expected best
    (``why_no_expected_best`` returns None).
    """
    sign = one.study.sign
    worst = None if one.measure is None else one.measure.worst
    scores = []
    for trial in random_trials(one):
        value = worst if trial.state is TrialState.FAILED else one.score(trial)
        assert value is not None
        scores.append(sign * value)
    found = expected_best(scores)
    return found.assign(mean=sign * found["mean"])


def random_trials(one: SearchResult) -> tuple[SearchTrial, ...]:
    """Return the random trials: all but the default configuration, which was not drawn, and repeats."""
    seen: set[tuple[str, ...]] = set()
    kept = []
    for trial in one.study.trials:
        if trial.number != DEFAULT and trial.state is not TrialState.PRUNED and trial.trial_ids not in seen:
            kept.append(trial)
        seen.add(trial.trial_ids)
    return tuple(kept)


def expected_best(values: Sequence[float]) -> pd.DataFrame:
    """Return the mean and standard deviation of the best of n draws without replacement from the N ``values``.

    The columns are n (1 to N), mean and std. The i-th smallest of N values is the best of a draw of n in C(i-1, n-1) of
    C(N, n) cases. Raises ValueError without values.
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
    from scipy.special import gammaln

    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


MIN_TOP = 5
"""The fewest trials that count as good, as Optuna advises."""
TOP = 0.25
"""The share of the trials that counts as good."""


def importances(one: SearchResult) -> dict[str, float] | str:
    """Return the share of each parameter, the largest first, sum 1; or a text that says why there are none.

    A share is the importance of a parameter for reaching the best quarter of the complete trials (at least five),
    within the values that were tried: Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter
    Importance in Arbitrary Subspaces" (IJCAI). The first of several objectives counts.
    """
    import optuna  # takes seconds, and most reports hold no search

    if len(one.study.space) < 2:
        return "one parameter alone was searched"
    count = len(one.complete)
    if count < 2 * MIN_TOP:
        return f"{how_many(count, 'complete trial')}, and it takes {2 * MIN_TOP}"
    scores = {one.merit(trial) for trial in one.complete}
    if len(scores) == 1:
        return "all trials have one score"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    distributions = {name: _distribution(given) for name, given in one.study.space.items()}
    for trial in one.complete:
        own = {name: distributions[name] for name in trial.params if name in distributions}
        values = {name: trial.params[name] for name in own}
        try:
            study.add_trial(optuna.create_trial(params=values, distributions=own, value=one.merit(trial)))
        except ValueError as error:
            return f"trial {trial.number} lies outside the space that search.json names ({error})"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(TOP, MIN_TOP / count))
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def _distribution(given: Mapping[str, Any]) -> "BaseDistribution":
    """Return Optuna's distribution of one range of search.json."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if given["type"] == "categorical":
        return CategoricalDistribution(given["choices"])
    kind = FloatDistribution if given["type"] == "float" else IntDistribution
    return kind(given["low"], given["high"], log=given["log"])
