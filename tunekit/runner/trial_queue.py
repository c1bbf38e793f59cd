"""The trials of a grid for Ray Tune, one after another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial, _convert_to_experiment_list
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser
from ray.tune.search import BasicVariantGenerator


class TrialQueue(BasicVariantGenerator):
    """Makes one of Tune's trials of each config, in order, when there is room for it.

    Tune's own grid search copies the whole grid for each trial, and keeps and saves all copies.
    """

    def __init__(self, configs: Sequence[Mapping[str, Any]], max_concurrent: int | None) -> None:
        super().__init__(max_concurrent=max_concurrent or 0)
        self.configs = configs

    def __getstate__(self) -> dict[str, object]:
        """Return nothing: Tune pickles the queue for a restore that we do not use."""
        return {}

    def add_configurations(self, experiments: Any) -> None:
        """Take the settings that all trials have in common."""
        [experiment] = _convert_to_experiment_list(experiments)
        self._total_samples = len(self.configs)
        self._trial_generator: Any = self._trials(experiment.spec)

    def save_to_dir(self, dirpath: str, session_str: str = "", **kwargs: Any) -> None:
        """Save nothing: we do not restore."""

    def _trials(self, common: Mapping[str, Any]) -> Iterator[Trial]:
        parser = _make_parser()
        for number, config in enumerate(self.configs):
            yield _create_trial_from_spec(
                {**common, "config": {**common.get("config", {}), **config}},
                parser,
                trial_id=f"{self._uuid_prefix}{number:05d}",
                experiment_tag=str(number),
                evaluated_params=dict(config),
            )
