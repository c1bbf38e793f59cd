"""The difference that more seeds would detect, for a dry run. It is computed without scipy, so it comes at once."""

from collections.abc import Mapping, Sequence

from tunekit.schema import Status, TrialSpec
from tunekit.store.frames import Frames, scores_of
from tunekit.store.requests import cell_names
from tunekit.tasks import Metric, task_of

MORE_SEEDS = 20
DETECTABLE = (
    3.5074, 2.5136, 2.0843, 1.8284, 1.6520, 1.5202, 1.4166, 1.3321, 1.2614, 1.2011, 1.1488, 1.1029, 1.0621, 1.0256,
    0.9927, 0.9627, 0.9353, 0.9102,
)  # fmt: skip
"""The difference of two rows' means, in standard deviations of a row, that Welch's test at level 5 % detects with a
power of 80 %, for 3, 4, ... 20 seeds a row. A test compares these numbers with
``analysis.statistics.power.detectable_difference(1, 1, n)``."""
_FIRST = MORE_SEEDS - len(DETECTABLE) + 1


def more_seeds(specs: Sequence[TrialSpec], stored: Frames, seconds: Mapping[str, float | None]) -> list[str]:
    """Return a line for each cell of ``specs`` whose stored trials have a standard deviation.

    The line gives the difference in the task's metric that the planned seeds detect, the one that ``MORE_SEEDS`` seeds
    detect, and the time that more seeds take. ``seconds`` are those of one trial, by cell.
    """
    planned: dict[str, set[int]] = {}
    for spec in specs:
        planned.setdefault(spec.cell, set()).add(spec.seed)
    trials = stored.trials[stored.trials["own"] & (stored.trials["status"] == Status.COMPLETED.value)]
    last = stored.epochs.drop_duplicates("folder", keep="last").set_index("folder")
    lines = []
    names = cell_names(specs)
    for cell, name in names.items():
        same = trials[trials["cell"] == cell]
        if same.empty or not _FIRST <= len(planned[cell]) < MORE_SEEDS:
            continue
        task = task_of(same["dataset"].iloc[0])
        own = last.reindex(same["folder"])
        scores = scores_of(own, task.watched(bool(same["score_test"].iloc[0]))).dropna()
        std = scores.std()
        if not std > 0:  # also for NaN, the std of a single score
            continue
        points = [f"{n} seeds detect {_difference(task.chooses_by, std * DETECTABLE[n - _FIRST])}" for n in
                  (len(planned[cell]), MORE_SEEDS)]  # fmt: skip
        each = seconds[cell]
        cost = "" if each is None else f", for {(MORE_SEEDS - len(planned[cell])) * each / 60:,.0f} more minutes"
        lines.append(f"{name}: {points[0]}, {points[1]}{cost} (std of n = {len(scores)})")
    return lines


def _difference(metric: Metric, value: float) -> str:
    """Return a difference for people. A difference of percentages is given in points."""
    return f"{100 * value:.1f} points" if metric.unit == "%" else f"{value:.4f} of {metric.label}"
