"""What a sweep prints of its own results when it ends."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.cells import cells
from analysis.report.search_section import tuned_grid
from analysis.search import search_results
from analysis.statistics.power import detectable_difference
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build, default_specs
from analysis.tables.table import terminal
from tunekit.schema import TrialSpec
from tunekit.store.result_store import ResultStore

METRICS = ("accuracy", "macro_f1")
MORE_SEEDS = 20


def print_grid(store: ResultStore, specs: Sequence[TrialSpec]) -> None:
    """Print the score tables of the cells of ``specs``, last epoch, to standard output, never cut to its width."""
    records = read_sweeps([store.root])
    wanted = {spec.cell for spec in specs}
    shown = [cell for cell in cells(records) if cell.key in wanted]
    for spec in default_specs(shown, METRICS):
        _print(terminal(build(spec)))


def print_search(store: ResultStore) -> None:
    """Print default, best and 1se choice of each study of the search in ``store``, and how they did on re-test."""
    records = read_sweeps([store.root])
    found = search_results(records, cells(records))
    for grid in tuned_grid(found):
        table = Table(*grid.head, title=grid.caption, title_justify="left")
        for row in grid.rows:
            table.add_row(*(escape(item if isinstance(item, str) else item.text) for item in row))
        _print(table)
    for one in found:
        if one.within:
            numbers = " ".join(str(trial.number) for trial in one.within)
            _print(escape(f"{one.title}: within one standard error of the best: trials {numbers}"))


def _print(shown: Table | str) -> None:
    width = Console(width=10_000).measure(shown).maximum
    Console(highlight=False, width=max(width, 80)).print(shown)


def outlook(store: ResultStore, specs: Sequence[TrialSpec], seconds: Mapping[str, float | None]) -> list[str]:
    """What 20 seeds would find that those of ``specs`` don't, a line a cell whose stored trials have a std.

    ``seconds`` of a trial, by cell. Differences are of two such rows' macro-F1, found with 80 % chance at 5 %.
    """
    if not store.trials_folder.is_dir():
        return []
    asked: dict[str, set[int]] = {}
    for spec in specs:
        asked.setdefault(spec.cell, set()).add(spec.seed)
    lines = []
    for cell in cells(read_sweeps([store.root])):
        sample = cell.sample("macro_f1") if cell.key in asked else None
        if sample is None or not sample.std:
            continue
        planned = len(asked[cell.key])
        gaps = [detectable_difference(sample.std, sample.std, n) for n in (planned, MORE_SEEDS)]
        if planned >= MORE_SEEDS or None in gaps:
            continue
        points = [
            f"{n} seeds detect {100 * gap:.1f} points"
            for n, gap in zip((planned, MORE_SEEDS), gaps, strict=True)
            if gap
        ]
        each = seconds[cell.key]
        more = "" if each is None else f", for {(MORE_SEEDS - planned) * each / 60:,.0f} more minutes"
        lines.append(f"{cell.title}: {points[0]}, {points[1]}{more} (std of n = {sample.n})")
    return lines
