"""Ray Tune trials, one step an epoch, in actors that are used again: a TrialSpec, or a configuration's search seeds.

A trial is begun by its first step, not in ``setup`` or ``reset_config``: Tune may set up an actor for a trial and then
hand the trial to another one, and it retries what fails in a step.
"""

from collections.abc import Mapping
from typing import Any

from tunekit.engine.job import Job, jobs_of
from tunekit.runner.actor import SlotTrainable
from tunekit.runner.nodes import Driver, refusal, refused
from tunekit.schema import Status
from tunekit.worker.attempt import Attempt
from tunekit.worker.report import is_behind, report_of, report_of_seeds


class TrialTrainable(SlotTrainable):
    """Trains ``jobs[config["trial"]["trial_id"]]``; see ``Attempt`` for what ends it and what raises."""

    def setup(self, config: dict[str, Any], jobs: Mapping[str, Job], driver: Driver | None = None) -> None:
        """Take the trial; its node must be fit to train for ``driver``."""
        self.jobs, self.driver = jobs, driver
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this actor."""
        self.attempt: Attempt | None = None  # frees the former model
        self.job = self.jobs[new_config["trial"]["trial_id"]]
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and return its record; the first one begins the trial, the last one completes it."""
        if line := refusal(self.driver):
            return refused(line)
        self.attempt = self.attempt or Attempt(self.job)
        self.attempt.step()
        view = self.attempt.view()
        self.show(self.job.spec, view)
        return report_of(view)

    def cleanup(self) -> None:
        """Free the model."""
        self.attempt = None


class SearchTrainable(SlotTrainable):
    """Trains the specs of one configuration, ``config["trial"]["specs"]``, its seeds one after another in each epoch.

    ``bases`` are jobs by study, whose spec gives way; ``metric`` is the score that is searched on. Epochs that a former
    driver recorded are reported again, for the scheduler to see them all.
    """

    def setup(
        self, config: dict[str, Any], bases: Mapping[str, Job], metric: str, driver: Driver | None = None
    ) -> None:
        """Take the configuration; its node must be fit to train for ``driver``."""
        self.bases, self.metric, self.driver = bases, metric, driver
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration in this actor."""
        self.attempts: list[Attempt] = []  # frees the former models
        self.epoch = 0
        self.jobs = jobs_of(new_config["trial"], self.bases)
        return True

    def step(self) -> dict[str, Any]:
        """Bring every seed to the next epoch and return what they have in common; one that fails ends them all."""
        if line := refusal(self.driver):
            return refused(line)
        self.epoch += 1
        self.attempts = self.attempts or [Attempt(job) for job in self.jobs]
        for attempt in self.attempts:
            attempt.begin()
            epochs = attempt.job.spec.epochs
            while is_behind(len(attempt.records), attempt.status, self.epoch, epochs):
                attempt.step()
            if attempt.status not in (None, Status.COMPLETED):
                break
        views = [attempt.view() for attempt in self.attempts]
        for attempt, view in zip(self.attempts, views, strict=True):
            self.show(attempt.job.spec, view)
        return report_of_seeds(self.epoch, views, self.metric)

    def cleanup(self) -> None:
        """Free the models."""
        self.attempts = []
