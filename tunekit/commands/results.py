"""The output of a sweep when it ends: its closing table on standard output, and the trials that did not complete."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from tunekit.commands.exit_codes import INCOMPLETE, OK
from tunekit.commands.output import Say, columns_together, paragraph, show, show_json
from tunekit.parsing import how_many
from tunekit.planning.args import Format
from tunekit.planning.plan import Plan, PlanState
from tunekit.schema import TrialSpec
from tunekit.store.result_store import ResultStore

if TYPE_CHECKING:
    from analysis.tables.table import Table as ScoreTable


def grid_tables(store: ResultStore, specs: Sequence[TrialSpec], form: Format = "text") -> None:
    """Print the tables of all settings, and then the score tables, of the cells of ``specs`` to standard output.

    Scores are those of the last epoch, by the metrics that the tasks of ``specs`` report.
    """
    from analysis.results import load
    from analysis.tables.build import build
    from analysis.tables.specs import default_specs, settings_specs
    from analysis.units import reported_metrics

    wanted = {spec.cell for spec in specs}
    found = [cell for cell in load(store.root).cells() if cell.key in wanted]
    metrics = reported_metrics(found)
    shown = [*settings_specs(found, metrics), *default_specs(found, metrics)]
    print_tables([build(spec) for spec in shown], form)


def print_tables(tables: Sequence["ScoreTable"], form: Format = "text") -> None:
    """Print score tables to standard output, as text or as one JSON object."""
    from analysis.tables.table import terminal

    if form == "json":
        show_json({"tables": [table_as_json(table) for table in tables]})
        return
    for table in tables:
        paragraph(table.spec.caption)
        for part in _parts(table):
            shown = terminal(part)
            shown.title = shown.caption = None  # rich would wrap both at the table's width
            show(shown)
        for note in table.notes:
            paragraph(note)
        paragraph("")


def _parts(table: "ScoreTable") -> Iterator["ScoreTable"]:
    """Yield a table in parts of whole columns that fit the terminal's width, to be shown below each other."""
    from analysis.tables.table import marked, row_texts

    spec = table.spec
    rows = [row_texts(table, number, marked) for number in range(len(spec.rows))]
    columns = zip(spec.columns.values(), *rows, strict=True)
    names, widths = list(spec.columns), [max(map(cell_len, column)) for column in columns]
    for together in columns_together(max((cell_len(row.label) for row in spec.rows), default=0), widths):
        yield replace(table, spec=replace(spec, columns={name: spec.columns[name] for name in names[together]}))


def table_as_json(table: "ScoreTable") -> dict[str, Any]:
    """Return a score table for programs, with the content of its CSV file, including entries without trials.

    Scores and differences are in [0, 1]. Each entry has the verdict that the table shows (``standing``), the test, its
    p before and after the correction, the scope of the test, and the reason where no test was made.
    """
    from analysis.tables.table import NO_ENTRY

    spec = table.spec
    entries = [
        {"row": row.label, "column": label, **table.entries.get((number, column), NO_ENTRY).facts}
        for number, row in enumerate(spec.rows)
        for column, label in spec.columns.items()
    ]
    return {"caption": spec.caption, "metric": spec.metric, "entries": entries, "notes": list(table.notes)}


def search_tables(store: ResultStore, form: Format = "text") -> None:
    """Print the default, best and 1se choice of each study of the search in ``store``, with their scores on test."""
    from analysis.cells import cells
    from analysis.report.search_section import choices, tuned_grid, versus_default
    from analysis.search import search_results
    from analysis.sweep_records import read_sweeps

    records = read_sweeps([store.root])
    found = search_results(records, cells(records))
    grids = [
        (grid.caption, grid.head, [[item if isinstance(item, str) else item.text for item in row] for row in grid.rows])
        for grid in tuned_grid(found)
    ]
    within = {one.title: [trial.number for trial in one.within] for one in found if one.within}
    if form == "json":
        compared = [versus_default(one, confirmed) for one, confirmed, _ in choices(found)]
        facts = [{"versus_default": comparison and comparison.facts} for comparison in compared]
        tables = [
            {
                "caption": caption,
                "rows": [dict(zip(head, row, strict=True)) | more for row, more in zip(rows, facts, strict=True)],
            }
            for caption, head, rows in grids
        ]
        show_json({"tables": tables, "within_one_standard_error": within})
        return
    for caption, head, rows in grids:
        paragraph(f"{caption}\n")
        for title, same in groupby(rows, key=lambda row: row[0]):
            _study_table(title, head, list(same), within.get(title, ()))


def _study_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], within: Sequence[int]) -> None:
    """Print one study: a column for each choice, a row for each number, and a line for each longer text.

    The lines are wrapped at the terminal's width. The settings of each choice come above the table, its comparison with
    the default below.
    """
    from analysis.report.search_section import LESS_DEFAULT

    paragraph(title)
    for _, choice, configuration, *_ in rows:
        paragraph(f"  {choice}: {configuration}")
    table = Table("", box=SIMPLE_HEAD, show_edge=False)
    for row in rows:
        table.add_column(Text(row[1]), justify="right")
    compared = head.index(LESS_DEFAULT)
    for number, name in enumerate(head[3:], 3):
        if number != compared:
            table.add_row(Text(name), *(Text(row[number]) for row in rows))
    show(table)
    for row in rows:
        if row[compared]:
            paragraph(f"  {row[1]} against the default, on test: {row[compared]}")
    if within:
        paragraph(f"  within one standard error of the best: trials {' '.join(map(str, within))}")
    paragraph("")


def keeps_nothing(plan: Plan, keep_models: str | None, say: Say) -> None:
    """Say that --keep-models changes nothing in trials that are done, and how to get their models."""
    done = plan.count(PlanState.DONE)
    if done and keep_models not in (None, "none"):
        say(
            f"--keep-models {keep_models} changes nothing in the {how_many(done, 'trial')} that completed before: "
            "tunekit export --train trains one of them again for its model, another --sweep trains all of them anew"
        )


def incomplete(plan: Plan, say: Say) -> int:
    """Name each trial that did not complete. Return the exit code, 0 only where all trials completed."""
    for trial in plan.trials:
        if trial.state is not PlanState.DONE:
            say(f"{trial.state.value}: {trial.spec.label}{f' ({trial.reason})' if trial.reason else ''}")
    if plan.count(PlanState.FAILED):
        say("failed trials run again only with --retry-failed")
    return OK if plan.count(PlanState.DONE) == len(plan.trials) else INCOMPLETE
