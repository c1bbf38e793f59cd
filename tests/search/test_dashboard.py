"""optuna-dashboard reads a search's journal while it runs; its page, in a browser, shows the trials."""

import importlib.util
import json
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.support.browser import LARGEST_PICTURE, Browser, needs_chromium, picture_of
from tests.support.search_simulation import Simulation, plan_for

pytestmark = [
    pytest.mark.timeout(180),
    needs_chromium,
    pytest.mark.skipif(
        importlib.util.find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed"
    ),
]
MAIN = "import sys; from optuna_dashboard._cli import main; sys.argv[0] = 'optuna-dashboard'; main()"


@pytest.fixture
def dashboard(tmp_path):
    """The address of a dashboard on the journal of ``tmp_path``."""
    Simulation(tmp_path, [plan_for(trials=2)]).run()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", MAIN, str(tmp_path / "study.journal"), "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "dashboard.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "dashboard.log").read_text()
                time.sleep(0.1)
        yield address
        server.kill()


@pytest.mark.slow
def test_the_dashboard_shows_the_trials_of_a_search_that_goes_on(dashboard, tmp_path):
    def states() -> list[str]:
        with urllib.request.urlopen(f"{dashboard}/api/studies/0?after=0", timeout=30) as answer:
            return [trial["state"] for trial in json.load(answer)["trials"]]

    assert states() == ["Complete"] * 2
    Simulation(tmp_path, [plan_for(trials=4)]).run()
    for _ in range(60):  # the dashboard keeps what it read for some seconds
        if len(states()) == 4:
            break
        time.sleep(1)
    assert states() == ["Complete"] * 4
    picture = picture_of("optuna-dashboard", tmp_path)
    with Browser(tmp_path / "profile") as browser:
        page = browser.read(f"{dashboard}/dashboard/studies/0/trials", [f"Trial {number}" for number in range(4)])
        browser.read(f"{dashboard}/dashboard/studies/0", ["History"], picture=picture)
    assert "sweep/tiny-bert/demo/lora" in page
    assert all(f"Trial {number}" in page for number in range(4))
    assert 0 < picture.stat().st_size <= LARGEST_PICTURE
