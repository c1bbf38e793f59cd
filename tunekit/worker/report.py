"""The report of a trial after an epoch, and the result for Ray Tune that is made from it, without importing torch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from tunekit.schema import EpochRecord, Status
from tunekit.store.records import running_best
from tunekit.tasks import Metric

OBJECTIVE = "objective"
"""The key, in a search's results, of the best validation score so far, as the mean over the search seeds."""
AVERAGED = ("train_loss", "val_", "epoch_seconds")
"""The beginnings of the names of an epoch's values whose means over the search seeds a search's results hold, besides
the objective."""


@dataclass(frozen=True)
class TrialReport:
    """A trial as it is after an epoch."""

    records: Sequence[EpochRecord]
    """All epochs that have been recorded so far."""
    status: Status | None
    """How the trial ended; None while it trains."""
    notes: Sequence[str] = ()
    """Lines for a person, such as why an epoch was tried again. Each line is in one report only."""
    pack_size: int = 1
    """The number of trials in the largest pack that the trial has trained in."""
    cut_line: str | None = None
    """A line for a person on how many of its texts were cut; trials of one model on one dataset have the same."""

    @property
    def ended_early(self) -> bool:
        """Whether the trial ended with another status than COMPLETED."""
        return self.status not in (None, Status.COMPLETED)


def needs_training(report: TrialReport, epoch: int, epochs: int) -> bool:
    """Return whether a trial of ``epochs`` epochs needs another step.

    It does if it has not ended and has not recorded ``epoch`` yet, or has recorded all epochs but not its summary.
    """
    num_recorded = len(report.records)
    return report.status is None and (num_recorded < epoch or num_recorded == epochs)


def tune_result(report: TrialReport) -> dict[str, Any]:
    """Return the result of a grid's trial for Ray Tune: its last epoch record, its status and its notes.

    The fields of the record are None before the first epoch.
    """
    last: dict[str, Any] = dict.fromkeys(item.name for item in fields(EpochRecord))
    if report.records:
        last = report.records[-1].values()
    last |= {"note": "; ".join(report.notes) or None, "cut": report.cut_line}
    if report.status is None:
        return {**last, "status": "running"}
    return {**last, "done": True, "status": report.status.value}


def tune_result_of_seeds(epoch: int, reports: Sequence[TrialReport], metric: Metric) -> dict[str, Any]:
    """Return the result of a configuration for Ray Tune: the means over its search seeds at ``epoch``.

    ``reports`` has one entry for each seed. ``metric`` is what the search optimises on validation. A seed that patience
    has ended counts with its last epoch. If a seed ended early, the configuration ends with that seed's status, and the
    result has no means. Raises UserError where the trials have no validation part.
    """
    said = {"note": "; ".join(line for report in reports for line in report.notes) or None, "cut": reports[0].cut_line}
    for report in reports:
        if report.status and report.ended_early:
            return {"epoch": epoch, "done": True, "status": report.status.value, **said}
    completed = all(report.status is Status.COMPLETED for report in reports)
    rows = [report.records[:epoch][-1].values() for report in reports]
    return {
        "epoch": epoch,
        OBJECTIVE: fmean(running_best(report.records[:epoch], metric)[-1] for report in reports),
        **{name: fmean(row[name] for row in rows) for name in rows[0] if name.startswith(AVERAGED)},
        "done": completed and epoch >= max(len(report.records) for report in reports),
        "status": Status.COMPLETED.value if completed else "running",
        **said,
    }
