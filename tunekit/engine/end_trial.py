"""What any process can do to a trial without building it: write its summary, and write to its log.

The driver imports this module, so importing it brings no torch.
"""

from datetime import UTC, datetime

from tunekit.engine.job import Job
from tunekit.engine.kept_weights import remove_superseded_weights
from tunekit.engine.summary import summarise
from tunekit.schema import Status, TrialSummary
from tunekit.storage.files import append_line, remove_tree
from tunekit.storage.lease import check_current
from tunekit.storage.paths import Place
from tunekit.store.result_store import ResultStore
from tunekit.store.trial_files import LOG_FILE
from tunekit.tasks import task_of


def end_trial(job: Job, status: Status, error: str) -> TrialSummary:
    """Write the summary of a trial that did not complete from what its folder holds, and return it.

    The trial need not be built in this process. A failed trial keeps its checkpoints, from which --retry-failed goes
    on. Raises Superseded, OSError.
    """
    check_current(job.sweep, job.start)
    store = ResultStore(job.sweep)
    folder = store.open_trial(job.spec, job.fingerprint)
    records = store.read(folder).epochs
    summary = summarise(records, status, task=task_of(job.spec.dataset), facts=None, error=error)
    store.write_summary(folder, summary)
    if status is not Status.FAILED:
        remove_tree(folder / "checkpoint")
    remove_superseded_weights(folder, job.keep_models, records, job.spec)
    return summary


def log_line(folder: Place, line: str) -> None:
    """Append a line to the trial's log.txt in ``folder``. An I/O error is ignored, so that the trial goes on."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        append_line(folder / LOG_FILE, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")
    except OSError:
        return  # what a person must see is also in the trial's report, which the driver prints
