"""The stores that are released with the documentation, and what the documentation shows of them."""

import re
import shutil

import pytest

import tunekit
from analysis.__main__ import main
from tests.conftest import ROOT

RESULTS = ROOT / "docs" / "results"
LARGEST = 25_000_000
"""The bytes that all released stores may take together."""
SIZES = {"study-minilm": 30, "agnews-600": 3, "learning-rates": 54, "packs": 2}
"""The trials of each released store."""


@pytest.fixture
def results(tmp_path):
    """A copy of the released stores and of what is asked of them."""
    return shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("cache"))


def rows_of(text):
    """Return the lines of Markdown tables in ``text``."""
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("name", SIZES)
def test_a_released_store_is_whole_and_read_like_any_other(name, results):
    loaded = tunekit.load(results / name)
    assert loaded.trials["status"].value_counts().to_dict() == {"completed": SIZES[name]}
    assert set(loaded.trials["model"]) == {"minilm"}
    assert len(loaded.epochs) == 3 * SIZES[name]


def test_released_stores_are_small_and_hold_no_weights_and_no_paths(results):
    files = [path for path in results.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST
    assert not [path for path in files if path.suffix in (".safetensors", ".pt", ".bin")]
    for path in files:
        if path.suffix in (".json", ".jsonl", ".yaml"):
            assert not re.search(r"/(home|root|tmp|work)/", path.read_text()), path


@pytest.mark.slow
def test_the_readme_shows_a_table_of_the_documented_command(results, tmp_path):
    assert main(["paper", str(results / "paper.yaml"), "--out", str(tmp_path / "paper"), "--figures", "none"]) == 0
    assert (tmp_path / "paper" / "numbers.tex").is_file()
    table = rows_of((tmp_path / "paper" / "tables" / "macro-f1.md").read_text())
    assert "\n".join(table) in (ROOT / "README.md").read_text()
