"""The learning rates of a grid: the one that validation chooses, and the range in which a method does as well.

A *rate map* is made for each model, method and dataset whose cells differ only in the learning rate and have at least
three rates. ``analysis.configurations`` chooses the rate; it never looks at test.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

from analysis.cells import Cell
from analysis.compare import Comparison, compare, score_of
from analysis.configurations import configurations, validation
from analysis.names import varying
from analysis.statistics.this_set import Sample
from analysis.tables.build import build
from analysis.tables.specs import default_specs
from analysis.units import primary_of
from tunekit.tasks.base import task_of

MIN_RATES = 3
"""The fewest learning rates for which a range is given."""
RATE = "learning_rate"


@dataclass(frozen=True)
class RateMap:
    """The cells of one model, method and dataset at several learning rates."""

    cells: tuple[Cell, ...]
    """One cell for each learning rate, the lowest first; cells without a validation score are left out."""
    scores: tuple[Sample, ...]
    """The validation scores of each cell over its seeds, by the metric that chooses."""
    chosen: Cell
    """The cell with the best mean on validation."""
    default: Cell | None
    """The cell at the method's own default learning rate; None where the grid does not hold it, or it is not known."""

    @property
    def rates(self) -> list[float]:
        """The learning rates, the lowest first."""
        return [rate_of(cell) for cell in self.cells]

    @property
    def best(self) -> Sample:
        """The validation scores of the chosen cell."""
        return self.scores[self.cells.index(self.chosen)]

    @property
    def within(self) -> tuple[float, float] | None:
        """The lowest and the highest rate of the range around the best that does as well on validation.

        The mean of every rate in the range is at most one standard error of the best mean (std / sqrt(n), over seeds)
        worse than that. It is None where that error is not known.
        """
        if self.best.std is None:
            return None
        sign = task_of(self.chosen.dataset).chooses_by.sign
        merits = [sign * sample.mean for sample in self.scores]
        floor = sign * self.best.mean - self.best.std / sqrt(self.best.n)
        low = high = self.cells.index(self.chosen)
        while low > 0 and merits[low - 1] >= floor:
            low -= 1
        while high < len(self.cells) - 1 and merits[high + 1] >= floor:
            high += 1
        return self.rates[low], self.rates[high]

    @property
    def at_the_edge(self) -> bool:
        """Whether the best is the lowest or the highest rate of the grid, so that a better one may lie outside."""
        return self.chosen in (self.cells[0], self.cells[-1])


@dataclass(frozen=True)
class Pair:
    """Two methods of one model on one dataset, compared on test."""

    first: RateMap
    second: RateMap
    at_default: Comparison | None
    """First minus second, both at their default rates, with the corrected p of a score table of the methods at these
    rates; None where the grid lacks one of them."""
    at_own: Comparison
    """First minus second, each at the rate that validation chose for it, with the corrected p of the score table."""


def rate_of(cell: Cell) -> float:
    """Return the learning rate of ``cell``."""
    return float(cell.settings[RATE])


def rate_maps(found: Iterable[Cell], default_rates: Mapping[str, float]) -> list[RateMap]:
    """Return the rate maps of ``found``, in the order in which models, methods and datasets appear.

    ``default_rates`` holds the default learning rate of each method, as far as it is known.
    """
    maps = []
    for one in configurations(found):
        if one.chosen is None or varying({("all",): [cell.settings for cell in one.cells]}) != (RATE,):
            continue
        scored = [(cell, sample) for cell in one.cells if (sample := _validation(cell)) is not None]
        if len(scored) < MIN_RATES or one.chosen not in [cell for cell, _ in scored]:
            continue
        ordered = sorted(scored, key=lambda pair: rate_of(pair[0]))
        default = next((cell for cell, _ in ordered if rate_of(cell) == default_rates.get(one.first.method)), None)
        maps.append(
            RateMap(tuple(cell for cell, _ in ordered), tuple(sample for _, sample in ordered), one.chosen, default)
        )
    return maps


def metric_of(one: RateMap) -> str:
    """Return the metric by which ``one`` is judged: the primary one of the dataset's task."""
    return task_of(one.chosen.dataset).primary


def pairs_of(maps: Sequence[RateMap], found: Sequence[Cell]) -> list[Pair]:
    """Return every pair of methods of each model and dataset, compared on test at default and at own rates.

    ``found`` are all cells of the sweeps. The method that is better at its own rate comes first. A comparison has the
    corrected p of the score table's marks where one of the two methods is the best of its column, and none elsewhere.
    Raises DamagedRecord where stored predictions can't be read.
    """
    groups: dict[tuple[str, str], list[RateMap]] = {}
    for one in maps:
        groups.setdefault((one.chosen.model, one.chosen.dataset), []).append(one)
    at_own = _corrections(found)
    at_default = _corrections([one.default for one in maps if one.default is not None])
    return [_pair(a, b, at_default, at_own) for members in groups.values() for a, b in combinations(members, 2)]


def against_default(one: RateMap) -> Comparison | None:
    """Return the comparison on test of the chosen rate with the default one; None where they are the same or one lacks.

    Raises DamagedRecord where stored predictions can't be read.
    """
    if one.default is None or one.default == one.chosen:
        return None
    return _compared(one.chosen, one.default, metric_of(one))


def _validation(cell: Cell) -> Sample | None:
    return validation(cell, task_of(cell.dataset).primary) if cell.completed and not cell.failures else None


def _compared(a: Cell, b: Cell, metric: str) -> Comparison:
    return compare(score_of(a, metric), score_of(b, metric))


Corrections = Mapping[frozenset[str], tuple[float, str]]
"""The corrected p and the name of its correction, by the anchors of the two cells that are compared."""


def _corrections(found: Sequence[Cell]) -> Corrections:
    """Return the corrections of each row's comparison with the best of its column, in the score tables of ``found``."""
    corrections = {}
    for table in map(build, default_specs(found, [primary_of(found)])) if found else ():
        for (_, column), entry in table.entries.items():
            one = entry.versus
            if one is None or one.p_corrected is None:
                continue
            best = table.entries[table.best[column], column].score.cell
            cells = frozenset(cell.anchor for cell in (entry.score.cell, best) if cell is not None)
            corrections[cells] = (one.p_corrected, one.correction)
    return corrections


def _pair(a: RateMap, b: RateMap, at_default: Corrections, at_own: Corrections) -> Pair:
    own = _compared(a.chosen, b.chosen, metric_of(a))
    if own.difference is not None and own.measure.sign * own.difference < 0:
        return _pair(b, a, at_default, at_own)
    default = None
    if a.default is not None and b.default is not None:
        default = _corrected(_compared(a.default, b.default, metric_of(a)), a.default, b.default, at_default)
    return Pair(a, b, default, _corrected(own, a.chosen, b.chosen, at_own))


def _corrected(one: Comparison, a: Cell, b: Cell, corrections: Corrections) -> Comparison:
    """Return ``one``, which compares ``a`` with ``b``, with its corrected p, where it has one."""
    found = corrections.get(frozenset((a.anchor, b.anchor)))
    return one if found is None else one.corrected(*found)
