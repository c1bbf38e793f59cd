"""MLflow: an experiment a sweep, a run a trial, on MLFLOW_TRACKING_URI or else in ``<sweep>/mlflow.db``."""

import logging
import os
from pathlib import Path

# Before the import: else MLflow reports its use to its makers.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
from mlflow.entities import Metric, Param, Run, RunTag  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

from tunekit.schema import Status  # noqa: E402
from tunekit.store.records import StoredTrial  # noqa: E402
from tunekit.trackers.tracker import metrics, parameters, results, run_key, run_name  # noqa: E402

for name in ("mlflow", "alembic"):
    logging.getLogger(name).setLevel(logging.ERROR)  # else each migration of a new database is told

KEY, STATUS = "tunekit.key", "tunekit.status"
"""Tags: what a run is found by, and how its trial ended."""
ENDS = {Status.COMPLETED: "FINISHED", Status.STOPPED: "KILLED"}
"""MLflow's words; every other status is FAILED."""


class MLflowTracker:
    """Runs are found again by their key, and only epochs that MLflow lacks are sent."""

    def __init__(self, sweep: Path) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self.client = MlflowClient(uri or f"sqlite:///{sweep / 'mlflow.db'}")
        found = self.client.get_experiment_by_name(sweep.name)
        artifacts = None if uri else (sweep / "mlflow-artifacts").as_uri()
        self.experiment = found.experiment_id if found else self.client.create_experiment(sweep.name, artifacts)
        self._known: dict[str, tuple[str, int]] = {}
        """By run_key: the run's id and its last epoch there."""

    def sync(self, trial: StoredTrial) -> None:
        """As ``Tracker.sync``. Raises MlflowException where the server does not take it."""
        key = run_key(trial)
        status = trial.summary.status.value if trial.summary else "running"
        if key not in self._known:
            run = self._found(key)
            if run and run.data.tags.get(STATUS) == status != "running":
                return
            self._known[key] = self._begun(trial, run)
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
        """Nothing: each sync is sent at once."""

    def _found(self, key: str) -> Run | None:
        runs = self.client.search_runs([self.experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        return runs[0] if runs else None

    def _begun(self, trial: StoredTrial, run: Run | None) -> tuple[str, int]:
        if run:
            self.client.update_run(run.info.run_id, "RUNNING")
            history = self.client.get_metric_history(run.info.run_id, "train_loss")
            return run.info.run_id, max((one.step for one in history), default=0)
        run = self.client.create_run(self.experiment, run_name=run_name(trial), tags={KEY: run_key(trial)})
        params = [Param(name, str(value)) for name, value in parameters(trial).items()]
        self.client.log_batch(run.info.run_id, params=params, tags=[RunTag(STATUS, "running")])
        return run.info.run_id, 0
