"""The commands of README.md and docs/ are run page by page, in their order, after ``make demo``.

A tiny model stands in for MiniLM, with few rows and two epochs. Commands whose block says what they need (a GPU, a
cluster, hours) are planned. Programs that are not ours (kubectl, sbatch, ray) are tests of deploy/.
"""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from ray import tune

from tests.conftest import ROOT, needs_real_data
from tests.support.documented import PAGES, Command, commands, files_of
from tests.support.imports import log_mlflow_runs, peft_result, trainer_run
from tunekit.commands.command_line import main

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster", "without_plugins"), pytest.mark.timeout(600)]
CELLS = ["--models", "tiny-bert", "--methods", "full", "adapter", "lora"]
SEARCHED = ["--models", "tiny-bert", "--methods", "lora"]
SHRUNK = ["--train-limit", "48", "--epochs", "2", "--max-concurrent", "1"]
RUNNABLE = {one.page: ROOT / "docs" / one.page for one in commands() if one.program == "tunekit"}
RUNNABLE["README.md"] = ROOT / "README.md"
IN_DEFAULT = ("README.md", "export.md", "watch.md")
"""Pages that ``make test`` runs; ``make faults`` runs the others."""


def experiment(folder: Path) -> None:
    """Run an experiment of Ray Tune's own, of two trials, in ``folder``."""

    def trial(config):
        for loss in (1.0, 0.5):
            tune.report({"eval": {"f1": 1 - loss / 2}, "test": {"f1": 0.5}, "loss": loss})

    space = {"model_name": "bert", "task": "news", "seed": tune.grid_search([1, 2])}
    run = tune.RunConfig(name="my_experiment", storage_path=str(folder), verbose=0)
    tune.Tuner(trial, param_space=space, run_config=run).fit()


def other_programs(home: Path) -> None:
    """Write what the page on imports reads: experiments of Ray Tune, Trainer, MLflow and PEFT in ``home``."""
    experiment(home / "ray_results")
    for seed in (1, 2, 3):
        trainer_run(home / "runs" / f"bert-{seed}", seed, 0.7 + seed / 100)
        peft_result(home / "peft" / "results" / f"lora--{seed}.json", "LORA", seed, 0.5)
    log_mlflow_runs(f"sqlite:///{home / 'mlflow.db'}")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The sweep that ``make demo`` leaves, of a tiny model."""
    folder = tmp_path_factory.mktemp("demo")
    assert main(["run", "--preset", "demo", *CELLS, *SHRUNK, "--storage", str(folder)]) == 0
    return folder / "demo"


@pytest.fixture
def workshop(demo, tmp_path):
    """A folder as a reader has it after ``make demo``."""
    shutil.copytree(demo, tmp_path / "ray_results" / "demo")
    for name in ("docs", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def adapted(text: str, home: Path, bucket: str = "", server: str = "") -> str:
    """Return a command or a file of a page as it is run here."""
    places = {"/shared/results": "ray_results", "~": f"{home}", "s3://my-bucket": bucket, "10.0.0.5:9000": server}
    for there, here in places.items():
        text = text.replace(there, here)
    return re.sub(r"(?<![\w-])minilm\b", "tiny-bert", text)  # study-minilm is the name of a preset and of its results


def shrunk(one: Command, words: list[str]) -> list[str]:
    """Return the words of a command with fewer rows and epochs, or with ``--dry-run`` where it is only planned."""
    if one.words[0] not in ("run", "search") or "--dry-run" in words:
        return words
    if one.needs:
        return [*words, "--dry-run"]
    searches = one.words[0] == "search"
    whole = "--models" in words or "--config" in words
    cells = [] if whole else SEARCHED if searches else CELLS
    return [*words, *cells, *SHRUNK, *(["--trials", "2"] if searches else [])]


def expected(words: list[str]) -> set[int]:
    """Return the exit codes that a command may have here."""
    if words[0] == "doctor":
        return {0, 1}  # weights may be in the cache or not
    return {2} if any(name in words and find_spec(name) is None for name in ("mlflow", "wandb")) else {0}


def test_every_page_with_commands_is_run():
    assert set(IN_DEFAULT) < set(RUNNABLE)
    assert set(RUNNABLE.values()) <= set(PAGES)


@needs_real_data
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[] if page in IN_DEFAULT else pytest.mark.faults) for page in sorted(RUNNABLE)]
)
def test_the_commands_of_a_page(page, workshop, bucket, s3, monkeypatch, capfd):
    monkeypatch.chdir(workshop)
    home, server = workshop / "home", s3.url.removeprefix("http://")
    for name, text in files_of(RUNNABLE[page]).items():
        Path(name).write_text(adapted(text, home), encoding="utf-8")
    if page == "import.md":
        other_programs(home)
    for one in commands():
        if one.page != page or one.words[0] == "stamp":  # stamp would write into the source tree
            continue
        if one.needs and one.words[0] == "verify":  # there is no plan of it, only the training
            continue
        words = shrunk(one, adapted("\0".join(one.words), home, bucket, server).split("\0"))
        code = main(words)
        said = capfd.readouterr()
        assert code in expected(words), f"{' '.join(words)}\n{said.out[-2000:]}\n{said.err[-2000:]}"
        assert "Traceback" not in said.out + said.err
    if page == "export.md":
        labels = pd.read_csv("labels.csv")
        assert list(labels) == ["row", "label", "p_positive", "p_neutral", "p_negative"]
        assert labels["label"].isin(["positive", "neutral", "negative"]).all()
