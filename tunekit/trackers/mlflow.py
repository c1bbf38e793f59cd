"""MLflow, with an experiment for each sweep and a run for each trial.

The runs are on the server at MLFLOW_TRACKING_URI, or in ``<sweep>/mlflow.db`` where that is not set.
"""

import logging
import os
from pathlib import Path

# These are set before the import, at which MLflow would begin to send telemetry.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
from mlflow.entities import Metric, Param, Run, RunTag  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

from tunekit.schema import Status  # noqa: E402
from tunekit.store.records import StoredTrial  # noqa: E402
from tunekit.trackers.tracker import metrics, parameters, results, run_key, run_name  # noqa: E402

for name in ("mlflow", "alembic"):
    logging.getLogger(name).setLevel(logging.ERROR)  # MLflow would log each migration of a new database

KEY, STATUS = "tunekit.key", "tunekit.status"
"""The tags that hold the key of a run, and how its trial ended."""
ENDS = {Status.COMPLETED: "FINISHED", Status.STOPPED: "KILLED"}
"""The status of a run in MLflow's words. Every other status of a trial is FAILED."""


class MLflowTracker:
    """Sends epochs. A run is found by its key, so only epochs that MLflow lacks are sent."""

    def __init__(self, sweep: Path) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self.client = MlflowClient(uri or f"sqlite:///{sweep / 'mlflow.db'}")
        found = self.client.get_experiment_by_name(sweep.name)
        artifacts = None if uri else (sweep / "mlflow-artifacts").as_uri()
        self.experiment = found.experiment_id if found else self.client.create_experiment(sweep.name, artifacts)
        self._known: dict[str, tuple[str, int]] = {}
        """The id of each unfinished run, and the last epoch that MLflow has of it, by run_key."""

    def sync(self, trial: StoredTrial) -> None:
        """Send what is missing, see ``Tracker.sync``. Raises MlflowException where the server refuses it."""
        key = run_key(trial)
        status = trial.summary.status.value if trial.summary else "running"
        if key not in self._known:
            run = self._find(key)
            if run and run.data.tags.get(STATUS) == status != "running":
                return
            self._known[key] = self._open(trial, run)
        run_id, last = self._known[key]
        for record in trial.epochs[last:]:
            values = [Metric(name, value, 0, record.epoch) for name, value in metrics(record).items()]
            self.client.log_batch(run_id, values)
            self._known[key] = (run_id, record.epoch)
        if trial.summary:
            self.client.log_batch(run_id, [Metric(name, value, 0, 0) for name, value in results(trial).items()])
            self.client.set_tag(run_id, STATUS, status)
            self.client.set_terminated(run_id, ENDS.get(trial.summary.status, "FAILED"))
            del self._known[key]

    def close(self) -> None:
        """Do nothing, since ``sync`` buffers nothing."""

    def _find(self, key: str) -> Run | None:
        """Return the run with this key; None where there is none."""
        runs = self.client.search_runs([self.experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        return runs[0] if runs else None

    def _open(self, trial: StoredTrial, run: Run | None) -> tuple[str, int]:
        """Resume ``run``, or make a new one. Return its id and the last epoch that MLflow has of it."""
        if run:
            self.client.update_run(run.info.run_id, "RUNNING")
            history = self.client.get_metric_history(run.info.run_id, "train_loss")
            return run.info.run_id, max((metric.step for metric in history), default=0)
        run = self.client.create_run(self.experiment, run_name=run_name(trial), tags={KEY: run_key(trial)})
        params = [Param(name, str(value)) for name, value in parameters(trial).items()]
        self.client.log_batch(run.info.run_id, params=params, tags=[RunTag(STATUS, "running")])
        return run.info.run_id, 0
