"""From a sweep's records to cells: mean, sample standard deviation and n over seeds. Nothing else is ever pooled."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from tunekit.schema import Status, TrialSpec
from tunekit.store import ResultStore


@dataclass(frozen=True)
class Cell:
    """One configuration over its seeds."""

    spec: TrialSpec
    """Any of its trials' specs; they differ in the seed only."""
    expected: int
    """Seeds asked for."""
    values: tuple[float, ...]
    """The metric of each completed trial, in [0, 1]."""
    failures: tuple[Status, ...]

    @property
    def mean(self) -> float | None:
        """Mean over seeds; None for n = 0."""
        return fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation (ddof = 1); None for n < 2."""
        return stdev(self.values) if len(self.values) > 1 else None


def cells(store: ResultStore, specs: Sequence[TrialSpec], metric: str) -> list[Cell]:
    """The cells of ``specs`` with ``metric`` (such as ``test_macro_f1``) after the last epoch of completed trials.

    Stale and damaged trials are left out.
    """
    stored, _ = store.trials()
    by_folder = {trial.folder.name: trial for trial in stored}
    grouped: dict[str, list[TrialSpec]] = {}
    for spec in specs:
        grouped.setdefault(spec.cell, []).append(spec)
    result = []
    for members in grouped.values():
        values, failures = [], []
        for spec in members:
            trial = by_folder.get(spec.folder)
            if trial is None or trial.summary is None:
                continue
            if trial.summary.status is Status.COMPLETED:
                value = trial.summary.final_scores.get(metric)
                if value is not None:
                    values.append(value)
            else:
                failures.append(trial.summary.status)
        result.append(Cell(members[0], len(members), tuple(values), tuple(failures)))
    return result
