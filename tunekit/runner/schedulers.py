"""The scheduler of a search: one ASHA for each study, which also takes in the trials of earlier drivers."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from tunekit.search.stopping import GRACE_EPOCHS, REDUCTION_FACTOR
from tunekit.search.study import Study
from tunekit.worker.report import OBJECTIVE


class PerStudyASHA(FIFOScheduler):
    """Hands each trial to its study's own ASHA: scores of different methods or datasets must not compete."""

    def __init__(self, studies: Sequence[Study]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray has no types here
        self.schedulers = {study.plan.key: _asha(study) for study in studies}
        for study in studies:
            for number, curve in study.curves():
                self.remember(study.plan.key, number, curve)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take in a new trial."""
        self._scheduler_of(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return Tune's word for whether the trial goes on or stops after this epoch."""
        decision: str = self._scheduler_of(trial).on_trial_result(tune_controller, trial, result)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Take note of a trial that has ended."""
        self._scheduler_of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Take note of a trial that Tune has withdrawn."""
        self._scheduler_of(trial).on_trial_remove(tune_controller, trial)

    def remember(self, key: str, number: int, curve: Mapping[int, float]) -> None:
        """Take in a trial that was trained before: trial ``number`` of the study ``key``, its objective by epoch."""
        trial: Any = SimpleNamespace(trial_id=f"earlier-{number}")
        # Of its arguments, ASHA reads the trial's id and the result only.
        scheduler: Any = self.schedulers[key]
        scheduler.on_trial_add(None, trial)
        for epoch, value in sorted(curve.items()):
            scheduler.on_trial_result(None, trial, {"epoch": epoch, OBJECTIVE: value})

    def _scheduler_of(self, trial: Trial) -> ASHAScheduler:
        return self.schedulers[trial.config["trial"]["study"]]


def _asha(study: Study) -> ASHAScheduler:
    return ASHAScheduler(
        time_attr="epoch",  # not training_iteration, which restarts with each retry
        metric=OBJECTIVE,
        mode=study.plan.metric.direction.value,
        max_t=study.plan.max_epochs,
        grace_period=GRACE_EPOCHS,
        reduction_factor=REDUCTION_FACTOR,
    )
