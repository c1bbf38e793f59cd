"""python -m analysis ray_results/<sweep> [more sweeps] --out DIR    tables, claims and curves of stores
python -m analysis published --out DIR                            the study's Tables 1 to 4, as printed
python -m analysis audit ray_results/<sweep>                      its datasets, and scores on clean test items
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import track

from analysis.aggregate import SELECTIONS, Cell, cells
from analysis.audit import audit, audit_markdown, clean_scores
from analysis.claims import evaluate, load_claims
from analysis.compare import comparisons_markdown
from analysis.curves import save
from analysis.figures import figures_of
from analysis.grim import Fit, grim
from analysis.load import Study, load
from analysis.predictions import METRICS as DERIVED
from analysis.published import Lookup, PublishedTable, published_lookup, register, tables
from analysis.render import terminal, write
from analysis.stats import Sample
from analysis.summary import claims_markdown, figures_markdown, problems_markdown, published_markdown, write_report
from analysis.tables import Row, Score, Table, TableSpec, build, default_specs, percent
from tunekit.store import DamagedRecord, UserError

BAD_INPUT = 2


@dataclass(frozen=True)
class Report:
    """Tables, comparisons, claims and learning curves of one or more sweeps."""

    sweeps: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of sweeps, such as ray_results/main_grid."""
    out: Path
    """Folder to write to."""
    select: str = SELECTIONS[0]
    """Whose scores: last (epoch), best-val or best-test."""
    metric: tuple[str, ...] = ("accuracy", "macro_f1")
    """accuracy, macro_f1, micro_f1, or from stored predictions mcc, weighted_f1, per_class_f1."""
    against: Literal["published"] | None = None
    """Put the study's published value and the difference beside each cell."""
    equivalence: float | None = None
    """Margin in points for "equal": adds two one-sided tests to each comparison."""
    claims: Path | None = None
    """Claims to check; the study's nine where none are given."""


@dataclass(frozen=True)
class Published:
    """The study's Tables 1 to 4 from the register of published numbers, and its claims over them."""

    out: Path = field()
    """Folder to write to."""


def report(args: Report) -> None:
    """Write tables, claims and report.md. Raises UserError on bad input."""
    study = load(args.sweeps, args.out / "cache", lambda names: track(names, "reading trials", transient=True))
    found = cells(study, args.select)
    metrics = [name for metric in args.metric for name in _metrics(metric, study)]
    headings = {name: facts.display_name for name, facts in study.datasets.items()}
    filled = [build(spec) for spec in default_specs(found, headings, metrics, args.select)]
    verdicts = evaluate(load_claims(args.claims), lookup_of(found))
    title = ", ".join(store.root.name for store in study.stores)
    about = problems_markdown(study, found, args.select)
    beside = [published_markdown(found, metrics)] if args.against else []
    curves = figures_of(study, found)
    save(curves, args.out / "figures")
    margin = None if args.equivalence is None else args.equivalence / 100
    compared = comparisons_markdown(filled, margin)
    texts = [about, *beside, compared, claims_markdown(verdicts), figures_markdown(curves)]
    _finish(args.out, title, filled, texts)


def published(args: Published) -> None:
    """Write the study's tables and the verdicts on its claims."""
    filled = [_published_table(table) for table in tables()]
    verdicts = evaluate(load_claims(), published_lookup(register()))
    _finish(
        args.out, "The study's published numbers", filled, [comparisons_markdown(filled), claims_markdown(verdicts)]
    )


def lookup_of(found: Sequence[Cell]) -> Lookup:
    """Samples for claims; of several configurations of one model, dataset and method, the best mean on validation."""
    chosen: dict[tuple[str, str, str], Cell] = {}
    for cell in found:
        if cell.searched or cell.failures:
            continue
        key = (cell.model, cell.method, cell.dataset)
        if key not in chosen or _validation(cell) > _validation(chosen[key]):
            chosen[key] = cell

    def lookup(model: str, method: str, dataset: str, metric: str) -> Sample | None:
        cell = chosen.get((model, method, dataset))
        if cell is None:
            return None
        if metric == "overfit":
            train, test = cell.by_seed("fit_accuracy"), cell.by_seed("accuracy")
            gaps = [train[seed] - test[seed] for seed in train if seed in test]
            return Sample.of(gaps) if gaps else None
        return cell.sample(metric)

    return lookup


@dataclass(frozen=True)
class Audit:
    """Duplicates, conflicting labels, balance and trivial baselines of a sweep's datasets; clean scores beside full."""

    sweep: Annotated[Path, tyro.conf.Positional]
    """Folder of the sweep."""


def audit_sweep(args: Audit) -> None:
    """Print the audit, and each cell's scores on the test items whose text is not in train."""
    study = load([args.sweep])
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(audit_markdown(*audit(args.sweep)))
    for cell in cells(study):
        found = [clean_scores(args.sweep, cell.dataset, run.path, run.epoch) for run in cell.completed if run.epoch]
        kept = [one for one in found if one is not None]
        if cell.split != "test" or not kept:
            continue
        full = [cell.sample(metric) for metric in ("accuracy", "macro_f1")]
        clean = [Sample.of(values) for values in zip(*(scores for _, scores in kept), strict=True)]
        texts = [f"{a and percent(a)} -> {percent(b)}" for a, b in zip(full, clean, strict=True)]
        name = " · ".join(filter(None, [cell.model, cell.dataset, cell.method, cell.variant]))
        about = f"{name}: all test items -> the {kept[0][0]} whose text is not in train"
        console.print(f"{about}: accuracy {texts[0]}, macro-F1 {texts[1]}")


def _validation(cell: Cell) -> float:
    values = [run.scores["best_val_macro_f1"] for run in cell.completed if "best_val_macro_f1" in run.scores]
    return sum(values) / len(values) if values else float("-inf")


def _metrics(metric: str, study: Study) -> list[str]:
    """``metric`` as cells know it. Raises UserError for one there is not."""
    known = ("accuracy", "macro_f1", "micro_f1", *(name for name in DERIVED if name in ("mcc", "weighted_f1")))
    if metric == "per_class_f1":
        most = max((len(facts.label_names) for facts in study.datasets.values()), default=0)
        return [f"f1:{number}" for number in range(most)]
    if metric not in known:
        raise UserError(f"--metric {metric}: choose among {', '.join([*known, 'per_class_f1'])}")
    return [metric]


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
        rows.append(Row(row.label, samples))
    spec = TableSpec(
        stem=f"table-{printed.number}",
        caption=f"Table {printed.number}: {printed.caption}",
        metric=printed.metric,
        rows=tuple(rows),
        columns=dict(zip(printed.datasets, printed.labels, strict=True)),
    )
    filled = build(spec)
    return Table(filled.spec, filled.entries, (*filled.notes, *notes))


def _finish(out: Path, title: str, filled: Sequence[Table], texts: Sequence[str]) -> None:
    for table in filled:
        write(table, out / "tables")
        Console(highlight=False).print(terminal(table))
    path = write_report(out, title, filled, texts)
    Console(highlight=False).print(f"{len(filled)} tables in {out / 'tables'}, report in {path}")


COMMANDS: Mapping[str, tuple[type, Callable[..., None]]] = {
    "published": (Published, published),
    "audit": (Audit, audit_sweep),
}


def main(arguments: Sequence[str]) -> int:
    """Run one command; 0 when done, 2 on bad input, with one line that says what is wrong."""
    kind, run = COMMANDS.get(arguments[0], (Report, report)) if arguments else (Report, report)
    rest = arguments[1:] if arguments and arguments[0] in COMMANDS else arguments
    try:
        run(tyro.cli(kind, prog="python -m analysis", args=list(rest)))
    except (UserError, DamagedRecord, OSError) as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"analysis: {error}")
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
