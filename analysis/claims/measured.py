"""The numbers of sweeps for a claim's rows: those of one configuration, or the reason why there are none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.cells import Cell
from analysis.claims.grammar import OFF_ITEMS
from analysis.claims.row import ClaimRow
from analysis.configurations import Configurations, choose, configuration_of, matches
from analysis.names import SPLITS
from analysis.statistics.this_set import Sample
from tunekit.parsing import did_you_mean, number


@dataclass(frozen=True)
class Measured:
    """The numbers of one row on one dataset in one metric, as far as they are known."""

    runs: dict[str, float] | None = None
    """The value of each run by the name of the run: its seed, or the workload of a closed form."""
    sample: Sample | None = None
    """The mean, std and n of the runs; None where there are none."""
    configuration: str = ""
    """The configuration of the runs, in words."""
    split: str = ""
    """The split that was scored; empty for a quantity that no split has."""
    cell: Cell | None = None
    """The cell that the runs are of; None for printed numbers."""
    kind: str = "runs"
    """The word for the runs: runs of trials, or the workloads of a closed form."""
    reason: str = ""
    """The reason why trials of the row give no sample; empty where there is a sample, or no trial at all."""


Lookup = Callable[[ClaimRow, str, str], Measured]
"""A function that returns the numbers of a row on a dataset in a metric, given in this order."""


def cell_lookup(found: Sequence[Cell]) -> Lookup:
    """Return a lookup of rows among the cells ``found``.

    A row that names settings gets the configuration that has them. Where several have them it gets none, unless the row
    asks for the best on validation and validation can choose.
    """

    def lookup(row: ClaimRow, dataset: str, metric: str) -> Measured:
        members = [
            cell
            for cell in found
            if not cell.searched and (cell.model, cell.method, cell.dataset) == (row.model, row.method, dataset)
        ]
        if not members:
            return Measured()
        fitting = [cell for cell in members if matches(cell.settings, row.settings)]
        if not fitting:
            return Measured(reason=_no_such(row, dataset, members))
        if len(fitting) > 1 and not row.best:
            return Measured(
                reason=f"{row} on {dataset}: {len(fitting)} configurations, none chosen; name one, or write "
                f"{row.asking_for_the_best()}"
            )
        choice = choose(fitting)
        if choice.chosen is None:
            return Measured(reason=f"{row} on {dataset}: {choice.how}")
        if choice.chosen.failures:
            failed = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in choice.chosen.failures.items())
            return Measured(reason=f"{row} on {dataset}: trials of this configuration failed ({failed})")
        return _measured(choice.chosen, members, choice.how, metric)

    return lookup


def _measured(cell: Cell, members: Sequence[Cell], how: str, metric: str) -> Measured:
    by_seed = _overfit(cell) if metric == "overfit" else cell.by_seed(metric)
    waiting = f", {len(cell.completed)} of {len(cell.expected)} seeds" if cell.unfinished else ""
    if len(members) == 1:
        about = "the only configuration"
    else:
        about = f"{configuration_of(Configurations(tuple(members), None, ''), cell)}{f': {how}' if how else ''}"
    return Measured(
        runs={str(seed): value for seed, value in by_seed.items()},
        sample=Sample.of(by_seed.values()) if by_seed else None,
        configuration=f"{about}{waiting}",
        split=SPLITS[cell.split] if metric not in OFF_ITEMS else "",
        cell=cell,
    )


def _overfit(cell: Cell) -> dict[int, float]:
    """Return the accuracy on train minus that on the cell's split, by seed."""
    train, scored = cell.by_seed("fit_accuracy"), cell.by_seed("accuracy")
    return {seed: train[seed] - scored[seed] for seed in train if seed in scored}


def _no_such(row: ClaimRow, dataset: str, members: Sequence[Cell]) -> str:
    """Return the reason why no cell of ``members`` has the settings of ``row``: what it names, and what there is."""
    known = list(dict.fromkeys(name for cell in members for name in cell.settings))
    for name, _ in row.settings:
        if name not in known:
            return f"{row} on {dataset}: there is no setting {name!r}{did_you_mean(name, known)}"
    there = [
        f"{name} {', '.join(dict.fromkeys(number(cell.settings[name]) for cell in members if name in cell.settings))}"
        for name, _ in row.settings
    ]
    return f"there is no configuration {row} on {dataset} (there are {'; '.join(there)})"
