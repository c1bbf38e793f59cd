"""A paper's folder: every number out of the store, DRAFT while trials are missing, and a check that notices changes."""

import json
import re
import shutil
import subprocess

import pytest

from analysis.__main__ import main
from tests.support.stores import GOLDEN, PAPER, add, add_of_task, ask
from tests.support.trials import specify
from tunekit.store.result_store import ResultStore

pytestmark = pytest.mark.slow


@pytest.fixture
def paper(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "golden")
    (tmp_path / "paper.yaml").write_text(PAPER)
    return tmp_path / "paper.yaml"


CLAIMS = """\
rows: [tiny-bert, tiny-bert/lora]
datasets: [demo]
configuration: best on validation
claims:
- {id: full-wins, text: Full wins., quantifier: all, parts: [
    {statements: tiny-bert > tiny-bert/lora, datasets: demo, metrics: accuracy}]}
"""


DRAWN_NONE = PAPER.replace("figures: [overview]", "figures: []")


def run(paper, *flags):
    return main(["paper", str(paper), "--out", str(paper.parent / "out"), *flags])


def compiled(folder, name):
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    shown = subprocess.run(
        ["pdftotext", "-layout", f"{folder / name}.pdf", "-"], capture_output=True, text=True, check=True
    )
    return shown.stdout


def test_rows_names_and_numbers_are_as_asked(paper, capsys):
    assert run(paper) == 0
    out = paper.parent / "out"
    table = (out / "tables" / "peft.md").read_text()
    assert "| Full fine-tuning | **45.87 ± 0.87** |" in table
    assert r"Full \& LoRA." in (out / "tables" / "peft.tex").read_text()
    numbers = (out / "numbers.tex").read_text()
    assert r"\tunekitnumber{peft/full-fine-tuning/demo}{45.87 $\pm$ 0.87}" in numbers
    assert r"\tunekitnumber{peft/lora/demo/n}{3}" in numbers
    appendix = (out / "appendix.tex").read_text()
    assert "Tiny\\_BERT" in appendix
    for fact in ("batch size & 16", "600 & 100 & 300", "torch 2.13.0+cpu", "AMD EPYC", "learning rate"):
        assert fact in appendix
    assert [path.suffix for path in sorted((out / "figures").iterdir())] == [".pdf", ".svg"]
    assert not [text for text in out.rglob("*.tex") if "DRAFT" in text.read_text()]
    capsys.readouterr()


def test_figures_come_in_the_formats_asked_for(paper, capsys):
    out = paper.parent / "out"
    assert run(paper, "--figures", "png") == 0
    assert [path.suffix for path in (out / "figures").iterdir()] == [".png"]
    assert ".png}" in (out / "figures.tex").read_text()
    assert run(paper, "--figures", "png", "--check") == 0
    shutil.rmtree(out)
    assert run(paper, "--figures", "none") == 0
    assert not (out / "figures").exists()
    assert "includegraphics" not in (out / "figures.tex").read_text()
    assert run(paper, "--figures", "svg") == 2
    assert "add pdf or png" in capsys.readouterr().err


def test_the_usual_tables_come_without_a_list(paper, capsys):
    paper.write_text("sweeps: [golden]\nfigures: []\n")
    assert run(paper) == 0
    assert {path.stem for path in (paper.parent / "out" / "tables").iterdir()} == {
        "methods-tiny-bert-accuracy",
        "methods-tiny-bert-macro-f1",
        "settings-demo-accuracy",
        "settings-demo-macro-f1",
    }
    capsys.readouterr()


def test_a_row_of_several_settings_shows_those_that_validation_chose(paper, capsys):
    paper.write_text(DRAWN_NONE.replace(", learning_rate: 0.002", ""))
    assert run(paper) == 0
    out = paper.parent / "out"
    table = (out / "tables" / "peft.md").read_text()
    assert "| Full fine-tuning | **45.87 ± 0.87** |" in table
    assert "Demo lr 0.002 (best mean macro-F1 on validation of 2 configurations)" in table
    numbers = (out / "numbers.tex").read_text()
    assert r"\tunekitnumber{peft/full-fine-tuning/demo/configuration}{lr 0.002}" in numbers
    capsys.readouterr()


def test_two_settings_of_one_method_in_one_table_are_not_ranked_by_test(paper, capsys):
    row = "      - {model: tiny-bert, method: full, learning_rate: 0.001, label: Lower rate}\n"
    paper.write_text(DRAWN_NONE + row)
    assert run(paper) == 0
    table = (paper.parent / "out" / "tables" / "peft.md").read_text()
    assert "**45.87" not in table
    assert "test does not rank settings" in table
    capsys.readouterr()


def test_the_studys_claims_are_left_out_where_none_can_be_tested(paper, capsys):
    paper.write_text(DRAWN_NONE)
    assert run(paper) == 0
    out = paper.parent / "out"
    assert "{claim/" not in (out / "numbers.tex").read_text()
    assert (out / "claims.tex").read_text() == ""
    (paper.parent / "claims.yaml").write_text(CLAIMS)
    paper.write_text(DRAWN_NONE + "claims: claims.yaml\n")
    assert run(paper) == 0
    numbers = (out / "numbers.tex").read_text()
    assert r"\tunekitnumber{claim/full-wins}{" in numbers
    for part in ("p", "holds-for", "test"):
        assert rf"\tunekitnumber{{claim/full-wins/{part}}}{{" in numbers
    assert "What the verdicts used" in (out / "appendix.tex").read_text()
    capsys.readouterr()


def test_an_unfinished_sweep_is_a_draft(tmp_path, make_spec, capsys):
    store = ResultStore(tmp_path / "golden")
    specs = [make_spec(seed=seed, method=m, method_params={}) for seed in (1, 2) for m in ("full", "lora")]
    ask(store, specs)
    add(store, specs[0], [0.5])
    (tmp_path / "paper.yaml").write_text("sweeps: [golden]\n")
    assert run(tmp_path / "paper.yaml") == 0
    assert "DRAFT: 3 trials" in capsys.readouterr().out
    out = tmp_path / "out"
    assert "DRAFT, 3 trials missing: Macro-F1" in next((out / "tables").glob("*macro*.tex")).read_text()
    assert "{??}" in (out / "numbers.tex").read_text()
    assert "DRAFT" in (out / "appendix.tex").read_text()


def test_check_passes_until_something_changes(paper, capsys):
    assert run(paper) == 0
    assert run(paper, "--check") == 0
    out, golden = paper.parent / "out", paper.parent / "golden"
    shutil.copytree(golden, paper.parent / "moved")
    shutil.rmtree(golden)
    (paper.parent / "moved").rename(golden)
    assert run(paper, "--check") == 0  # other inodes and times are no change
    capsys.readouterr()
    numbers = (out / "numbers.tex").read_text()
    (out / "numbers.tex").write_text(numbers.replace("45.87", "46.87"))
    assert run(paper, "--check") == 1
    assert "numbers.tex is not what the stores give now" in capsys.readouterr().out
    (out / "numbers.tex").write_text(numbers)
    (figure,) = (out / "figures").glob("*.pdf")
    drawn = figure.read_bytes()
    figure.write_bytes(drawn + b"x")
    assert run(paper, "--check") == 1
    assert f"figures/{figure.name} is not as it was written" in capsys.readouterr().out
    figure.write_bytes(drawn)
    epochs = next(golden.glob("trials/*lora-s1-*/epochs.jsonl"))
    epochs.write_text(re.sub(r'"test_accuracy": [0-9.]+', '"test_accuracy": 0.5', epochs.read_text()))
    assert run(paper, "--check") == 1
    assert f"trial changed: golden/{epochs.parent.name}" in capsys.readouterr().out
    shutil.rmtree(epochs.parent)
    assert run(paper, "--check") == 1
    assert f"trial gone: golden/{epochs.parent.name}" in capsys.readouterr().out


BAD = {
    "tables: []": "lacks sweeps",
    "sweeps: [golden]\nmetrics: [f2]": "metrics: there is no metric 'f2' (there are accuracy, macro_f1",
    "sweeps: [golden]\nselect: best": "select is one of",
    "sweeps: [golden]\nfigures: [pies]": "'pies' is none of",
    "sweeps: [golden]\ntitel: x": "unknown titel",
    "sweeps: golden": "sweeps is a list of texts",
    "sweeps: [nowhere]": "holds no sweep",
    "sweeps: [golden": "while parsing a flow sequence",
    "sweeps: [golden]\nsweeps: [golden]": "occurs twice",
    PAPER.replace(", method: full, learning_rate: 0.002", ""): "fits 3 cells of demo: tiny-bert full; tiny-bert full",
    PAPER.replace("method: lora", "method: adapter"): "fits no cell; there are tiny-bert full",
    PAPER.replace("stem: peft", "stem: ../peft"): "stem is a file name",
    PAPER.replace("{model: tiny-bert, method: lora}", "{seed: 1}"): "seeds are what is averaged over",
    PAPER.replace("method: lora", "method: lora, label: Full fine-tuning"): "give each a label of its own",
}


@pytest.mark.parametrize("content", BAD)
def test_bad_input_is_one_line_that_names_its_place(paper, content, capsys):
    paper.write_text(content)
    assert run(paper) == 2
    error = capsys.readouterr().err
    assert BAD[content] in error
    assert error.count("\n") == 1


NUMBERS = """\
rows: [tiny-bert, tiny-bert/lora]
datasets: [demo-regression]
claims:
- {id: wins, text: Full wins., quantifier: all, parts: [
    {statements: tiny-bert best, among: [tiny-bert, tiny-bert/lora], datasets: all, metrics: [rmse, pearson]}]}
"""


@pytest.fixture
def of_numbers(tmp_path):
    """A paper on a store of regression in which full fine-tuning is better than LoRA: its RMSE is lower."""
    store = ResultStore(tmp_path / "numbers")
    scores = {"full": (0.9, 2.0), "lora": (0.7, 3.0)}
    specs = [specify(dataset="demo-regression", method=one, seed=seed) for one in scores for seed in (1, 2, 3)]
    ask(store, specs)
    for spec in specs:
        pearson, rmse = (value + 0.01 * spec.seed for value in scores[spec.method])
        found = {"pearson": pearson, "spearman": pearson / 2, "rmse": rmse, "loss": rmse}
        add_of_task(store, spec, [{f"{split}_{name}": v for name, v in found.items() for split in ("val", "test")}])
    (tmp_path / "paper.yaml").write_text("sweeps: [numbers]\n")
    (tmp_path / "claims.yaml").write_text(NUMBERS)
    return tmp_path / "paper.yaml"


def test_a_paper_on_numbers_has_their_scores(of_numbers, capsys):
    of_numbers.write_text("sweeps: [numbers]\nclaims: claims.yaml\nfigures: []\n")
    assert run(of_numbers) == 0
    out = of_numbers.parent / "out"
    tables = {path.stem.rpartition("-")[2]: path.read_text() for path in (out / "tables").glob("*.md")}
    assert list(sorted(tables)) == ["pearson", "rmse", "spearman"]
    assert "| full fine-tuning | **2.0200 ± 0.0100** |" in tables["rmse"]
    assert "| full fine-tuning | **0.9200 ± 0.0100** |" in tables["pearson"]
    assert "RMSE, validation" in (out / "appendix.tex").read_text()
    assert "& supported &" in (out / "claims.tex").read_text()
    numbers = (out / "numbers.tex").read_text()
    assert r"rmse/lora/demo-regression/difference}{+1.0000}" in numbers


def test_a_score_that_the_task_lacks_is_refused_with_those_that_it_has(of_numbers, capsys):
    for text in (
        "metrics: [macro_f1]",
        "tables: [{stem: x, caption: X., metric: macro_f1, columns: [demo-regression], rows: [{method: full}]}]",
    ):
        of_numbers.write_text(f"sweeps: [numbers]\n{text}\n")
        assert run(of_numbers) == 2
        error = capsys.readouterr().err
        assert "there is no metric 'macro_f1' (there are pearson, spearman, rmse, primary)" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(("manifest", "said"), [(None, "write the paper first"), ("{", "is damaged")])
def test_check_without_a_whole_manifest_is_one_line(paper, manifest, said, capsys):
    out = paper.parent / "out"
    out.mkdir()
    if manifest is not None:
        (out / "paper.json").write_text(manifest)
    assert run(paper, "--check") == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(not (shutil.which("pdflatex") and shutil.which("pdftotext")), reason="pdflatex is not installed")
def test_it_compiles_and_a_paper_can_name_its_numbers(paper, capsys):
    (paper.parent / "claims.yaml").write_text(CLAIMS)
    paper.write_text(PAPER + "claims: claims.yaml\n")
    assert run(paper) == 0
    out = paper.parent / "out"
    assert "45.87 ± 0.87" in compiled(out, "preview")
    body = r"\input{numbers}We reach \tunekit{peft/full-fine-tuning/demo/mean}. \tunekit{claim/full-wins/test}"
    (out / "mine.tex").write_text(f"\\documentclass{{article}}\\begin{{document}}{body}\\end{{document}}")
    assert "We reach 45.87. Welch’s t over seeds" in compiled(out, "mine")
    capsys.readouterr()


@pytest.mark.skipif(not (shutil.which("pdflatex") and shutil.which("pdftotext")), reason="pdflatex is not installed")
@pytest.mark.parametrize("place", ["preamble", "body"])
def test_numbers_of_any_name_stand_in_titles_and_captions(paper, place, capsys):
    paper.write_text(
        PAPER.replace("stem: peft", "stem: peft_2").replace("label: Full fine-tuning", 'label: "lora_r8 #1"')
    )
    assert run(paper) == 0
    out = paper.parent / "out"
    value = r"\tunekit{peft_2/lora_r8-1/demo}"
    numbers = {place: r"\input{numbers}"}
    (out / "mine.tex").write_text(
        rf"\documentclass{{article}}\catcode`\_=12 {numbers.get('preamble', '')}\begin{{document}}\catcode`\_=8 "
        rf"{numbers.get('body', '')}\section{{We reach {value}}}"
        rf"\begin{{figure}}\caption{{At most {value}.}}\end{{figure}}\end{{document}}"
    )
    shown = compiled(out, "mine")
    assert "We reach 45.87 ± 0.87" in shown
    assert "At most 45.87 ± 0.87." in shown
    capsys.readouterr()


def test_the_manifest_holds_no_path_of_this_machine(paper, capsys):
    assert run(paper) == 0
    text = (paper.parent / "out" / "paper.json").read_text()
    assert str(paper.parent) not in text
    assert len(json.loads(text)["trials"]) == 9
    capsys.readouterr()
