"""The metrics of a sweep that Ray's agents export to Prometheus.

Ray puts its own prefix before each name, as in ``ray_tunekit_epoch``, and ``_total`` after the name of a counter.
Labels never hold a trial id or a seed, so that there are few time series however many trials run.
"""

import math
from collections.abc import Mapping
from functools import cache

from ray.util.metrics import Counter, Gauge

from tunekit.schema import Status, TrialSpec
from tunekit.tasks import TASKS, Metric, task_of
from tunekit.worker.report import TrialReport

CELL = ("model", "dataset", "method")
OF_EVERY_TASK = {
    "tunekit_epoch": "Epochs that the trial in a slot has trained",
    "tunekit_train_loss": "Mean training loss of its last epoch",
    "tunekit_tokens_per_second": "Tokens a second that its last epoch trained",
    "tunekit_pack_size": "Trials that train as one pack with it",
}
"""The help text of each gauge that trials of every task have, by name."""
COUNTERS = {
    "tunekit_trials_done": "Trials that completed or were stopped by the scheduler since the driver started",
    "tunekit_trials_failed": "Trials that failed, diverged or ran out of memory since the driver started",
}
"""The help text of each counter, by name. The labels are model, dataset and method."""


def gauges() -> dict[str, str]:
    """Return the help text of each gauge by name: one for each metric that can be primary, beside those of every task.

    The labels of a gauge are model, dataset, method and slot.
    """
    metrics = [metric for name in TASKS for metric in TASKS[name].choices]
    return OF_EVERY_TASK | {_name(metric): _help(metric) for metric in metrics}


def _name(metric: Metric) -> str:
    return f"tunekit_{metric.name}"


def _help(metric: Metric) -> str:
    label = metric.label[0].upper() + metric.label[1:]
    low, high = metric.bounds
    within = "" if low is None or high is None else f", in [{low:g}, {high:g}]"
    return f"{label} after its last epoch{within}: on test, or on validation where the trial does not score test"


@cache
def _gauge(name: str) -> Gauge:
    return Gauge(name, gauges()[name], (*CELL, "slot"))


@cache
def _counter(name: str) -> Counter:
    return Counter(name, COUNTERS[name], CELL)


def _cell(spec: TrialSpec) -> dict[str, str]:
    return {name: getattr(spec, name) for name in CELL}


def count_ended(spec: TrialSpec, status: Status) -> None:
    """Count a trial that has ended."""
    done = status in (Status.COMPLETED, Status.STOPPED)
    _counter("tunekit_trials_done" if done else "tunekit_trials_failed").inc(tags=_cell(spec))


class Meter:
    """The gauges of one slot."""

    def __init__(self, slot: int) -> None:
        self.slot = str(slot)
        self._labels: dict[str, str] = {}
        self._names: list[str] = []

    def show(self, spec: TrialSpec, report: TrialReport) -> None:
        """Set the gauges to the last epoch of ``report``. Gauges of another cell, which the slot has left, become NaN.

        ``report`` must have an epoch.
        """
        labels = {**_cell(spec), "slot": self.slot}
        if self._labels and self._labels != labels:
            self._set(dict.fromkeys(self._names, math.nan))
        self._labels = labels
        task, last = task_of(spec.dataset), report.records[-1]
        self._set(
            {
                "tunekit_epoch": last.epoch,
                "tunekit_train_loss": last.train_loss,
                _name(task.chooses_by): last.score(task.watched(spec.score_test)),
                "tunekit_tokens_per_second": last.train_tokens_per_second,
                "tunekit_pack_size": report.pack_size,
            }
        )

    def _set(self, values: Mapping[str, float | None]) -> None:
        self._names = list(values)
        for name, value in values.items():
            _gauge(name).set(math.nan if value is None else value, tags=self._labels)
