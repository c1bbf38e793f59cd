"""A run as it is watched: Ray's metrics endpoint, Ray's dashboard in a browser. One run, stopped when all was seen."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.browser import CHROMIUM, LARGEST_PICTURE, Browser, needs_chromium, picture_of
from tunekit.commands.command_line import main as tunekit
from tunekit.runner.metrics import COUNTERS, OF_EVERY_TASK, gauges
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(400)]
LABELS = {"model", "dataset", "method", "slot"}
SETTINGS = {"models": ["tiny-bert"], "datasets": ["demo"], "train_limit": 48, "max_length": 32}
BLOCKS = [
    {**SETTINGS, "methods": ["full", "adapter"], "seeds": [1, 2], "epochs": 1},
    {**SETTINGS, "methods": ["lora"], "seeds": [1, 2], "epochs": 5000},
]
"""Trials that end, so that their slots are used again, and two that last until they are stopped."""
LINE = "tiny-bert · demo · lora · seed 1: epoch "
PROCESSES = ["ray::tiny-bert/demo/lora/seed-1", "ray::tiny-bert/demo/lora/seed-2"]
DONE = {"full", "adapter"}
"""The methods whose trials end."""
WAIT_SECONDS = 240
SWEEP = """
import atexit, json, pathlib, runpy, sys
from tunekit.runner import session
started = session.connect()
atexit.register(session.disconnect, started)
import ray
facts = {"dashboard": started.dashboard, "port": ray.nodes()[0]["MetricsExportPort"], "node": ray.nodes()[0]["NodeID"],
         "logs": ray._private.worker.global_worker.node.get_logs_dir_path()}
pathlib.Path(sys.argv[1]).write_text(json.dumps(facts))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def scraped(port: int) -> dict[str, list[dict[str, str]]]:
    """Labels of each of our series, by name, on a node's metrics endpoint."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found: dict[str, list[dict[str, str]]] = {}
    for name, labels in re.findall(r"^(ray_tunekit_\w+)\{(.*)\} ", text, re.MULTILINE):
        found.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels)))
    return found


def exported() -> set[str]:
    """The names that the endpoint should come to show: those of other tasks' metrics have no trial here."""
    own = {*OF_EVERY_TASK, "tunekit_macro_f1"}
    return {f"ray_{name}" for name in own} | {"ray_tunekit_trials_done_total"}


def token() -> str:
    """The token of this user's Ray."""
    return os.environ.get("RAY_AUTH_TOKEN") or (Path.home() / ".ray" / "auth_token").read_text().strip()


def wait_until(run: subprocess.Popen, holds: Callable[[], bool]) -> None:
    """Wait for what comes with time, while ``run`` goes on. An endpoint may not answer yet."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and run.poll() is None:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(1)


def looked(run: subprocess.Popen, folder: Path) -> dict:
    """What the endpoint and the pages of the dashboard show while ``run`` goes on."""
    facts = json.loads((folder / "facts.json").read_text())
    found: dict = {}

    def all_exported() -> bool:
        found["metrics"] = scraped(facts["port"])
        slots = {one["slot"] for one in found["metrics"].get("ray_tunekit_epoch", ())}
        done = {one["method"] for one in found["metrics"].get("ray_tunekit_trials_done_total", ())}
        return exported() <= set(found["metrics"]) and slots == {"1", "2"} and done == DONE

    wait_until(run, all_exported)
    if CHROMIUM:
        dashboard, cookies = facts["dashboard"], {"ray-authentication-token": token()}
        log = next(path for path in Path(facts["logs"]).glob("worker-*.out") if LINE in path.read_text()).name
        with Browser(folder / "profile") as browser:
            found["refused"] = browser.read(f"{dashboard}/#/actors", ["oken"])
            found["actors"] = browser.read(f"{dashboard}/#/actors", ["tunekit slot 1", "tunekit slot 2"], cookies)
            page = f"{dashboard}/#/logs/viewer?nodeId={facts['node']}&fileName={log}"
            found["log"] = browser.read(page, [LINE], cookies)
            picture = {"picture": picture_of("ray-dashboard", folder), "size": (1300, 1130)}
            found["cluster"] = browser.read(f"{dashboard}/#/cluster", PROCESSES, cookies, "tbody tr td svg", **picture)
            assert tunekit(["status", str(folder / "grid"), "--html", str(folder / "status.html")]) == 0
            picture = {"picture": picture_of("status", folder), "size": (800, 390)}
            found["status"] = browser.read((folder / "status.html").as_uri(), ["running"], **picture)
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What ``looked`` saw during a run, and the folder of its sweep."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "grid.yaml").write_text(json.dumps(BLOCKS))  # which is YAML without aliases
    command = [folder / "facts.json", ROOT / "sweeps" / "main_grid.py", "--config", folder / "grid.yaml"]
    command += ["--storage", folder, "--max-concurrent", "2", "--track", "tensorboard"]
    with (folder / "printed.txt").open("wb") as printed:
        run = subprocess.Popen(
            [sys.executable, "-c", SWEEP, *map(str, command)], stdout=printed, stderr=printed, cwd=ROOT
        )
        try:
            wait_until(run, lambda: len(list((folder / "grid" / "trials").glob("*lora*/epochs.jsonl"))) == 2)
            assert run.poll() is None, (folder / "printed.txt").read_text()[-3000:]
            found = looked(run, folder)
        finally:
            run.send_signal(signal.SIGINT)
            code = run.wait(60)
    assert code == 130, (folder / "printed.txt").read_text()[-3000:]
    return {**found, "sweep": folder / "grid"}


def test_the_metrics_endpoint_shows_the_run_with_few_labels(seen):
    metrics = seen["metrics"]
    assert exported() <= set(metrics)
    assert set(metrics) <= {f"ray_{name}" for name in gauges()} | {f"ray_{name}_total" for name in COUNTERS}
    for name, series in metrics.items():
        for labels in series:
            ours = LABELS if name.removeprefix("ray_") in gauges() else LABELS - {"slot"}
            assert ours <= set(labels)
            assert (labels["model"], labels["dataset"]) == ("tiny-bert", "demo")
    assert {one["slot"] for one in metrics["ray_tunekit_epoch"]} == {"1", "2"}
    assert {one["method"] for one in metrics["ray_tunekit_trials_done_total"]} == DONE


@needs_chromium
def test_two_clicks_in_the_dashboard_lead_to_each_trial_by_its_name(seen):
    """The first opens the page Cluster, the second a node."""
    assert all(name in seen["cluster"] for name in PROCESSES)


@needs_chromium
def test_the_status_page_shows_what_is_done_and_what_runs(seen):
    assert "tiny-bert · demo · lora" in seen["status"]
    assert "done" in seen["status"]


@needs_chromium
@pytest.mark.parametrize("name", ["ray-dashboard", "status"])
def test_the_pictures_of_the_docs_are_small(seen, name):
    assert 0 < picture_of(name, seen["sweep"].parent).stat().st_size <= LARGEST_PICTURE


@needs_chromium
def test_the_dashboard_names_slots_and_its_log_page_the_trial(seen):
    assert "tunekit slot" not in seen["refused"]
    assert "tunekit slot 1" in seen["actors"]
    assert "tunekit slot 2" in seen["actors"]
    assert not re.search("tunekit slot [^12]", seen["actors"])
    assert LINE in seen["log"]


def test_a_run_that_is_broken_off_has_told_tensorboard(seen):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trial = next(one for one in ResultStore(seen["sweep"]).trials()[0] if one.spec.method == "full")
    folder = seen["sweep"] / "tensorboard" / f"{trial.spec.label} · {trial.spec.trial_id[:8]}"
    [event] = reader.EventAccumulator(str(folder)).Reload().Scalars("train_loss")
    assert event.value == pytest.approx(trial.epochs[0].train_loss, rel=1e-6)
