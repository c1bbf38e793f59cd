"""The trainables of Ray Tune: a trial of a grid, or a configuration of a search with all its search seeds.

One step of Tune is one epoch. The first step begins a trial, not ``setup`` or ``reset_config``: Tune may set up an
actor for one trial and then give it another, and only an error in a step is retried.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tunekit.engine.job import Job, jobs_of
from tunekit.runner.actor import SlotTrainable
from tunekit.runner.nodes import Driver, refusal, refused
from tunekit.runner.trainers import trainer_for
from tunekit.tasks import Metric
from tunekit.worker.report import TrialReport, needs_training, tune_result, tune_result_of_seeds


class TrialTrainable(SlotTrainable):
    """Trains the trial of a grid that ``config["trial"]["trial_id"]`` names."""

    def setup(  # type: ignore[override]  # Tune passes what with_parameters holds
        self, config: dict[str, Any], jobs: Mapping[str, Job], num_places: int = 1, driver: Driver | None = None
    ) -> None:
        """Take the first trial.

        ``jobs`` are by trial id. Up to ``num_places`` trials train as one pack. This node must match ``driver``.
        """
        self.jobs, self.trainer, self.driver = jobs, trainer_for(num_places), driver
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial. Return True: this actor can be used again."""
        self.trainer.release()
        self.job = self.jobs[new_config["trial"]["trial_id"]]
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and return its record."""
        if line := refusal(self.driver):
            return refused(line)
        self.name_process(self.job.spec)
        [report] = self.trainer.step([self.job])
        self.show(self.job.spec, report)
        return tune_result(report)

    def cleanup(self) -> None:
        """Let go of the trial."""
        self.trainer.release()


class SearchTrainable(SlotTrainable):
    """Trains the configuration ``config["trial"]``: a spec for each search seed.

    Epochs that an earlier driver recorded are reported again, one a step, so that the scheduler sees all of them.
    """

    def setup(  # type: ignore[override]  # as above
        self,
        config: dict[str, Any],
        bases: Mapping[str, Job],
        metrics: Mapping[str, Metric],
        num_places: int = 1,
        driver: Driver | None = None,
    ) -> None:
        """Take the first configuration.

        ``bases`` has a job for each study, whose spec is replaced by the specs of a configuration. ``metrics`` has the
        metric that each study optimises on validation. Up to ``num_places`` trials train as one pack. This node must
        match ``driver``.
        """
        self.bases, self.metrics, self.trainer, self.driver = bases, metrics, trainer_for(num_places), driver
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration. Return True: this actor can be used again."""
        self.trainer.release()
        self.epoch = 0
        self.jobs = jobs_of(new_config["trial"], self.bases)
        self.metric = self.metrics[new_config["trial"]["study"]]
        self.reports: list[TrialReport] = []
        return True

    def step(self) -> dict[str, Any]:
        """Bring every search seed to the next epoch and return their means. A seed that ends early ends all of them."""
        if line := refusal(self.driver):
            return refused(line)
        self.name_process(self.jobs[0].spec)
        self.epoch += 1
        self.reports = [replace(report, notes=()) for report in self.reports] or self.trainer.begin(self.jobs)
        while (behind := self._behind()) and not any(report.ended_early for report in self.reports):
            reports = self.trainer.step([self.jobs[index] for index in behind])
            for index, report in zip(behind, reports, strict=False):  # seeds after one that ended early have no report
                self.reports[index] = replace(report, notes=(*self.reports[index].notes, *report.notes))
        for job, report in zip(self.jobs, self.reports, strict=True):
            self.show(job.spec, report)
        return tune_result_of_seeds(self.epoch, self.reports, self.metric)

    def cleanup(self) -> None:
        """Let go of the configuration."""
        self.trainer.release()

    def _behind(self) -> list[int]:
        """Return the indices of the seeds that must train to reach this epoch."""
        return [
            index
            for index, (job, report) in enumerate(zip(self.jobs, self.reports, strict=True))
            if needs_training(report, self.epoch, job.spec.epochs)
        ]
