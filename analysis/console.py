"""What a sweep prints of its own results when it ends."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from analysis.aggregate import cells
from analysis.load import load
from analysis.planning import detectable_difference
from analysis.render import terminal
from analysis.tables import build, default_specs
from tunekit.schema import TrialSpec
from tunekit.store import ResultStore

METRICS = ("accuracy", "macro_f1")
MORE_SEEDS = 20


def print_grid(store: ResultStore, specs: Sequence[TrialSpec]) -> None:
    """Print the score tables of the cells of ``specs``, last epoch, to standard output, never cut to its width."""
    study = load([store.root])
    wanted = {spec.cell for spec in specs}
    shown = [cell for cell in cells(study) if cell.key in wanted]
    for spec in default_specs(shown, METRICS):
        table = terminal(build(spec))
        width = Console(width=10_000).measure(table).maximum
        Console(highlight=False, width=max(width, 80)).print(table)


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
    for cell in cells(load([store.root])):
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
