"""The commands of docs/ are run, page by page, where a reader has them: a tiny model for MiniLM, few rows, two epochs.

What needs BERT's weights, or trains for days, is planned (``--dry-run``). Commands that are not ours (kubectl, sbatch,
ray job) and servers are tests of deploy/ and of the dashboards.
"""

import re
from importlib.util import find_spec

import pandas as pd
import pytest
from ray import tune

from analysis.__main__ import main as analysis
from tests.conftest import ROOT, needs_real_data
from tests.support.documented import EXAMPLE, commands
from tests.support.stores import PAPER
from tests.support.trials import run_script
from tunekit.__main__ import main as tunekit

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster", "without_plugins"), pytest.mark.timeout(600)]
CELLS = ["--models", "tiny-bert", "--methods", "full", "adapter", "lora"]
SHRUNK = ["--train-limit", "48", "--epochs", "2"]
TRAINED = re.compile(r"demo|reviews|ln_tuning")
"""Sweeps that a reader trains within minutes."""
ROWS = "aspect,sentence\nfood,the food is great .\nservice,the service was slow .\n"
REVIEWS = "text,stars\n" + "".join(
    f"a {word} place number {n} .,{word}\n" for n in range(40) for word in ("bad", "good")
)
GRID = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "grid.md").read_text(encoding="utf-8"), re.S).group(1)
PAGES = sorted({page for page, _ in commands() if (ROOT / "docs" / page).exists() and page != "README.md"})
IN_DEFAULT = ("export.md", "watch.md")


def experiment(folder):
    """One of Ray Tune's own, of two trials."""

    def trial(config):
        for loss in (1.0, 0.5):
            tune.report({"eval": {"f1": 1 - loss / 2}, "loss": loss})

    space = {"model_name": "bert", "task": "news", "seed": tune.grid_search([1, 2])}
    run = tune.RunConfig(name="my_experiment", storage_path=str(folder), verbose=0)
    tune.Tuner(trial, param_space=space, run_config=run).fit()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with what the pages name: their files and a demo sweep that kept weights."""
    folder = tmp_path_factory.mktemp("workshop")
    for name in ("docs", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "rows.csv").write_text(ROWS)
    (folder / "reviews.csv").write_text(REVIEWS)
    (folder / "grid.yaml").write_text(GRID)
    (folder / "ln_tuning.py").write_text(EXAMPLE)
    (folder / "paper.yaml").write_text(
        PAPER.replace("[golden]", "[ray_results/demo]").replace("learning_rate: 0.002, ", "")
    )
    demo = ["--preset", "demo", *CELLS, *SHRUNK, "--keep-models", "best", "--storage", folder / "ray_results"]
    assert run_script("main_grid.py", *demo) == 0
    return folder


def shrunk(words, home, bucket, server):
    """The words of a command as they are run here."""
    places = {"minilm": "tiny-bert", "results/study": "results/demo", "/shared/results": "ray_results", "~": f"{home}"}
    text = "\0".join(words)
    for there, here in places.items():
        text = text.replace(there, here)
    words = text.replace("s3://my-bucket", bucket).replace("10.0.0.5:9000", server).split("\0")
    if not words[0].startswith("sweeps/"):
        return words
    if not TRAINED.search(" ".join(words)):
        return [*words, "--dry-run"]
    whole = "--models" in words or "--config" in words
    return [*words, *([] if whole else CELLS), *SHRUNK, *(["--trials", "2"] if "peft_search" in words[0] else [])]


def run(words):
    """Run a command; its exit code."""
    if words[0].startswith("sweeps/"):
        return run_script(words[0].removeprefix("sweeps/"), *words[1:])
    return {"analysis": analysis, "tunekit": tunekit}[words[1]](words[2:])


def expected(words):
    """The exit codes that a command may have here."""
    if "doctor" in words:
        return {0, 1}  # RoBERTa's weights may be in the cache or not
    return {2} if any(name in words and find_spec(name) is None for name in ("mlflow", "wandb")) else {0}


@needs_real_data
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[] if page in IN_DEFAULT else pytest.mark.faults) for page in PAGES]
)
def test_the_commands_of_a_page(page, workshop, bucket, s3, monkeypatch, capfd):
    monkeypatch.chdir(workshop)
    if page == "analysis.md":
        experiment(workshop / "home" / "ray_results")
    ours = [words for named, words in commands() if named == page and "..." not in words]
    ours = [words for words in ours if words[:3] != ["-m", "tunekit", "stamp"]]  # it would write into the source tree
    for words in ours:
        line = shrunk(words, workshop / "home", bucket, s3.url.removeprefix("http://"))
        code = run(line)
        said = capfd.readouterr()
        assert code in expected(line), f"{' '.join(line)}\n{said.out[-2000:]}\n{said.err[-2000:]}"
        assert "Traceback" not in said.out + said.err
    if page == "export.md":
        assert len(ours) == 8
        labels = pd.read_csv("labels.csv")
        assert list(labels) == ["row", "label", "p_positive", "p_neutral", "p_negative"]
        assert labels["label"].isin(["positive", "neutral", "negative"]).all()
