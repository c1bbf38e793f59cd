"""Which parameters mattered in a search, by Optuna's PED-ANOVA on a study rebuilt in memory from search.json."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis.search import Searched

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MIN_TOP = 5
"""Trials that must count as good; Optuna's advice."""
TOP = 0.25
"""Share of the trials that counts as good."""


def importances(one: Searched) -> dict[str, float] | str:
    """Share of each parameter, the largest first, sum 1; or why there are none, as a text.

    What a parameter decides about reaching the best quarter of the complete trials (at least five), within what was
    tried: Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces"
    (IJCAI). Of several objectives the first counts.
    """
    import optuna  # takes seconds, and most reports hold no search

    if len(one.study.space) < 2:
        return "one parameter alone was searched"
    count = len(one.complete)
    if count < 2 * MIN_TOP:
        return f"{count} trials are complete, and it takes {2 * MIN_TOP}"
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
    """Optuna's distribution of one range of search.json."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if given["type"] == "categorical":
        return CategoricalDistribution(given["choices"])
    kind = FloatDistribution if given["type"] == "float" else IntDistribution
    return kind(given["low"], given["high"], log=given["log"])
