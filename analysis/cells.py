"""Cells: trials whose specs differ in the seed only and whose fingerprints are equal. Nothing else is ever pooled."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from analysis.cell_trials import CellTrial, cell_trials
from analysis.epoch_choice import SELECTIONS, selected_epochs
from analysis.names import PRIMARY, metric_name
from analysis.predictions import METRICS, collapsed, is_computed, per_class_f1, read_predictions
from analysis.statistics.this_set import Sample
from analysis.sweep_records import SweepRecords
from analysis.variants import variants
from tunekit.errors import UserError
from tunekit.schema import Direction, Scalar, Status, with_later_fields
from tunekit.store.ending import is_stopped_by_patience
from tunekit.store.trial_files import PREDICTIONS_FILE
from tunekit.tasks import Metric, Task, task_of
from tunekit.tasks.base import SCORED_SPLITS

FAILURES = (Status.FAILED, Status.DIVERGED, Status.OUT_OF_MEMORY)


@dataclass(frozen=True)
class Cell:
    """One configuration over its seeds."""

    key: str
    fingerprint: str
    model: str
    dataset: str
    method: str
    settings: Mapping[str, Scalar]
    """The other fields of the spec, including the method's hyperparameters."""
    variant: str
    """The settings in which other cells of its model, dataset and method differ from it; may be empty."""
    model_name: str
    """The display name. ``method_name`` and ``dataset_name`` are display names, too."""
    method_name: str
    dataset_name: str
    split: str
    """``test`` where the test split was scored, else ``val``."""
    searched: bool
    """Whether its trials are those of a search, which do not score the test split although there is one."""
    label_names: tuple[str, ...]
    """The names of the classes; empty where no copy of the dataset has them."""
    absent: tuple[str, ...]
    """The names of the classes that no item of ``split`` has; empty where there is no copy of the dataset."""
    expected: tuple[int, ...]
    """The seeds that were asked for or trained."""
    trials: tuple[CellTrial, ...]
    metric_names: Mapping[str, str] = field(default_factory=dict)
    """The names that an imported experiment has for its metrics."""
    data_note: str = ""
    """A note on its dataset in tables, such as on its test part; empty where there is none."""

    @cached_property
    def task(self) -> Task:
        """The task of its dataset."""
        return task_of(self.dataset)

    @property
    def has_classes(self) -> bool:
        """Whether each item has one class, so that there are confusions, probabilities and a majority class."""
        return self.task.form == "class"

    @property
    def num_classes(self) -> int | None:
        """The number of classes; None where no copy of the dataset has their names, and where there are none."""
        return (len(self.label_names) or None) if self.has_classes else None

    def measure(self, metric: str) -> Metric:
        """Return the metric with its unit and direction. A metric unknown to the task is a share, more is better."""
        known = (one for one in self.task.metrics if one.name == self.own_metric(metric))
        return next(known, Metric(name=metric, label=metric_name(metric), direction=Direction.MAX, unit="%"))

    def own_metric(self, metric: str) -> str:
        """Return ``metric``, or the dataset's primary metric where that is ``PRIMARY``."""
        return self.task.primary if metric == PRIMARY else metric

    @property
    def title(self) -> str:
        """The display names of model, method and dataset, with the variant, in one line."""
        return " · ".join(filter(None, [self.model_name, self.method_name, self.variant, self.dataset_name]))

    @property
    def anchor(self) -> str:
        """The anchor of the place in the report that lists its trials."""
        return f"cell-{hashlib.sha256(f'{self.key} {self.fingerprint}'.encode()).hexdigest()[:10]}"

    @cached_property
    def completed(self) -> tuple[CellTrial, ...]:
        """The completed trials, and the failed trials that were filled, in the order of their seeds."""
        return tuple(trial for trial in self.trials if trial.status == Status.COMPLETED or trial.filled)

    @cached_property
    def failures(self) -> Counter[str]:
        """The number of failed trials of each kind that were not filled."""
        return Counter(str(trial.status) for trial in self.trials if trial.status in FAILURES and not trial.filled)

    @property
    def unfinished(self) -> tuple[int, ...]:
        """The seeds that were asked for and whose trials neither completed nor failed."""
        ended = {trial.seed for trial in self.trials if trial.status == Status.COMPLETED or trial.status in FAILURES}
        return tuple(seed for seed in self.expected if seed not in ended)

    def by_seed(self, metric: str) -> dict[int, float]:
        """Return the metric of each completed trial by seed; trials that did not record it are left out.

        ``metric`` is a score of the task without its split, one of the summary, or computed from the stored predictions
        of classes: ``mcc``, ``weighted_f1``, ``f1:CLASS``. Raises UserError where predictions are missing.
        """
        column = f"{self.split}_{metric}"
        found: dict[int, float] = {}
        for trial in self.completed:
            if column in trial.scores:
                found[trial.seed] = trial.scores[column]
            elif metric in trial.scores:
                found[trial.seed] = trial.scores[metric]
            elif trial.epoch is not None and self.has_classes and is_computed(metric):
                found[trial.seed] = _from_predictions(self, trial, metric)
        return found

    def sample(self, metric: str) -> Sample | None:
        """Return mean, sample std (ddof = 1) and n of the metric over completed trials; None for n = 0."""
        values = self.by_seed(metric)
        return Sample.of(values.values()) if values else None

    @cached_property
    def num_collapsed(self) -> int:
        """The number of completed trials that predicted one class only."""
        return sum(_is_collapsed(self, trial) for trial in self.completed if not trial.filled)

    @property
    def num_by_patience(self) -> int:
        """The number of completed trials that patience has stopped."""
        return sum(is_stopped_by_patience(self.settings, trial.status, trial.num_epochs) for trial in self.trials)

    @property
    def executions(self) -> set[str]:
        """The ways of execution of its completed trials, as JSON."""
        return {trial.execution for trial in self.completed if not trial.filled}

    @property
    def devices(self) -> set[str]:
        """The kinds of device that its completed trials ran on, such as ``cpu``; ``unknown`` where none is recorded."""
        return {str(json.loads(text).get("device", "unknown")) for text in self.executions}


def metric_label(metric: str, found: Sequence[Cell]) -> str:
    """Return the name of a metric in ``found``: imported experiments have names of their own."""
    if metric == PRIMARY:
        return metric_name(metric)
    return " / ".join(dict.fromkeys(cell.metric_names.get(metric, cell.measure(metric).label) for cell in found))


def cells(records: SweepRecords, select: str = "last") -> list[Cell]:
    """Return all cells of ``records``. ``select``, one of ``SELECTIONS``, names the epochs whose scores count.

    Raises UserError for an unknown selection.
    """
    if select not in SELECTIONS:
        raise UserError(f"there is no selection {select!r} (there are {', '.join(SELECTIONS)})")
    grouped: dict[tuple[str, str], list[CellTrial]] = {}
    keys = zip(*(records.trials[name].to_numpy(object) for name in ("cell", "fingerprint")), strict=True)
    for key, trial in zip(keys, cell_trials(records.trials, selected_epochs(records, select)), strict=True):
        grouped.setdefault(key, []).append(trial)
    present = {key for key, _ in grouped}
    grouped |= {(key, ""): [] for key in records.expected if key not in present}
    positions = {key: position for position, key in enumerate(records.expected)}
    ordered = sorted(grouped.items(), key=lambda item: positions.get(item[0][0], len(positions)))
    scored = {str(name): _score_names(str(name)) for name in records.trials["dataset"].unique()}
    found = [_fields(records, key, fingerprint, members, scored) for (key, fingerprint), members in ordered]
    return [Cell(**fields, variant=text) for fields, text in zip(found, variants(found, records), strict=True)]


def _score_names(dataset: str) -> dict[str, frozenset[str]]:
    """Return, by split, the names of the scores whose presence shows that the split was scored."""
    names = [metric.name for metric in task_of(dataset).metrics if metric.name != "loss"]
    return {split: frozenset(f"{split}_{name}" for name in names) for split in SCORED_SPLITS}


def _fields(
    records: SweepRecords,
    key: str,
    fingerprint: str,
    members: Sequence[CellTrial],
    score_names: Mapping[str, Mapping[str, frozenset[str]]],
) -> dict[str, Any]:
    """Return the fields of a cell, all but ``variant``. ``score_names`` has the score names of each dataset."""
    spec = json.loads(key)
    settings = {**with_later_fields(spec), **spec.get("method_params", {}), **spec.get("settings", {})}
    for name in ("model", "dataset", "method", "method_params", "settings"):
        settings.pop(name, None)
    trials = sorted(members, key=lambda trial: trial.seed)
    known = score_names[spec["dataset"]].items() if trials else ()
    scored = {split for split, names in known if not all(names.isdisjoint(trial.scores) for trial in trials)}
    facts = records.datasets.get(spec["dataset"])
    split = "test" if "test" in scored or (spec["score_test"] and "val" not in scored) else "val"
    return dict(
        key=key,
        fingerprint=fingerprint,
        model=spec["model"],
        dataset=spec["dataset"],
        method=spec["method"],
        settings=settings,
        **{f"{name}_name": records.display_name(name, spec[name]) for name in ("model", "method", "dataset")},
        split=split,
        # An import without test scores is no search: most imported experiments simply recorded none.
        searched=not spec["score_test"],
        label_names=facts.label_names if facts else (),
        data_note=facts.note if facts else "",
        absent=facts.absent(split) if facts else (),
        expected=tuple(sorted({*records.expected.get(key, ()), *(trial.seed for trial in trials)})),
        trials=tuple(trials),
        metric_names=records.metric_names.get(key, {}),
    )


def _from_predictions(cell: Cell, trial: CellTrial, metric: str) -> float:
    frame = read_predictions(trial.path, cell.split, trial.epoch or 0)
    if frame is None or cell.num_classes is None:
        raise UserError(
            f"{metric} needs the predictions of epoch {trial.epoch} in {trial.path / PREDICTIONS_FILE} and the "
            f"dataset's description; leave --metric {metric} out, or train this trial again"
        )
    gold, predicted = frame["gold"].to_numpy(), frame["predicted"].to_numpy()
    try:
        if metric.startswith("f1:"):
            return float(per_class_f1(gold, predicted, cell.num_classes)[int(metric[3:])])
        return float(METRICS[metric](gold, predicted, cell.num_classes))
    except ValueError as error:
        raise UserError(f"{trial.path / PREDICTIONS_FILE}: {error}; move the trial away to train it again") from error


def _is_collapsed(cell: Cell, trial: CellTrial) -> bool:
    """Return whether the trial predicted one class only, by its scores first and then by its predictions."""
    accuracy, macro = (trial.scores.get(f"{cell.split}_{name}") for name in ("accuracy", "macro_f1"))
    if accuracy is None or macro is None or cell.num_classes is None:
        return False
    # One class k predicted: its recall is 1 and its precision the accuracy a, so macro-F1 = 2a / (1 + a) / C.
    if not np.isclose(macro, 2 * accuracy / (1 + accuracy) / cell.num_classes, rtol=0, atol=1e-9):
        return False
    frame = read_predictions(trial.path, cell.split, trial.epoch or 0)
    return frame is None or collapsed(frame["predicted"].to_numpy())
