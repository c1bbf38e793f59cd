"""The plan of one study of a search. It is made without a storage."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import BaseDistribution

from tunekit.planning.args import Sampler, Scheduler
from tunekit.schema import Fingerprint, Scalar, TrialSpec, readable
from tunekit.search.outcome import Objective
from tunekit.search.space import Space, SuggestingTrial, configure, shown_space
from tunekit.tasks import Metric


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """The space, objectives, sampler and seeds of a study."""

    spec: TrialSpec
    """The default configuration with the first search seed. Its test split is not scored."""
    fingerprint: Fingerprint
    """The versions of the model, data and code of all trials."""
    space: Space
    """The ranges that replace those of the method."""
    default: Mapping[str, Scalar]
    """The default configuration, as values of the parameters that are suggested."""
    distributions: Mapping[str, BaseDistribution]
    """The range of each parameter that is suggested."""
    objectives: tuple[Objective, ...]
    """The objectives. The first one is a score, by which configurations are selected."""
    sampler: Sampler
    """The name of the sampler, which suggests the configurations."""
    sampler_seed: int
    """The seed of the sampler."""
    scheduler: Scheduler
    """``asha``, which stops trials early, or ``none``."""
    seeds: tuple[int, ...]
    """The search seeds, on each of which a configuration is trained."""
    planned: int
    """The number of trials of the study."""

    @property
    def key(self) -> str:
        """The model, dataset and method, which name the study within its search."""
        return f"{self.spec.model}/{self.spec.dataset}/{self.spec.method}"

    @property
    def name(self) -> str:
        """The same for a person to read."""
        return " · ".join((readable(self.spec.model), readable(self.spec.dataset), self.spec.method))

    @property
    def metric(self) -> Metric:
        """The metric of the first objective."""
        metric = self.objectives[0].metric
        assert metric is not None  # a score stands first
        return metric

    @property
    def max_epochs(self) -> int:
        """The number of epochs of the longest trial that can be suggested."""
        epochs = shown_space(self.distributions).get("epochs")
        if epochs is None:
            return self.spec.epochs
        return int(max(epochs["choices"]) if epochs["type"] == "categorical" else epochs["high"])

    def specs(self, trial: SuggestingTrial) -> list[TrialSpec]:
        """Return the specs of the configuration that ``trial`` suggests, one for each search seed."""
        configuration = configure(self.spec, trial, self.space)
        return [replace(configuration, seed=seed) for seed in self.seeds]

    def definition(self) -> dict[str, Any]:
        """Return, as JSON values, everything that must stay the same while the study grows."""
        return {
            "space": shown_space(self.distributions),
            "default configuration": {k: v for k, v in self.spec.to_dict().items() if k != "seed"},
            "code, data or weights": self.fingerprint.digest,
            "objectives": [objective.name for objective in self.objectives],
            "sampler": self.sampler,
            "sampler seed": self.sampler_seed,
            "scheduler": self.scheduler,
            "search seeds": list(self.seeds),
        }
