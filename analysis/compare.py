"""The one comparison of two rows that tables, headlines and claims show, with its test and population.

Where both rows keep the predictions of their trials, the comparison holds for new texts from the same source: seeds and
test items vary, items of one group together. Two tests are then made, over seeds and items and over seeds alone, and
the larger p counts. Otherwise it holds for these test items only: seeds vary. Quantities that seeds do not move are
compared by their values, without a test. Where there is no test, the comparison says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

from analysis.cell_predictions import NO_PREDICTIONS, predictions_of
from analysis.cells import Cell
from analysis.statistics.new_text import Variation, difference, interval, is_of_items, variations
from analysis.statistics.this_set import MIN_SEEDS, Difference, Interval, Sample, varies, welch
from tunekit.parsing import how_many
from tunekit.schema import Direction
from tunekit.store.records import DamagedRecord
from tunekit.tasks import Metric

SEEDS_DO_NOT_MOVE = ("num_trainable_params", "num_total_params", "predicted_memory_bytes", "peak_memory_bytes")
"""The metrics that do not depend on the seed by their nature. Where they vary all the same, they are tested."""


OTHER_ITEMS = "the two rows were scored on different test items"
NO_SPREAD = "the two rows differ nowhere, over seeds or over items"


SHARE = Metric(name="score", label="score", direction=Direction.MAX, unit="%", bounds=(0.0, 1.0))
"""The metric of a score without a cell, such as a published one."""


class Population(StrEnum):
    """The population that a comparison holds for."""

    NEW_TEXT = "new texts from the same source"
    """New seeds, and new items of the kind that the split holds."""
    THIS_SET = "these test items"
    """New seeds, on the items that were scored."""
    NEW_SEEDS = "new seeds"
    """New seeds, for quantities that no item has: a loss in training, seconds."""
    COMPARED = "what was compared"
    """Only the compared values: quantities that seeds do not move are not tested."""


@dataclass(frozen=True)
class Score:
    """The facts on one cell in one metric that a table or a claim needs."""

    sample: Sample | None
    """The scores over seeds; None where no trial has completed."""
    expected: int
    """The number of seeds that were asked for."""
    metric: str = ""
    """The metric as ``Cell.by_seed`` takes it; empty for a published score."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """The number of failed trials of each kind. A cell with failures takes no part in bold or tests."""
    num_filled: int = 0
    """The number of failed trials that count with the score of the majority class."""
    num_collapsed: int = 0
    """The number of trials that predicted one class only."""
    num_executions: int = 1
    """The number of ways in which the trials were run (device, threads, packed or not)."""
    cell: Cell | None = None
    """The cell that the score comes from; None for a published score."""
    left_out: str = ""
    """The reason why it takes no part in bold or tests although no trial failed; empty where it takes part."""
    configuration: str = ""
    """The settings of the cell, where its method was trained with several; empty where there was nothing to choose."""

    @property
    def measure(self) -> Metric:
        """The metric with its unit and direction."""
        return SHARE if self.cell is None else self.cell.measure(self.metric)

    @property
    def taking_part(self) -> Sample | None:
        """The sample that takes part in bold and tests; None where there is none, or the cell takes no part."""
        return None if self.failures or self.left_out else self.sample

    @property
    def untestable(self) -> str:
        """The reason why the row can't take part in any test; empty where it can."""
        if self.failures:
            return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in self.failures.items())
        if self.left_out:
            return self.left_out
        if self.sample is None:
            return "no trial has completed"
        if self.sample.n < MIN_SEEDS:
            return f"{how_many(self.sample.n, 'seed')}, and a test takes at least {MIN_SEEDS}"
        return "no standard deviation is known" if self.sample.std is None else ""


@dataclass(frozen=True)
class Comparison:
    """The comparison of row a with row b: a minus b, or minus a factor times b, in the metric's unit."""

    population: Population
    """The population that it holds for."""
    n: tuple[int, int]
    """The numbers of seeds."""
    difference: float | None
    """The difference of the means; None where a row has no score."""
    reason: str = ""
    """The reason why no test was made; empty where one was."""
    exact: bool = False
    """Whether the difference is the answer, without a test: nothing varies, and seeds do not move such a metric."""
    why_this_set: str = ""
    """The reason why it holds for these test items only; empty where it holds for new texts."""
    estimate: Difference | None = None
    """The estimate of the difference with its tests; None where no test was made."""
    measure: Metric = SHARE
    """The metric with its unit and direction."""
    p_corrected: float | None = None
    """The p corrected for the other comparisons of its table; None before that, and where no test was made."""
    correction: str = ""
    """The name of the correction; empty before it, and where no test was made."""

    @property
    def tested(self) -> bool:
        """Whether a test was made."""
        return self.estimate is not None

    @property
    def test(self) -> str:
        """The name of the test that gave the p; empty where none was made."""
        return "" if self.estimate is None else self.estimate.test

    @property
    def p(self) -> float | None:
        """The two-sided p, uncorrected."""
        return None if self.estimate is None else self.estimate.p

    @property
    def low(self) -> float | None:
        """The lower bound of the 95 % interval of the difference, uncorrected."""
        return None if self.estimate is None else self.estimate.interval.low

    @property
    def high(self) -> float | None:
        """The upper bound of the 95 % interval of the difference, uncorrected."""
        return None if self.estimate is None else self.estimate.interval.high

    @property
    def facts(self) -> dict[str, str | float | None]:
        """The values for programs, in the metric's unit. ``reason`` says why no test was made, where none was."""
        return {
            "holds_for": self.population.value if self.tested else None,
            "test": self.test,
            "p": self.p,
            "p_corrected": self.p_corrected,
            "correction": self.correction,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "reason": self.reason,
        }

    def corrected(self, p: float, correction: str) -> "Comparison":
        """Return the comparison with its corrected p, and the name of the correction."""
        return replace(self, p_corrected=p, correction=correction)


def score_of(cell: Cell, metric: str, left_out: str = "", configuration: str = "") -> Score:
    """Return the score of ``cell`` in ``metric``, as ``Cell.by_seed`` takes it.

    ``left_out`` says why it takes no part in bold or tests, and ``configuration`` which settings it has.
    """
    metric = cell.own_metric(metric)
    return Score(
        sample=cell.sample(metric),
        expected=len(cell.expected),
        metric=metric,
        failures=dict(cell.failures),
        num_filled=sum(trial.filled for trial in cell.trials),
        num_collapsed=cell.num_collapsed,
        num_executions=len(cell.executions),
        cell=cell,
        left_out=left_out,
        configuration=configuration,
    )


def compare(a: Score, b: Score, factor: float = 1.0) -> Comparison:
    """Return the comparison of ``a`` with ``factor`` times ``b``, for new texts where both keep predictions.

    A comparison without a test has a ``reason``. Raises DamagedRecord where stored predictions can't be read.
    """
    n = tuple(0 if one.sample is None else one.sample.n for one in (a, b))
    bare = Comparison(Population.THIS_SET, (n[0], n[1]), None, measure=a.measure)
    if a.sample is None or b.sample is None:
        return replace(bare, reason=_whose(a, b))
    bare = replace(bare, difference=a.sample.mean - factor * b.sample.mean)
    if a.metric == b.metric and a.metric in SEEDS_DO_NOT_MOVE and not (varies(a.sample) or varies(b.sample)):
        return replace(bare, exact=True, reason="no seed moves it: the values are compared, without a test")
    if a.untestable or b.untestable:
        return replace(bare, reason=_whose(a, b))
    if a.cell is None or b.cell is None:
        estimate, why_not = None, NO_PREDICTIONS
    else:
        estimate, why_not = compared_on_new_text(a.metric, a.cell, b.cell, factor)
    if estimate is not None:
        return replace(bare, population=Population.NEW_TEXT, estimate=estimate)
    if why_not in (OTHER_ITEMS, NO_SPREAD):
        return replace(bare, reason=why_not)
    bare = replace(bare, why_this_set=why_not)
    here = welch(a.sample, _scaled(b.sample, factor))
    if here is None:
        return replace(bare, reason=f"neither row varies over its seeds, and there are {NO_PREDICTIONS}")
    return replace(bare, estimate=here)


def compared_on_new_text(metric: str, a: Cell, b: Cell, factor: float = 1.0) -> tuple[Difference | None, str]:
    """Return the comparison of ``a`` with ``factor`` times ``b`` where seeds and items vary, or why there is none.

    Raises DamagedRecord where stored predictions can't be read.
    """
    if not is_of_items(metric):
        return None, "this metric is no score of single items"
    try:
        one, other = (_on_items(_Same(cell), metric) for cell in (a, b))
    except DamagedRecord:
        raise
    except ValueError as error:
        return None, str(error)
    if one.items != other.items or not one.variation.runs.same_items(other.variation.runs):
        return None, OTHER_ITEMS
    if min(len(one.variation.scores), len(other.variation.scores)) < MIN_SEEDS:
        return None, f"a test takes at least {MIN_SEEDS} seeds a row"
    found = difference(one.variation, other.variation, factor)
    return found, "" if found else NO_SPREAD


def interval_on_new_text(metric: str, cell: Cell) -> Interval | None:
    """Return the 95 % interval of a cell's mean where seeds and items vary; None below 3 seeds or where nothing varies.

    It is never narrower than the interval over seeds alone. Raises ValueError, which says why, where the cell keeps no
    predictions, and DamagedRecord where they can't be read.
    """
    return interval(_on_items(_Same(cell), metric).variation)


@dataclass(frozen=True)
class _Same:
    """A cell that is equal only to itself, as a key for the cache of its read predictions."""

    cell: Cell

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.cell is self.cell

    def __hash__(self) -> int:
        return id(self.cell)


@dataclass(frozen=True)
class _OnItems:
    items: tuple[str, ...]
    variation: Variation


@lru_cache(maxsize=256)
def _on_items(same: _Same, metric: str) -> _OnItems:
    """Return how a cell's score varies over seeds and items. Raises ValueError where it keeps no predictions."""
    found = predictions_of(same.cell)
    (variation,) = variations([found.predictions], metric)
    return _OnItems(found.items, variation)


def _whose(a: Score, b: Score) -> str:
    """Return why a comparison can't be tested: the reason of the first row, else that of the second."""
    return a.untestable or f"the row that it is compared with: {b.untestable}"


def _scaled(sample: Sample, factor: float) -> Sample:
    std = None if sample.std is None else factor * sample.std
    return Sample(factor * sample.mean, std, sample.n, tuple(factor * value for value in sample.values))
