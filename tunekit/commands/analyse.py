"""The work of `tunekit report`, paper, audit, memory and import. The analysis is imported inside: it takes seconds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.commands.output import note, paragraph, pasted, result, show, show_json
from tunekit.commands.results import print_tables
from tunekit.parsing import how_many
from tunekit.planning.args import Format

if TYPE_CHECKING:
    from analysis.report.document import Section
    from analysis.report.report import Choices, Report
    from analysis.statistics.this_set import Sample


def write_sweeps(sweeps: Sequence[str], out: Path, choices: "Choices", form: Format) -> None:
    """Write tables, figures and the report of ``sweeps`` to ``out`` and print the tables.

    Raises UserError where a folder holds no sweep or a choice is unknown.
    """
    from analysis.report.report import compose
    from analysis.sweep_records import read_sweeps

    records = read_sweeps(sweeps, out / "cache", _reading)
    write_and_print(compose(records, choices, out), out, form)


def _reading(names: Sequence[str]) -> Iterator[str]:
    """Yield the folders of trials one by one, with a bar on standard error where a terminal shows it."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(names, "reading trials", transient=True, console=console, disable=not console.is_terminal)


def write_and_print(report: "Report", out: Path, form: Format) -> None:
    """Write the tables, figures and pages of ``report`` to ``out`` and print the tables."""
    from analysis.report.report import write_all

    pages = write_all(report, out)
    print_tables(report.tables, form)
    tables = how_many(len(report.tables) + len(report.settings), "table")
    said = f"{tables} in {pasted(out / 'tables')}, report in {' and '.join(map(pasted, pages))}"
    (note if form == "json" else result)(said)


def write_paper(paper: Path, out: Path, formats: Sequence[str]) -> int:
    """Write the paper's folder and return 0. Raises UserError on bad input."""
    from analysis.paper import paper as papers

    draft = papers.compose_paper(paper, out / "cache", formats)
    papers.write_paper(draft, out)
    missing = f"; DRAFT: {how_many(draft.missing, 'trial')} not ended" if draft.missing else ""
    texts, figures = how_many(len(draft.texts), "text"), how_many(len(draft.figures), "figure")
    result(f"{texts} and {figures} in {pasted(out)}{missing}")
    return 0


def check_paper(paper: Path, out: Path, formats: Sequence[str]) -> int:
    """Compare the paper's folder with the stores. Return 1 where it differs, else 0. Raises UserError on bad input."""
    from analysis.paper import paper as papers

    lines = papers.differences(papers.compose_paper(paper, out / "cache", formats), out)
    said = f"{how_many(len(lines), 'difference')}; write the paper again" if lines else "up to date"
    result("\n".join([*lines, said]))
    return int(bool(lines))


def print_audit(sweep: str, form: Format) -> None:
    """Print the audit of a sweep's datasets, and each cell's scores on the test items whose text is not in train."""
    from analysis.report.audit import audit, audit_section
    from tunekit.storage.paths import location

    root = location(sweep)
    rows = list(_clean_rows(sweep))
    if form == "json":
        show_json({"sweep": str(root), "cells": rows})
        return
    print_sections([audit_section(*audit(root))])
    for row in rows:
        result(_audited(row))


def _audited(row: Mapping[str, Any]) -> str:
    """Return the line that ``tunekit audit`` prints of a row of ``_clean_rows``."""
    full, clean = (
        f"accuracy {_percent(row[f'{of}_accuracy'])}, macro-F1 {_percent(row[f'{of}_macro_f1'])}"
        for of in ("full", "clean")
    )
    line = f"{row['cell']}: {full} on all {row['num_test']:,} test items"
    if not row["num_clean"]:
        return f"{line}, the text of each of which is in train"
    if row["num_clean"] == row["num_test"]:
        return f"{line}, none of whose texts is in train"
    return f"{line}; {clean} on the {row['num_clean']:,} whose text is not in train"


def print_sections(sections: "Sequence[Section]") -> None:
    """Print sections of a report to standard output, with an empty line after each text and table."""
    from analysis.report.terminal import terminal_parts

    for part in terminal_parts(sections):
        if isinstance(part, str):
            paragraph(part)
        else:
            show(part)
        paragraph("")


def _clean_rows(sweep: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each cell with test scores: mean and std over its seeds, in [0, 1], on all and on clean items."""
    from analysis.report.audit import clean_scores
    from analysis.results import load
    from analysis.statistics.this_set import Sample
    from tunekit.storage.paths import location

    root = location(sweep)
    for cell in load(root).cells():
        if not cell.has_classes:
            continue
        found = [clean_scores(root, cell.dataset, trial.path, trial.epoch) for trial in cell.completed if trial.epoch]
        known = [one for one in found if one is not None]
        if cell.split != "test" or not known:
            continue
        row: dict[str, Any] = {"cell": cell.title, "num_test": known[0].num_test, "num_clean": known[0].num_clean}
        for place, name in enumerate(("accuracy", "macro_f1")):
            row[f"full_{name}"] = _values(cell.sample(name))
            clean = [one.scores[place] for one in known if one.scores]
            row[f"clean_{name}"] = _values(Sample.of(clean) if clean else None)
        yield row


def _values(sample: "Sample | None") -> dict[str, Any] | None:
    return None if sample is None else {"mean": sample.mean, "std": sample.std, "n": sample.n}


def _percent(score: dict[str, Any] | None) -> str:
    from analysis.statistics.this_set import Sample
    from analysis.tables.table import percent

    return "not known" if score is None else percent(Sample(score["mean"], score["std"], score["n"]))


def show_memory(model: str, measured: Path | None, out: Path | None, form: Format) -> None:
    """Print the memory that training needs, or write a report of it to ``out``.

    Raises UserError for an unknown model, or a file that is no record of measurements.
    """
    from analysis.memory.comparison import compare_memory, read_measured
    from analysis.memory.report import memory_report
    from analysis.report.report import Report, write_all

    record = None if measured is None else read_measured(measured)
    if form == "json":
        rows = compare_memory(model, record).astype(object).to_dict("records")
        show_json({"model": model, "rows": [{str(k): _json_number(v) for k, v in row.items()} for row in rows]})
    sections, figures = memory_report(model, record)
    if out is not None:
        pages = write_all(Report("Memory", (), figures, sections), out)
        drawn = how_many(len(figures), "figure")
        said = f"{drawn} in {pasted(out / 'figures')}, report in {' and '.join(map(pasted, pages))}"
        (note if form == "json" else result)(said)
    elif form == "text":
        print_sections(sections)


def _json_number(value: Any) -> Any:
    """Return ``value`` for JSON, which has no NaN: None for a value that was not measured or has no formula."""
    return None if isinstance(value, float) and math.isnan(value) else value


def import_as_store(
    place: Path, keys: Sequence[str], ignored: Sequence[str], kind: str | None, percent: bool, out: Path
) -> None:
    """Write the trials of another program as a store to ``out``. Raises UserError on bad input."""
    from analysis.foreign.importing import import_experiment
    from analysis.foreign.mapping import parse_map

    done = import_experiment(place, parse_map(keys), out, kind=kind, ignored=ignored, percent=percent)
    result("\n".join([*done.meaning, *done.counts, *done.notes]))
    result(f"{how_many(done.num_trials, 'trial')} in {how_many(done.num_cells, 'cell')} in {pasted(out)}")
