"""When a search's trials are stopped: one ASHA a study, which remembers what the study did before this driver."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from tunekit.search.study import Study
from tunekit.worker.report import OBJECTIVE

REDUCTION = 3
"""Of the trials that reach a rung, a REDUCTION-th goes on (eta of Li et al., 2020, arXiv:1810.05934)."""
GRACE_EPOCHS = 1


class PerStudyASHA(FIFOScheduler):
    """Hands each trial to its study's own ASHA: scores of different methods or datasets are no rivals."""

    def __init__(self, studies: Sequence[Study]) -> None:
        super().__init__()
        self.schedulers = {study.plan.key: _asha(study) for study in studies}
        for study in studies:
            for number, curve in study.curves():
                self.remember(study.plan.key, number, curve)

    def _of(self, trial: Trial) -> ASHAScheduler:
        return self.schedulers[trial.config["trial"]["study"]]

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """A trial came."""
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """An epoch came: go on or stop."""
        return self._of(trial).on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> None:
        """A trial ended."""
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: object, trial: Trial) -> None:
        """A trial was taken back."""
        self._of(trial).on_trial_remove(tune_controller, trial)

    def remember(self, key: str, number: int, curve: Mapping[int, float]) -> None:
        """Take in trial ``number`` of a study, which was trained before: its objective by epoch."""
        trial: Any = SimpleNamespace(trial_id=f"earlier-{number}")
        self.schedulers[key].on_trial_add(None, trial)
        for epoch, value in sorted(curve.items()):
            self.schedulers[key].on_trial_result(None, trial, {"epoch": epoch, OBJECTIVE: value})


def _asha(study: Study) -> ASHAScheduler:
    return ASHAScheduler(
        time_attr="epoch",
        metric=OBJECTIVE,
        mode="max",
        max_t=study.plan.max_epochs,
        grace_period=GRACE_EPOCHS,
        reduction_factor=REDUCTION,
    )
