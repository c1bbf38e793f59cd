"""The whole chain of a suite: from a hub over the plan and the trials on Ray to its tables and its report."""

import json
import os
import subprocess
import sys

import pytest

from analysis.results import load
from tests.conftest import ROOT
from tests.support.hub_datasets import GLUE, hub_of
from tunekit.commands.command_line import main
from tunekit.data.hub_catalog import HUB_DATASETS
from tunekit.tasks import task_of

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
RUN = ["--suite", "glue", "--models", "tiny-bert", "--methods", "full", "lora", "--seeds", "1", "--train-limit", "40"]
RUN += ["--epochs", "1", "--max-length", "32", "--max-concurrent", "1"]
TEST_PART = "the test part is the split validation, and the validation part is drawn from its training split; the"


def tunekit(home, url, *words):
    """Run a command in a process of its own, whose hub is at ``url``; return what it printed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "RAY_ADDRESS"))}
    variables |= {"HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "TUNEKIT_CACHE_DIR": str(home / "cache")}
    variables["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "tunekit", *words]
    run = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=home, timeout=540)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-3000:]
    return run.stdout


def test_glue_is_trained_tabled_and_reported(tmp_path):
    with hub_of(tmp_path / "repositories") as hub:
        printed = tunekit(tmp_path, hub.url, "run", *RUN, "--format", "json")
        # Nothing is left to train, and the hub is not asked again.
        asked = len(hub.asked)
        assert json.loads(tunekit(tmp_path, hub.url, "run", *RUN, "--format", "json")) == json.loads(printed)
        assert len(hub.asked) == asked
    folder = tmp_path / "ray_results" / "tiny-bert-glue-full-lora"
    first, *others = json.loads(printed)["tables"]
    headings = list(dict.fromkeys(entry["column"] for entry in first["entries"]))
    assert first["metric"] == "primary"
    metrics = {"cola": "MCC", "stsb": "Pearson's r"}
    assert headings == [f"{HUB_DATASETS[name].source.name} ({metrics.get(name, 'accuracy')})" for name in GLUE]
    assert all(entry["n"] == 1 for entry in first["entries"])
    for table in (first, *others):
        assert any(TEST_PART in note for note in table["notes"])
    assert any("MNLI: the test part is the split validation_matched" in note for note in first["notes"])

    results = load(folder)
    assert len(results.trials) == 9 * 2
    assert set(results.trials["status"]) == {"completed"}
    compared = results.across_datasets()
    assert (compared.metric, len(compared.datasets), len(compared.rows)) == ("primary", 9, 2)
    assert compared.frame["mean_rank"].sum() == pytest.approx(3)
    by_name = {task_of(cell.dataset).primary for cell in results.cells()}
    assert by_name == {"mcc", "accuracy", "pearson"}
    recorded = json.loads((folder / "sweep.json").read_text())
    assert "hf:nyu-mll/glue/cola@bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c" in json.dumps(recorded)

    out = tmp_path / "paper"
    assert main(["report", str(folder), "--out", str(out), "--figures", "none"]) == 0, "in a process without a hub"
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "The test part is the split validation, and the validation part is drawn from its training split" in page
    assert "rows over 9 datasets" in page
    assert (out / "tables" / "across-primary.csv").exists()
