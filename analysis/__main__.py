"""python -m analysis ray_results/<sweep> [more sweeps] --out DIR    tables, figures, claims and report of stores
python -m analysis published --out DIR                            the study's Tables 1 to 4, as printed
python -m analysis audit ray_results/<sweep>                      its datasets, and scores on clean test items
python -m analysis memory [--out DIR]                             the study's memory formulas, a right model, savings
python -m analysis paper paper.yaml --out paper/                  a paper's tables, figures, numbers and appendix
python -m analysis import DIR --map seed=KEY ... --out STORE      a plain Ray Tune experiment as a store
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import track

from analysis.cells import SELECTIONS, cells
from analysis.claims.published import PublishedTable, published_lookup, register, tables
from analysis.claims.verdicts import evaluate, load_claims
from analysis.foreign.importing import import_experiment, parse_map
from analysis.memory.report import MemoryModel, memory
from analysis.names import SPLITS
from analysis.paper.paper import compose_paper, differences, write_paper
from analysis.report.audit import audit, audit_section, clean_scores
from analysis.report.comparisons import comparisons_section
from analysis.report.document import Section
from analysis.report.pages import markdown_sections
from analysis.report.report import Choices, Report, compose, write_all
from analysis.report.summary import claims_section, headline_section
from analysis.statistics.grim import Fit, grim
from analysis.statistics.this_set import Sample
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build
from analysis.tables.table import Score, Table, TableRow, TableSpec, percent, terminal
from tunekit.errors import UserError
from tunekit.storage.paths import location
from tunekit.store.records import DamagedRecord

BAD_INPUT = 2


@dataclass(frozen=True)
class Analyse:
    """Tables, figures, comparisons, claims and a report of one or more sweeps."""

    sweeps: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Folders of sweeps, such as ray_results/main_grid or s3://BUCKET/PREFIX/main_grid."""
    out: Path
    """Folder to write to."""
    select: str = SELECTIONS[0]
    """Whose scores: last (epoch), best-val or best-test."""
    metric: tuple[str, ...] = ("accuracy", "macro_f1")
    """accuracy, macro_f1, micro_f1, or from stored predictions mcc, weighted_f1, per_class_f1."""
    against: Literal["published"] | None = None
    """Put the study's published value and the difference beside each cell."""
    missing: Literal["majority"] | None = None
    """Count failed and diverged trials with the score of the majority class, so that their cells take part."""
    equivalence: float | None = None
    """Margin in points for "equal": adds two one-sided tests to each comparison."""
    paired: bool = False
    """Add tests seed by seed of rows that share their initialisation, with the correlation of the seeds."""
    claims: Path | None = None
    """Claims to check; the study's nine where none are given."""


@dataclass(frozen=True)
class Published:
    """The study's Tables 1 to 4 from the register of published numbers, and its claims over them."""

    out: Path = field()
    """Folder to write to."""


def analyse(args: Analyse) -> None:
    """Write tables, figures and report. Raises UserError on bad input."""
    records = read_sweeps(args.sweeps, args.out / "cache", lambda names: track(names, "reading trials", transient=True))
    choices = Choices(
        select=args.select,
        metrics=args.metric,
        published=args.against is not None,
        fill=args.missing is not None,
        margin=None if args.equivalence is None else args.equivalence / 100,
        pair=args.paired,
        claims=args.claims,
    )
    report = compose(records, choices, args.out)
    _finish(args.out, report)


def published(args: Published) -> None:
    """Write the study's tables and the verdicts on its claims."""
    filled = [_published_table(table) for table in tables()]
    sections = [
        headline_section(filled),
        Section("Scores", tuple(filled), "scores"),
        comparisons_section(filled),
        claims_section(evaluate(load_claims(), published_lookup(register()))),
    ]
    _finish(args.out, Report("The study's published numbers", filled, (), sections))


@dataclass(frozen=True)
class Audit:
    """Duplicates, conflicting labels, balance and trivial baselines of a sweep's datasets; clean scores beside full."""

    sweep: Annotated[str, tyro.conf.Positional]
    """Folder of the sweep, or its place on an object store."""


def audit_sweep(args: Audit) -> None:
    """Print the audit, and each cell's scores on the test items whose text is not in train."""
    sweep = location(args.sweep)
    records = read_sweeps([sweep])
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(markdown_sections([audit_section(*audit(sweep))]))
    for cell in cells(records):
        found = [clean_scores(sweep, cell.dataset, trial.path, trial.epoch) for trial in cell.completed if trial.epoch]
        kept = [one for one in found if one is not None]
        if cell.split != "test" or not kept:
            continue
        full = [cell.sample(metric) for metric in ("accuracy", "macro_f1")]
        clean = [Sample.of(values) for values in zip(*(scores for _, scores in kept), strict=True)]
        texts = [f"{a and percent(a)} -> {percent(b)}" for a, b in zip(full, clean, strict=True)]
        about = f"{cell.title}: all test items -> the {kept[0][0]} whose text is not in train"
        console.print(f"{about}: accuracy {texts[0]}, macro-F1 {texts[1]}")


@dataclass(frozen=True)
class PaperFiles:
    """A paper's tables, figures, numbers.tex and appendix.tex, as paper.yaml asks for them."""

    paper: Annotated[Path, tyro.conf.Positional]
    """The YAML file; analysis/paper/spec.py shows its form."""
    out: Path
    """Folder to write to."""
    check: bool = False
    """Write nothing; fail where the stores, the file or what was written have changed since."""


def paper(args: PaperFiles) -> int:
    """Write the folder, or compare it: 1 where it is not what the stores say. Raises UserError on bad input."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    draft = compose_paper(args.paper, args.out / "cache")
    if args.check:
        lines = differences(draft, args.out)
        console.print(
            "\n".join([*lines, f"{len(lines)} differences; write the paper again" if lines else "up to date"])
        )
        return int(bool(lines))
    write_paper(draft, args.out)
    missing = f"; DRAFT: {draft.missing} trials have not ended" if draft.missing else ""
    console.print(f"{len(draft.texts)} texts and {len(draft.figures)} figures in {args.out}{missing}")
    return 0


@dataclass(frozen=True)
class Import:
    """A plain Ray Tune experiment (params.json and result.json of each trial) as a store; unpickles nothing."""

    experiment: Annotated[Path, tyro.conf.Positional]
    """Folder that holds the trials' folders."""
    map: tuple[str, ...]
    """model, dataset, method and seed by key of the configuration (nested: a/b; the same for all: model:=TEXT), metric
    and, where there are any, accuracy, micro_f1, loss and train_loss by key of the results."""
    out: Path
    """Folder of the store; then: python -m analysis STORE --out DIR."""
    split: Literal["test", "val"] = "test"
    """What the scores were measured on."""
    percent: bool = False
    """Scores are in percent."""


def import_foreign(args: Import) -> None:
    """Write the store. Raises UserError on bad input."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    done = import_experiment(args.experiment, parse_map(args.map), args.split, args.percent, args.out)
    for note in done.notes:
        console.print(note)
    console.print(
        f"{done.num_trials} trials in {done.num_cells} cells in {args.out}, scores taken as those of the "
        f"{SPLITS[args.split]} split; {len(done.notes)} things left out or doubtful"
    )


def _published_table(printed: PublishedTable) -> Table:
    notes = []
    rows = []
    for row in printed.rows:
        samples = {}
        for score in row.scores:
            std = None if score.std is None else float(score.std / 100)
            samples[score.dataset] = Score(Sample(float(score.mean / 100), std, score.n or 1), score.n or 1)
            if score.metric == "accuracy" and score.items and score.n:
                found = grim(score.mean, score.items, score.n)
                if found.verdict is not Fit.FITS:
                    share = f"{100 * found.chance_rounded:.1f} % of all values would pass that"
                    notes.append(f"GRIM: {row.label} {score.mean} on {score.dataset} {found.verdict.value}; {share}")
        rows.append(TableRow(row.label, samples))
    spec = TableSpec(
        stem=f"table-{printed.number}",
        caption=f"Table {printed.number}: {printed.caption}",
        metric=printed.metric,
        rows=tuple(rows),
        columns=dict(zip(printed.datasets, printed.labels, strict=True)),
    )
    filled = build(spec)
    return Table(filled.spec, filled.entries, (*filled.notes, *notes))


def _finish(out: Path, report: Report) -> None:
    for table in report.tables:
        Console(highlight=False).print(terminal(table))
    pages = " and ".join(map(str, write_all(report, out)))
    Console(highlight=False).print(f"{len(report.tables)} tables in {out / 'tables'}, report in {pages}")


COMMANDS: Mapping[str, tuple[type, Callable[..., int | None]]] = {
    "paper": (PaperFiles, paper),
    "published": (Published, published),
    "audit": (Audit, audit_sweep),
    "memory": (MemoryModel, memory),
    "import": (Import, import_foreign),
}


def main(arguments: Sequence[str]) -> int:
    """Run one command; 0 when done, 1 where a check fails, 2 on bad input, with one line that says what is wrong."""
    kind, run = COMMANDS.get(arguments[0], (Analyse, analyse)) if arguments else (Analyse, analyse)
    rest = arguments[1:] if arguments and arguments[0] in COMMANDS else arguments
    try:
        code = run(tyro.cli(kind, prog="python -m analysis", args=list(rest)))
    except (UserError, DamagedRecord, OSError) as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"analysis: {error}")
        return BAD_INPUT
    return code or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
