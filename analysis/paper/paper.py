"""``tunekit paper paper.yaml``: all numbers of a paper out of its stores, so that none is typed.

out/tables/  out/figures/  numbers.tex  claims.tex  appendix.tex  preview.tex (all of it as one document)
paper.json   the records it was made from: a digest of every trial and of every file, for ``--check``
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.cells import Cell, cells
from analysis.claims.measured import cell_lookup
from analysis.claims.verdicts import ClaimResult, Verdict, evaluate, load_claims
from analysis.figures.captioned import DEFAULT_FORMATS, CaptionedFigure, save
from analysis.names import not_ended
from analysis.paper.appendix import appendix_sections
from analysis.paper.numbers import entry_numbers
from analysis.paper.spec import metrics_of, read_paper, table_specs
from analysis.paper.tex import latex_sections
from analysis.report.claims_section import claims_section
from analysis.report.document import Section, kept
from analysis.report.report import figure_sections
from analysis.sweep_records import SweepRecords, read_sweeps
from analysis.tables.build import build
from analysis.tables.latex import escape_tex
from analysis.tables.render import FORMATS
from analysis.tables.specs import default_specs, settings_specs
from analysis.tables.table import Table, shown
from tunekit.errors import UserError
from tunekit.parsing import how_many, strict_json
from tunekit.schema import slug

MANIFEST = "paper.json"


@dataclass(frozen=True)
class Draft:
    """The content of a paper's folder, before it is written."""

    texts: Mapping[str, str]
    """The texts by their paths inside the folder."""
    figures: Sequence[CaptionedFigure]
    formats: Sequence[str]
    """The formats of the figures' files."""
    trials: Mapping[str, str]
    """A digest of each trial's records, by folder."""
    missing: int
    """The number of trials that were asked for and have not ended."""


def compose_paper(file: Path, cache: Path | None, formats: Sequence[str] = DEFAULT_FORMATS) -> Draft:
    """Return the paper of ``file`` from its stores, with figures in ``formats``; without figures where there are none.

    Raises UserError or DamagedRecord on bad input.
    """
    if tuple(formats) == ("svg",):
        raise UserError("--figures svg: LaTeX includes no SVG file; add pdf or png")
    paper = read_paper(file)
    records = read_sweeps(paper.sweeps, cache, names=paper.names)
    found = cells(records, paper.select)
    missing = sum(len(cell.unfinished) for cell in found)
    metrics = metrics_of(paper, found)
    specs = table_specs(paper, found) or [
        *default_specs(found, metrics, paper.select),
        *settings_specs(found, metrics, paper.select),
    ]
    tables = [build(replace(spec, caption=_mark(missing) + spec.caption)) for spec in specs]
    every = evaluate(load_claims(paper.claims), cell_lookup(found))
    verdicts = [one for one in every if paper.claims or one.verdict is not Verdict.NOT_TESTABLE]
    figures = _figures(records, found, paper.figures, formats, missing) if formats and paper.figures else []
    texts = {f"tables/{table.spec.stem}.{suffix}": form(table) for table in tables for suffix, form in FORMATS.items()}
    texts["numbers.tex"] = _numbers(tables, verdicts, found, missing)
    claims = claims_section(verdicts)
    texts["claims.tex"] = latex_sections(kept([replace(claims, parts=())]))
    appendix = [*_draft_section(missing), *appendix_sections(records, found), *claims.parts]
    texts["appendix.tex"] = latex_sections(appendix)
    texts["figures.tex"] = latex_sections(figure_sections(figures))
    texts["preview.tex"] = _preview(tables)
    return Draft(texts, figures, formats, _digests(records), missing)


def _figures(
    records: SweepRecords, found: Sequence[Cell], kinds: Sequence[str], formats: Sequence[str], missing: int
) -> list[CaptionedFigure]:
    """Return the figures of ``kinds``, marked as a draft where trials are missing.

    LaTeX includes their PDF files rather than PNG. Raises UserError and DamagedRecord as ``figures_of``.
    """
    from analysis.figures.figures import figures_of  # loads matplotlib

    linked = "pdf" if "pdf" in formats else "png"
    figures = [replace(one, linked=linked) for one in figures_of(records, found) if one.kind in kinds]
    for captioned in figures if missing else ():
        captioned.figure.text(
            0.5, 0.5, "DRAFT", fontsize=60, color="grey", alpha=0.25, ha="center", va="center", rotation=20
        )
    return figures


def write_paper(draft: Draft, out: Path) -> None:
    """Write ``draft`` to the folder ``out``. Raises OSError."""
    for name, text in draft.texts.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    drawn = save(draft.figures, out / "figures", draft.formats) if draft.figures else []
    files = [*(out / name for name in draft.texts), *drawn]
    manifest = {"trials": draft.trials, "files": {str(path.relative_to(out)): _sha256(path) for path in files}}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def differences(draft: Draft, out: Path) -> list[str]:
    """Return a line for each difference between ``out`` and what its stores give now; empty where there is none.

    Raises UserError where ``out`` holds no paper, or its paper.json is damaged.
    """
    trials, files = _manifest(out / MANIFEST)
    lines = []
    for verb, names in {
        "added": draft.trials.keys() - trials.keys(),
        "gone": trials.keys() - draft.trials.keys(),
        "changed": {name for name in trials.keys() & draft.trials.keys() if trials[name] != draft.trials[name]},
    }.items():
        lines += [f"trial {verb}: {name}" for name in sorted(names)]
    for name, text in draft.texts.items():
        path = out / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            lines.append(f"{name} is not what the stores give now")
    for name in sorted(files.keys() - draft.texts.keys()):
        path = out / name
        if not path.exists() or _sha256(path) != files[name]:
            lines.append(f"{name} is not as it was written")
    return lines


def _manifest(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    try:
        content = strict_json(path.read_text(encoding="utf-8"))
        trials, files = dict(content["trials"]), dict(content["files"])
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} holds no paper.json; write the paper first, without --check") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); write the paper again, without --check") from error
    return trials, files


def _digests(records: SweepRecords) -> dict[str, str]:
    """Return a hash of each trial's records, which depends neither on the store's place nor on the files' times."""
    epochs = records.epochs.drop(columns=["folder"])
    by_path = {path: part.drop(columns="path").to_json() for path, part in epochs.groupby("path")}
    facts = records.trials.drop(columns=["stamp", "sweep", "path", "folder"])
    return {
        f"{sweep}/{folder}": hashlib.sha256(f"{_json(row)} {by_path.get(path, '')}".encode()).hexdigest()[:16]
        for sweep, folder, path, row in zip(
            records.trials["sweep"],
            records.trials["folder"],
            records.trials["path"],
            facts.to_dict("records"),
            strict=True,
        )
    }


def _json(row: Mapping[Any, Any]) -> str:
    return json.dumps({k: None if pd.isna(v) else v for k, v in row.items()}, sort_keys=True, default=str)


def _mark(missing: int) -> str:
    return f"DRAFT, {how_many(missing, 'trial')} missing: " if missing else ""


def _draft_section(missing: int) -> list[Section]:
    if not missing:
        return []
    return [Section(f"DRAFT: {not_ended(missing)}", (), "draft")]


def _numbers(tables: Sequence[Table], verdicts: Sequence[ClaimResult], found: Sequence[Cell], missing: int) -> str:
    r"""Return the LaTeX that defines ``\tunekit{name}`` for each number and each verdict.

    A cell is ``stem/row/column``, with ``/mean``, ``/std`` and ``/n`` behind it, the names of ``entry_numbers`` and,
    where it was trained with several settings, ``/configuration``. A verdict is ``claim/ID``, with ``/p``,
    ``/holds-for`` and ``/test`` behind it. Raises UserError where two rows have one name.
    """
    values = {"draft": _mark(missing), "trials": str(sum(len(cell.trials) for cell in found))}
    for table in tables:
        for (number, column), entry in table.entries.items():
            key = "/".join(map(slug, (table.spec.stem, table.spec.rows[number].label, column)))
            sample = entry.score.sample
            if key in values:
                raise UserError(
                    f"table {table.spec.stem}: two rows are both called {key}; give each a label of its own"
                )
            values[key] = entry.text if sample else "??"
            measure = entry.score.measure
            mean, _, std = shown(sample, measure).partition(" ± ") if sample else ("", "", "")
            values |= {f"{key}/mean": mean or "??", f"{key}/std": std or "??"}
            values[f"{key}/n"] = str(sample.n if sample else 0)
            values |= {f"{key}/{name}": text for name, text in entry_numbers(entry).items()}
            if entry.score.configuration:
                values[f"{key}/configuration"] = entry.score.configuration
    for one in verdicts:
        name = f"claim/{slug(one.id)}"
        values |= {name: one.verdict.value, f"{name}/p": one.deciding_p, f"{name}/holds-for": one.populations}
        values |= {f"{name}/test": one.tests}
    lines = [
        r"% \tunekit{name} prints a number or a verdict; an unknown name stops LaTeX.",
        r"% \detokenize keeps names as they are where a package gives a sign such as _ another meaning.",
        r"\def\tunekit#1{\ifcsname tunekit@\detokenize{#1}\endcsname\csname tunekit@\detokenize{#1}\endcsname",
        r"  \else\errmessage{tunekit: there is no number called \detokenize{#1}}\fi}",
        r"\def\tunekitnumber#1{\expandafter\def\csname tunekit@\detokenize{#1}\endcsname}",
    ]
    lines += [rf"\tunekitnumber{{{name}}}{{{escape_tex(text)}}}" for name, text in values.items()]
    return "\n".join(lines) + "\n"


def _preview(tables: Sequence[Table]) -> str:
    inputs = [rf"\input{{tables/{table.spec.stem}}}" for table in tables]
    lines = [
        r"\documentclass[twocolumn]{article}", r"\usepackage[margin=2cm]{geometry}",
        r"\usepackage{array,booktabs,graphicx,threeparttable}",
        r"\extrafloats{200}", r"\begin{document}", r"\input{numbers}", *inputs, r"\input{claims}", r"\clearpage",
        r"\input{figures}", r"\clearpage", r"\appendix", r"\input{appendix}", r"\end{document}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
