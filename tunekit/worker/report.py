"""How a trial stands, as its device's host tells it, and what Ray Tune is to hear of it. Imports no torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

from tunekit.schema import EpochRecord, Status
from tunekit.store.records import running_best

OBJECTIVE = "objective"
"""Key of a search's results: the running best on validation, mean over the search seeds."""
MEANS = tuple(one.name for one in fields(EpochRecord) if one.name.startswith(("train_loss", "val_", "epoch_seconds")))
"""What a search's results hold beside it, as means over the seeds."""


@dataclass(frozen=True)
class TrialReport:
    """A trial after an epoch."""

    records: Sequence[EpochRecord]
    status: Status | None
    """None while it trains."""
    notes: Sequence[str] = ()
    """What a person should know."""
    pack_size: int = 1
    """Trials of the largest pack that it has trained in."""


def is_behind(num_recorded: int, status: Status | None, epoch: int, epochs: int) -> bool:
    """Whether a trial of ``epochs`` in all must be stepped to stand at ``epoch``, or to end after its last."""
    return status is None and (num_recorded < epoch or num_recorded == epochs)


def tune_result(view: TrialReport) -> dict[str, Any]:
    """A trial's last record, how it stands, and its notes."""
    last = asdict(view.records[-1]) if view.records else {item.name: None for item in fields(EpochRecord)}
    last["note"] = "; ".join(view.notes) or None
    if view.status is None:
        return {**last, "status": "running"}
    return {**last, "done": True, "status": view.status.value}


def tune_result_of_seeds(epoch: int, views: Sequence[TrialReport], metric: str) -> dict[str, Any]:
    """What a configuration's search seeds have in common after ``epoch``; one that failed ends them all."""
    note = "; ".join(line for view in views for line in view.notes) or None
    failed = next((view.status for view in views if view.status not in (None, Status.COMPLETED)), None)
    if failed:
        return {"epoch": epoch, "done": True, "status": failed.value, "note": note}
    ended = all(view.status is Status.COMPLETED for view in views)
    rows = [asdict(view.records[epoch - 1]) for view in views]
    return {
        "epoch": epoch,
        OBJECTIVE: fmean(running_best(view.records, metric)[epoch - 1] for view in views),
        **{name: fmean(row[name] for row in rows) for name in MEANS},
        "done": ended and epoch == len(views[0].records),
        "status": Status.COMPLETED.value if ended else "running",
        "note": note,
    }
