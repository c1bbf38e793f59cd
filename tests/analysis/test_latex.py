"""Tables as LaTeX: what fits a column, parts of wide and long tables, escaped text, and pages that pdflatex makes."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare import Score
from analysis.statistics.this_set import Sample
from analysis.tables.build import build
from analysis.tables.latex import escape_tex, latex, latex_texts
from analysis.tables.table import Table, TableRow, TableSpec

METHODS = (
    *("Full fine-tuning", "Adapter (Houlsby)", "LoRA", "DoRA", "Head only", "BitFit", "IA3", "Prefix tuning"),
    *("Pfeiffer adapter", "Random"),
)
DATASETS = ("Restaurant", "ACL-ARC", "AG News", "Demo")
LONG = tuple(f"sentence-transformers/paraphrase_multilingual-MiniLM-L12-v2 · {method}" for method in METHODS)
HOSTILE = (
    *(
        r"\input{/etc/passwd}",
        "a_b$%&#^~{}<>|",
        "[x] *y",
        "*",
        "-",
        "",
        "--select ?`!`",
        "“q” \"q\" 'q'",
        "− × § ± … µ",
    ),
    *("中文 数据", "Ångström Łódź ıœß", "\x1b[2J\n", "50 % #1 ~ ^", "a,,b <<c>>"),
)
PACKAGES = r"\usepackage{array,booktabs,threeparttable}\extrafloats{100}"
CLASSES = {
    "article": rf"\documentclass[twocolumn]{{article}}{PACKAGES}",
    "IEEEtran": rf"\documentclass[conference]{{IEEEtran}}{PACKAGES}",
    "acmart": rf"\documentclass[sigconf,nonacm]{{acmart}}{PACKAGES}",
    "one column": rf"\documentclass{{article}}\usepackage[textwidth=397pt]{{geometry}}{PACKAGES}",
}
COMMANDS = {
    *("begin", "end", "centering", "small", "caption", "label", "setlength", "tabcolsep", "linewidth", "extracolsep"),
    *("fill", "raggedright", "arraybackslash", "toprule", "midrule", "bottomrule", "footnotesize", "item", "textbf"),
    *("multicolumn", "shortstack", "dagger", "mathrm", "pm", "allowbreak", "textbackslash", "textasciitilde", "ss"),
    *("textasciicircum", "textless", "textgreater", "textbar", "cdot", "times", "to", "le", "ge", "approx", "circ"),
    *("mu", "S", "ldots", "o", "O", "ae", "AE", "oe", "OE", "l", "L", "i"),
}  # fmt: skip


def table(labels, headings, *, ranked=True, notes=(), values=(0.71, 0.72, 0.73)) -> Table:
    """A table whose rows differ, where some lack seeds, failed, or have no spread."""

    def score(row: int, column: int) -> Score:
        found = [value - 0.07 * (row % 10) for value in values[: 1 if (row, column) == (3, 0) else None]]
        if (row, column) == (1, 1):
            return Score(None, 3)
        return Score(Sample.of(found), 4 if row == 2 else 3, failures={"diverged": 1} if row == 2 else {})

    rows = tuple(
        TableRow(label, {str(n): score(number, n) for n in range(len(headings))}) for number, label in enumerate(labels)
    )
    columns = {str(n): heading for n, heading in enumerate(headings)}
    return build(TableSpec("a_table.1", "Macro-F1 (percent, test).", "macro_f1", rows, columns, tuple(notes), ranked))


SETTINGS = table([f"LoRA, lr {rate}e-4, r {rank}" for rate in range(1, 13) for rank in (4, 8, 16, 32, 64, 128)], "vt")
TABLES = {
    "two columns": table(METHODS[:5], DATASETS[:2]),
    "ten by four": table(METHODS, DATASETS),
    "long labels": table(LONG, DATASETS, notes=["Configuration of LoRA: Restaurant lr 5e-4, r 32 (chosen). " * 2] * 5),
    "classes": table(METHODS[:5], [f"a class with the name {n}" for n in range(20)]),
    "settings": SETTINGS,
}


def floats(text: str) -> list[str]:
    return re.findall(r"\\begin\{table\*?\}.*?\\end\{table\*?\}", text, flags=re.DOTALL)


def body(one: str) -> list[str]:
    """The lines of a float's rows, without its head."""
    return one[one.index(r"\midrule") : one.index(r"\bottomrule")].split("\n")[1:-1]


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)&", line.removesuffix(r" \\"))


def check_form(text: str) -> None:
    """Braces and environments are balanced, and nothing but known commands is left once escaped signs are gone."""
    plain = re.sub(r"\\[\\&%$#_{},]", "", "\n".join(line for line in text.split("\n") if not line.startswith("%")))
    depth = 0
    for sign in plain:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    assert {name for name in re.findall(r"\\([a-zA-Z]+)", plain)} <= COMMANDS
    assert not re.search(r"\\(?![a-zA-Z])", plain)
    outside = re.sub(r"\$[^$]*\$|>\{\\raggedright", "", plain)
    assert not set(outside) & set('$#%_^"<>|')
    begun, ended = (sorted(re.findall(rf"\\{word}\{{(.*?)\}}", plain)) for word in ("begin", "end"))
    assert begun == ended


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_as_many_cells_as_the_columns_of_its_part(name):
    text = latex(TABLES[name])
    check_form(text)
    assert text.startswith(r"% Needs \usepackage{array,booktabs,threeparttable}.")
    for one in floats(text):
        columns = one.count(r"\multicolumn{3}")
        assert rf"*{{{columns}}}{{r" in one
        assert {len(cells(line)) for line in body(one)} == {1 + 3 * columns}


@pytest.mark.slow
@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.lists(st.text(max_size=40), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_any_names_keep_the_form(labels, headings):
    text = latex(table(labels, headings))
    check_form(text)
    places = sum(len(body(one)) * one.count(r"\multicolumn{3}") for one in floats(text))
    assert places == len(labels) * len(headings)
    assert all(line.isprintable() or not line for line in text.split("\n"))


def test_a_table_stands_in_a_column_where_it_fits_and_across_the_page_where_not():
    assert latex(table(METHODS[:5], DATASETS[:1])).count(r"\begin{table}") == 1
    (wide,) = floats(latex(TABLES["ten by four"]))
    assert wide.startswith(r"\begin{table*}")
    assert len(body(wide)) == 10


def test_a_table_that_no_page_holds_comes_in_parts_and_each_value_stands_once():
    for name, parts in (("classes", 5), ("settings", 2)):
        found = floats(latex(TABLES[name]))
        assert len(found) == parts
        assert [f"part {n} of {parts}." in one for n, one in enumerate(found, 1)] == [True] * parts
        assert len(set(re.findall(r"\\label\{(.*?)\}", "".join(found)))) == parts
        assert all(f"The notes stand below part {parts}." in one for one in found[:-1])
        assert "Each value is the mean" in found[-1]
    lines = [line for one in floats(latex(SETTINGS)) for line in body(one)]
    assert [cells(line)[0].strip() for line in lines] == [row.label for row in SETTINGS.spec.rows]
    headings = re.findall(r"name (\d+)\}", latex(TABLES["classes"]))
    assert headings == [str(n) for n in range(20)]


def test_mean_spread_and_marks_have_columns_of_their_own():
    (one,) = floats(latex(table(["best", "worse", "failed", "one seed"], ["Demo"])))
    assert [[cell.strip() for cell in cells(line)] for line in body(one)] == [
        ["best", r"\textbf{72.00}", r"$\pm$\,1.00", ""],
        ["worse", "65.00", r"$\pm$\,1.00", ""],
        ["failed", "58.00", r"$\pm$\,1.00", r"~(3/4)$^{\mathrm{a}}$"],
        ["one seed", "50.00", "", r"~(1/3)$^{\mathrm{b}}$"],
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a--b", "a-{}-b"), ("a---b", "a-{}-{}-b"), ("–", "--"), ("[1]", "{[}1]"), ("*", "{*}"), ("\x07a", " a"),
        ('"a"', "''a''"), ("中", "{[}U+4E2D]"), ("é", "é"), ("ș", "{[}U+0219]"), ("−±×§", r"$-$$\pm$$\times$\S{}"),
        ("", ""),
    ],
)  # fmt: skip
def test_escaped_text(text, expected):
    assert escape_tex(text) == expected


def test_characters_without_a_glyph_are_explained():
    text = latex(table(["数据"], ["Demo"]))
    assert text.startswith("% [U+4E2D] and the like are characters that pdflatex may have no glyph for.")
    assert r"{[}U+6570]{[}U+636E]" in text


def test_a_plain_table_is_a_list_where_its_columns_would_be_too_narrow():
    head = [f"name {n}" for n in range(13)]
    text = latex_texts(head, [["some words of text, wherever"] * 13], "Caption.")
    assert r"\begin{itemize}" in text
    assert "name 0: some words of text, wherever; name 1:" in text
    (one,) = floats(latex_texts(("setting", "value"), [("batch size", "16")], "Settings."))
    assert one.startswith(r"\begin{table}")
    (one,) = floats(latex_texts(("setting", "value"), [("batch size", "a long text in words " * 10)], "Settings."))
    assert one.startswith(r"\begin{table*}")
    assert r"p{" in one


def compiled(folder: Path, name: str, sources: Iterator[str]) -> str:
    (folder / f"{name}.tex").write_text(
        "\\begin{document}\n\\title{T}\\author{A}\\maketitle\nText.\n".join([f"{CLASSES[name]}\n", ""])
        + "\\clearpage Text.\n".join(sources)
        + "\\end{document}\n",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", f"{name}.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("name", CLASSES)
def test_tables_fit_the_column_or_the_page_of_usual_classes(tmp_path, name):
    if shutil.which("kpsewhich") and name in ("IEEEtran", "acmart"):
        found = subprocess.run(["kpsewhich", f"{name}.cls"], capture_output=True, text=True, check=False)
        if found.returncode:
            pytest.skip(f"{name}.cls is not installed")
    shown = compiled(tmp_path, name, map(latex, TABLES.values()))
    assert "Overfull \\hbox" not in shown
    assert "Float too large" not in shown


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_hostile_names_compile_and_run_nothing(tmp_path):
    grid = latex_texts(HOSTILE[:4], [HOSTILE[start : start + 4] for start in (0, 4, 8)], "\\input{x} [y]")
    shown = compiled(tmp_path, "article", iter([latex(table(HOSTILE, HOSTILE)), grid]))
    assert "passwd)" not in shown
