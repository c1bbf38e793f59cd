"""Ray Tune trials, one step an epoch, in actors that are used again: a TrialSpec, or a configuration's search seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from statistics import fmean
from typing import Any

from ray import tune

from tunekit.engine.job import Job
from tunekit.runner.attempt import Attempt
from tunekit.schema import EpochRecord, Status, TrialSpec
from tunekit.search.outcome import running_best

OBJECTIVE = "objective"
"""Key of a search's results: the running best on validation, mean over the search seeds."""
MEANS = ("train_loss", "val_loss", "val_accuracy", "val_macro_f1", "epoch_seconds")
"""What a search's results hold beside it, as means over the seeds."""


def drain(attempts: Sequence[Attempt]) -> str | None:
    """The attempts' notes as one line, which they then hold no more."""
    lines = [line for attempt in attempts for line in attempt.notes]
    for attempt in attempts:
        attempt.notes.clear()
    return "; ".join(lines) or None


class TrialTrainable(tune.Trainable):
    """Trains ``jobs[config["trial"]["trial_id"]]``; see ``Attempt`` for what ends it and what raises."""

    def setup(self, config: dict[str, Any], jobs: Mapping[str, Job]) -> None:
        """Build the trial or take it up again."""
        self.jobs = jobs
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this actor."""
        self.attempt: Attempt | None = None  # frees the former model first
        self.attempt = Attempt(self.jobs[new_config["trial"]["trial_id"]])
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and return its record; the last one completes the trial."""
        self.attempt.step()
        records, status = self.attempt.records, self.attempt.status
        last = asdict(records[-1]) if records else {item.name: None for item in fields(EpochRecord)}
        last["note"] = drain([self.attempt])
        return {**last, "status": "running"} if status is None else {**last, "done": True, "status": status.value}

    def cleanup(self) -> None:
        """Free the model."""
        self.attempt = None


class SearchTrainable(tune.Trainable):
    """Trains the specs of one configuration, ``config["trial"]["specs"]``, its seeds one after another in each epoch.

    ``bases`` are jobs by study, whose spec gives way; ``metric`` is the score that is searched on. Epochs that a former
    driver recorded are reported again, for the scheduler to see them all.
    """

    def setup(self, config: dict[str, Any], bases: Mapping[str, Job], metric: str) -> None:
        """Build the models or take them up again."""
        self.bases, self.metric = bases, metric
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration in this actor."""
        self.attempts: list[Attempt] = []  # frees the former models first
        self.epoch = 0
        trial = new_config["trial"]
        specs = [TrialSpec.from_dict(values) for values in trial["specs"]]
        self.attempts = [Attempt(replace(self.bases[trial["study"]], spec=spec)) for spec in specs]
        return True

    def step(self) -> dict[str, Any]:
        """Bring every seed to the next epoch and return what they have in common; one that fails ends them all."""
        self.epoch += 1
        for attempt in self.attempts:
            while attempt.status is None and (len(attempt.records) < self.epoch or attempt.trained):
                attempt.step()
            if attempt.status not in (None, Status.COMPLETED):
                note = drain(self.attempts)
                return {"epoch": self.epoch, "done": True, "status": attempt.status.value, "note": note}
        ended = all(attempt.status is Status.COMPLETED for attempt in self.attempts)
        rows = [asdict(attempt.records[self.epoch - 1]) for attempt in self.attempts]
        best = [running_best(attempt.records, self.metric)[self.epoch - 1] for attempt in self.attempts]
        return {
            "epoch": self.epoch,
            OBJECTIVE: fmean(best),
            **{name: fmean(row[name] for row in rows) for name in MEANS},
            "done": ended and self.epoch == len(self.attempts[0].records),
            "status": Status.COMPLETED.value if ended else "running",
            "note": drain(self.attempts),
        }

    def cleanup(self) -> None:
        """Free the models."""
        self.attempts = []
