"""Labels and names that are markup, formulas or terminal codes stay text in everything that analysis writes."""

import csv
import re

import pytest

from analysis.__main__ import main
from analysis.sweep_records import read_sweeps
from analysis.tables.render import escape_csv
from tests.support.records import FINGERPRINT, summary
from tests.support.stores import add, ask
from tunekit.__main__ import main as tunekit
from tunekit.schema import Status, TrialSpec
from tunekit.store.result_store import ResultStore

MODEL = "=cmd|' /C calc'!A0<script>alert(1)</script>[/red]"
DATASET = r"@SUM(1)\input{/etc/passwd}$\frac$[bold]<script>"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Where the report of a store went whose dataset and model have such names."""
    folder = tmp_path_factory.mktemp("hostile")
    store = ResultStore(folder / "sweep")
    fields = {"dataset": DATASET, "model": MODEL, "method": "full", "learning_rate": 1e-3}
    specs = [TrialSpec(**fields, seed=seed) for seed in (1, 2, 3)]
    ask(store, specs)
    for spec in specs:
        add(store, spec, [0.5 + spec.seed / 100])
    assert main([str(store.root), "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.mark.slow
def test_no_cell_of_a_csv_is_a_formula(written):
    tables = list(written.rglob("*.csv"))
    assert tables
    for path in tables:
        for row in csv.reader(path.open(newline="", encoding="utf-8")):
            for cell in row:
                assert not cell.startswith(("=", "@", "+", "-", "\t", "\r", "\n")) or re.fullmatch(
                    r"[-+]?[\d.e-]+", cell
                )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_each_start_of_a_formula_is_escaped(start):
    assert escape_csv(f"{start}1+1").startswith("'")


def test_no_page_or_drawing_has_a_script(written):
    pages = [path for kind in ("*.html", "*.svg", "*.md") for path in written.rglob(kind)]
    assert len(pages) > 3
    for path in pages:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            text = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
        assert "<script" not in text.lower(), path


def test_no_command_of_a_name_reaches_latex(written):
    tables = list(written.rglob("*.tex"))
    assert tables
    for path in tables:
        assert r"\input" not in path.read_text(encoding="utf-8")


def test_a_terminal_shows_names_and_errors_as_text(tmp_path, make_spec, capsys):
    store = ResultStore(tmp_path / "sweep")
    spec = make_spec(dataset="[/red][bold]x", score_test=True)
    ask(store, [spec])
    folder = store.open_trial(spec, FINGERPRINT)
    store.write_summary(folder, summary(Status.FAILED, "\x1b[2J\x1b]0;title\x07 failed"))
    assert tunekit(["status", str(store.root)]) == 0
    printed = capsys.readouterr().out
    assert "[/red][bold]x" in printed
    assert "\x1b" not in printed
    assert "\x07" not in printed


def test_display_names_of_a_dataset_hold_no_terminal_codes(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    add(store, make_spec())
    store.data_folder.mkdir()
    text = r'{"name": "demo", "display_name": "\u001b[2Jx", "label_names": ["\u0007"], "content_hash": "a"}'
    (store.data_folder / "demo.json").write_text(text)
    facts = read_sweeps([store.root]).datasets["demo"]
    assert (facts.display_name, facts.label_names) == (" [2Jx", (" ",))
