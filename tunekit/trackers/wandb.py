"""Weights & Biases, with a project for each sweep and a run for each trial.

Without an API key the runs are written offline, in ``<sweep>/wandb``.
"""

import netrc
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("WANDB_SILENT", "true")  # set before the import, since W&B would print lines of its own

import wandb  # noqa: E402

from tunekit.store.records import StoredTrial  # noqa: E402
from tunekit.trackers.tracker import metrics, parameters, results, run_key, run_name  # noqa: E402

INIT_SECONDS = 30
"""The longest wait for the server at the start of a run."""
HOST = "https://api.wandb.ai"
"""The server where WANDB_BASE_URL names no other."""


class WandbTracker:
    """Sends runs. Online, a run continues after its last epoch; offline, a driver with new records writes it anew."""

    def __init__(self, sweep: Path) -> None:
        self.sweep, self.mode = sweep, mode()
        self._open: dict[str, tuple[Any, int]] = {}
        """Each unfinished run, and the number of epochs that were sent, by run_key."""

    def sync(self, trial: StoredTrial) -> None:
        """Send what is missing, see ``Tracker.sync``. Raises the errors of wandb where the server refuses it."""
        key = run_key(trial)
        mark = self.sweep / "wandb" / f"{key}.ended"
        if key not in self._open:
            if trial.summary and mark.exists() and mark.read_text(encoding="utf-8") == trial.summary.status.value:
                return
            self._open[key] = self._start(trial)
        run, written = self._open[key]
        for record in trial.epochs[written:]:
            run.log(metrics(record), step=record.epoch)
        self._open[key] = (run, max(written, len(trial.epochs)))
        if trial.summary:
            run.summary.update({**results(trial), "status": trial.summary.status.value})
            run.finish(exit_code=0 if trial.summary.error is None else 1)
            del self._open[key]
            mark.write_text(trial.summary.status.value, encoding="utf-8")

    def close(self) -> None:
        """Finish the runs of trials that have not ended; the next driver resumes them."""
        for run, _ in self._open.values():
            run.finish()

    def _start(self, trial: StoredTrial) -> tuple[Any, int]:
        """Start or resume a run. Return it and the number of epochs that it has."""
        key = run_key(trial)
        folder = self.sweep / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        if self.mode == "offline":
            for former in folder.glob(f"offline-run-*-{key}"):
                shutil.rmtree(former)
        # Only the records of the trial are sent: no console, no statistics of the machine, no code, no command line.
        settings = wandb.Settings(
            silent=True, console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True, save_code=False,
            disable_code=True, init_timeout=INIT_SECONDS,
        )  # fmt: skip
        run = wandb.init(
            project=re.sub(r"[/\\#?%:]", "-", self.sweep.name), id=key, name=run_name(trial), config=parameters(trial),
            dir=str(self.sweep), mode=self.mode, resume="allow", reinit="create_new", settings=settings,
        )  # fmt: skip
        return run, max(0, run.starting_step - 1) if run.resumed else 0


def mode() -> str:
    """Return WANDB_MODE or, where it is not set, ``online`` with an API key and ``offline`` without.

    Online without a key, W&B would ask for one at a terminal where nobody may sit.
    """
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    try:
        host = urlsplit(os.environ.get("WANDB_BASE_URL", HOST)).hostname
        return "online" if netrc.netrc().authenticators(host or "") else "offline"
    except (OSError, netrc.NetrcParseError):
        return "offline"
