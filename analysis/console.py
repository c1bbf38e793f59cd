"""What a sweep prints of its own results when it ends."""

from collections.abc import Sequence

from rich.console import Console

from analysis.aggregate import cells
from analysis.load import load
from analysis.render import terminal
from analysis.tables import build, default_specs
from tunekit.schema import TrialSpec
from tunekit.store import ResultStore

METRICS = ("accuracy", "macro_f1")


def print_grid(store: ResultStore, specs: Sequence[TrialSpec]) -> None:
    """Print the score tables of the cells of ``specs``, last epoch, to standard output, never cut to its width."""
    study = load([store.root])
    wanted = {spec.cell for spec in specs}
    shown = [cell for cell in cells(study) if cell.key in wanted]
    for spec in default_specs(shown, METRICS):
        table = terminal(build(spec))
        width = Console(width=10_000).measure(table).maximum
        Console(highlight=False, width=max(width, 80)).print(table)
