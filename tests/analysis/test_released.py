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
SIZES = {"study-minilm": 30, "learning-rates": 54}
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


def test_the_page_and_the_readme_show_the_tables_of_the_documented_command(results, tmp_path):
    assert main(["paper", str(results / "paper.yaml"), "--out", str(tmp_path / "paper"), "--figures", "none"]) == 0
    assert (tmp_path / "paper" / "numbers.tex").is_file()
    tables = {path.stem: rows_of(path.read_text()) for path in (tmp_path / "paper" / "tables").glob("*.md")}
    assert set(tables) == {"accuracy", "macro-f1"}
    page, readme = (path.read_text() for path in (ROOT / "docs" / "results.md", ROOT / "README.md"))
    for table in tables.values():
        assert "\n".join(table) in page
    assert "\n".join(tables["macro-f1"]) in readme


def test_the_page_shows_the_chosen_learning_rates(results, tmp_path):
    assert main(["report", str(results / "learning-rates"), "--out", str(tmp_path), "--figures", "none"]) == 0
    text = (tmp_path / "report.md").read_text()
    section = text[text.index("## Learning rates") : text.index("## Cost")]
    page = (ROOT / "docs" / "results.md").read_text()
    shown = [row for row in rows_of(page) if re.match(r"\| [^|]+ \| [^|]+ \| 5e-\d: ", row)]
    assert len(shown) == 6
    for row in shown:
        dataset, method, default, best, test = (cell.strip() for cell in row.strip("|").split("|"))
        [line] = [one for one in rows_of(section) if one.startswith(f"| MiniLM · {method} · {dataset} |")]
        rate, score = default.split(": ")
        assert f"| {rate} |" in line
        assert f"[{score}]" in line
        assert f"| {best} " in line
        assert f"[{test}]" in line
