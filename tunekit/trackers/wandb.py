"""Weights & Biases: a project a sweep, a run a trial; offline, in ``<sweep>/wandb``, where there is no API key."""

import netrc
import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("WANDB_SILENT", "true")  # before the import: W&B would write among our lines

import wandb  # noqa: E402

from tunekit.store.records import StoredTrial  # noqa: E402
from tunekit.trackers.tracker import metrics, parameters, results, run_key, run_name  # noqa: E402

INIT_SECONDS = 30
HOST = "https://api.wandb.ai"


class WandbTracker:
    """Online, a run goes on where the server has it; offline, a driver that finds more on record writes it anew."""

    def __init__(self, sweep: Path) -> None:
        self.sweep, self.mode = sweep, mode()
        self._open: dict[str, tuple[object, int]] = {}
        """By run_key: the run and the epochs it has."""

    def sync(self, trial: StoredTrial) -> None:
        """As ``Tracker.sync``. Raises wandb's errors where the server does not take it."""
        key = run_key(trial)
        mark = self.sweep / "wandb" / f"{key}.ended"
        if key not in self._open:
            if trial.summary and mark.exists() and mark.read_text(encoding="utf-8") == trial.summary.status.value:
                return
            self._open[key] = self._begun(trial)
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
        """Finish what has not ended: the next driver goes on with it."""
        for run, _ in self._open.values():
            run.finish()

    def _begun(self, trial: StoredTrial) -> tuple[object, int]:
        key = run_key(trial)
        folder = self.sweep / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        if self.mode == "offline":
            for former in folder.glob(f"offline-run-*-{key}"):
                shutil.rmtree(former)
        # No console, no machine statistics, no code and no command line: only what the store holds of the trial.
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
    """WANDB_MODE, else online where a key is at hand: W&B would ask for one, and nobody may sit there to answer."""
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    try:
        host = urlsplit(os.environ.get("WANDB_BASE_URL", HOST)).hostname
        return "online" if netrc.netrc().authenticators(host or "") else "offline"
    except (OSError, netrc.NetrcParseError):
        return "offline"
