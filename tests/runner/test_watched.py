"""A run as it is watched: Ray's metrics endpoint, Ray's dashboard in a browser. One run, stopped when all was seen."""

import json
import os
import re
import runpy
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from tests.browser import CHROMIUM, Browser, needs_chromium
from tests.conftest import ROOT
from tunekit.runner import session as ray_session
from tunekit.runner.metrics import COUNTERS, GAUGES

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(400)]
LABELS = {"model", "dataset", "method", "slot"}
SETTINGS = {"models": ["tiny-bert"], "datasets": ["demo"], "train_limit": 48, "max_length": 32}
BLOCKS = [
    {**SETTINGS, "methods": ["full"], "seeds": [1], "epochs": 1},
    {**SETTINGS, "methods": ["lora"], "seeds": [1, 2], "epochs": 5000},
]
"""A trial that ends, so that its slot is used again, and two that last until they are stopped."""
LINE = "tiny-bert · demo · lora · seed 1: epoch "


@pytest.fixture(scope="module")
def dashboard():
    """The address of the dashboard of a Ray with two cores."""
    ray_session.keep_token_private()
    context = ray.init(
        num_cpus=2, log_to_driver=False, include_dashboard=True, dashboard_host="127.0.0.1",
        object_store_memory=128 * 2**20,
    )  # fmt: skip
    yield f"http://{context.dashboard_url}"
    ray.shutdown()


def scraped() -> dict[str, list[dict[str, str]]]:
    """Labels of each of our series, by name, on the metrics endpoint of this node."""
    port = ray.nodes()[0]["MetricsExportPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found: dict[str, list[dict[str, str]]] = {}
    for name, labels in re.findall(r"^(ray_tunekit_\w+)\{(.*)\} ", text, re.MULTILINE):
        found.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels)))
    return found


def exported() -> set[str]:
    """The names that the endpoint should come to show."""
    return {f"ray_{name}" for name in GAUGES} | {"ray_tunekit_trials_done_total"}


def token() -> str:
    """The token of this user's Ray."""
    return os.environ.get("RAY_AUTH_TOKEN") or (Path.home() / ".ray" / "auth_token").read_text().strip()


def log_with(line: str) -> Path:
    """The log of the worker that has written ``line``."""
    folder = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    return next(path for path in folder.glob("worker-*.out") if line in path.read_text())


class Watcher(threading.Thread):
    """Looks while the grid runs, and stops the grid."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.look, self.error = look, None
        self.over = threading.Event()

    def run(self) -> None:
        try:
            self.look()
        except Exception as error:  # told by the test
            self.error = error
        if not self.over.is_set():
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def seen(dashboard, tmp_path_factory):
    """What the endpoint and the pages of the dashboard showed during a run, by name."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "grid.yaml").write_text(json.dumps(BLOCKS))  # which is YAML without aliases
    found: dict = {}

    def look() -> None:
        deadline = time.monotonic() + 240
        while (
            time.monotonic() < deadline
            and not watcher.over.is_set()
            and not exported() <= set(found.get("metrics", ()))
        ):
            time.sleep(1)
            found["metrics"] = scraped()
        if CHROMIUM is None:
            return
        node = ray.nodes()[0]["NodeID"]
        cookies = {"ray-authentication-token": token()}
        with Browser(folder / "profile") as browser:
            found["refused"] = browser.read(f"{dashboard}/#/actors", ["token"])
            found["actors"] = browser.read(f"{dashboard}/#/actors", ["tunekit slot 1", "tunekit slot 2"], cookies)
            log = log_with(LINE).name
            page = f"{dashboard}/#/logs/viewer?nodeId={node}&fileName={log}"
            found["log"] = browser.read(page, [LINE], cookies)

    watcher = Watcher(look)
    watcher.start()
    command = ["main_grid.py", "--config", folder / "grid.yaml", "--storage", folder, "--track", "tensorboard"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(one) for one in command])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "sweeps" / "main_grid.py"), run_name="__main__")
    watcher.over.set()
    watcher.join()
    if watcher.error:
        raise watcher.error
    assert left.value.code == 130, "the grid ended by itself"
    return found


def test_the_metrics_endpoint_shows_the_run_with_few_labels(seen):
    metrics = seen["metrics"]
    assert exported() <= set(metrics)
    assert set(metrics) <= {f"ray_{name}" for name in GAUGES} | {f"ray_{name}_total" for name in COUNTERS}
    for name, series in metrics.items():
        for labels in series:
            ours = LABELS if name.removeprefix("ray_") in GAUGES else LABELS - {"slot"}
            assert ours <= set(labels)
            assert (labels["model"], labels["dataset"]) == ("tiny-bert", "demo")
    assert {one["slot"] for one in metrics["ray_tunekit_epoch"]} == {"1", "2"}
    assert [one["method"] for one in metrics["ray_tunekit_trials_done_total"]] == ["full"]


@needs_chromium
def test_the_dashboard_names_slots_and_its_log_page_the_trial(seen):
    assert "tunekit slot" not in seen["refused"]
    assert "tunekit slot 1" in seen["actors"]
    assert "tunekit slot 2" in seen["actors"]
    assert not re.search("tunekit slot [^12]", seen["actors"])
    assert LINE in seen["log"]
