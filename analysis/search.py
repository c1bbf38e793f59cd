"""The results of a search: its trials with their stored records, and the scores of its choices on fresh seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.cell_trials import CellTrial
from analysis.cells import Cell
from analysis.names import metric_name, rounded, setting_name
from analysis.predictions import read_predictions
from analysis.statistics.this_set import Sample
from analysis.sweep_records import SweepRecords
from tunekit.schema import Status
from tunekit.search.choosing import Candidate, item_standard_error, pareto, select
from tunekit.store.search_records import ROLES, SearchStudy, SearchTrial, TrialState
from tunekit.tasks import Metric, task_of

DEFAULT = 0
"""The number of the trial that runs the default configuration."""


@dataclass(frozen=True)
class Confirmation:
    """A chosen configuration, with the scores of its trials on fresh seeds, which the search never used."""

    role: str
    """``default``, ``best`` or ``1se``."""
    trial: SearchTrial
    standard_error: float | None
    """The standard error of its validation score over items, in [0, 1]; None where it is not known."""
    unknown: str
    """The reason why the standard error is not known; empty where it is."""
    cell: Cell | None
    """The cell of the confirming trials; None where no trial has begun."""
    requested: int
    """The number of confirming trials that were asked for."""
    validation: Sample | None
    """The objective on validation over the confirming trials that completed; None where no trial has."""
    test: Sample | None
    """The objective on test over the same trials; None where no trial has a test score."""
    scored: Cell | None
    """The cell of these trials, each with the epoch whose scores count here; None where no trial has completed."""


@dataclass(frozen=True)
class SearchResult:
    """One study of a search, with the stored records of its trials."""

    study: SearchStudy
    model_name: str
    """The display name. ``method_name`` and ``dataset_name`` are display names, too."""
    method_name: str
    dataset_name: str
    params: Mapping[int, int]
    """The number of trainable parameters by trial number, for the trials whose number the stores hold."""
    missing: int
    """The number of trials that search.json names and the stores lack."""
    roles: tuple[Confirmation, ...]
    """The choices in the order of ``ROLES``; empty where no trial completed."""

    @property
    def title(self) -> str:
        """The display names of model, method and dataset in one line."""
        return " · ".join([self.model_name, self.method_name, self.dataset_name])

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters that were searched, the learning rate first."""
        return tuple(sorted(self.study.space, key=lambda name: name != "learning_rate"))

    @property
    def measure(self) -> Metric | None:
        """The metric of the first objective; None where it is not a score."""
        return measure_of(self.objective, self.study.dataset)

    @property
    def objective_name(self) -> str:
        """The first objective in words: ``macro-F1 on validation``, ``num trainable params``."""
        return metric_name(self.objective) if self.measure is None else f"{self.measure.label} on validation"

    @property
    def objective(self) -> str:
        """The first objective, by which configurations are chosen."""
        return self.study.objectives[0]

    @cached_property
    def complete(self) -> tuple[SearchTrial, ...]:
        """The trials that ended with a value, the best first; of equal trials the earlier one first."""
        ended = [one for one in self.study.trials if one.state is TrialState.COMPLETE]
        return tuple(sorted(ended, key=lambda one: (-self.merit(one), one.number)))

    def score(self, trial: SearchTrial) -> float | None:
        """Return the first objective of ``trial``: its last value if it was pruned, None if it failed."""
        return trial.values[0] if trial.values else None

    def merit(self, trial: SearchTrial) -> float:
        """Return the first objective of a complete trial, times -1 where less is better, so that more is better."""
        value = self.score(trial)
        assert value is not None
        return self.study.sign * value

    def role(self, name: str) -> Confirmation | None:
        """Return the chosen configuration of the role ``name``; None where there is none."""
        return next((one for one in self.roles if one.role == name), None)

    @property
    def within(self) -> tuple[SearchTrial, ...]:
        """The complete trials within one item standard error of the best; empty where that error is not known."""
        best = self.role("best")
        if best is None or best.standard_error is None:
            return ()
        floor = self.merit(self.complete[0]) - best.standard_error
        return tuple(one for one in self.complete if self.merit(one) >= floor)

    @property
    def front(self) -> tuple[SearchTrial, ...]:
        """The Pareto front of the complete trials, in the order of the first objective."""
        values = [one.values or () for one in self.complete]
        return tuple(self.complete[place] for place in pareto(values, self.study.directions))


def search_results(records: SweepRecords, found: Sequence[Cell]) -> list[SearchResult]:
    """Return the result of each study of each search of ``records``; ``found`` are the cells of ``records``.

    Raises DamagedRecord, naming the file, where stored predictions can't be read.
    """
    paths = dict(zip(records.trials["trial_id"], records.trials["path"], strict=True))
    known = records.trials.dropna(subset=["num_trainable_params"])
    params = {str(one): int(count) for one, count in zip(known["trial_id"], known["num_trainable_params"], strict=True)}
    cell_trials = {str(cell_trial.path): (cell, cell_trial) for cell in found for cell_trial in cell.trials}
    epochs = {str(path): rows for path, rows in records.epochs.groupby("path")}
    stored = _StoredTrials(paths, params, cell_trials, epochs)
    return [_search_result(study, records, stored) for study in records.searches]


def learning_rate(trial: SearchTrial) -> float:
    """Return the learning rate of ``trial``. Raises KeyError where the learning rate was not searched."""
    return float(trial.params["learning_rate"])


def measure_of(objective: str, dataset: str) -> Metric | None:
    """Return the metric of the dataset's task called ``objective``; None where it is a size and not a score."""
    return next((one for one in task_of(dataset).metrics if one.name == objective), None)


def shown(objective: str, value: float, dataset: str, error: float | None = None) -> str:
    """Return the value of an objective as text, a score in its unit, followed by ± ``error`` if there is one."""
    measure = measure_of(objective, dataset)
    values = [value] if error is None else [value, error]
    return " ± ".join([f"{one:,.0f}" for one in values] if measure is None else measure.numbers(*values))


def configuration(one: SearchResult, trial: SearchTrial) -> str:
    """Return the parameters of ``trial`` as text: ``lr 4.14e-4, r 32``."""
    names = [name for name in one.parameters if name in trial.params]
    return ", ".join(f"{setting_name(name)} {rounded(trial.params[name])}" for name in names)


@dataclass(frozen=True)
class _StoredTrials:
    """The stored trials that a search names by their ids."""

    paths: Mapping[str, str]
    """The trial's folder by trial id."""
    params: Mapping[str, int]
    """The number of trainable parameters by trial id."""
    cell_trials: Mapping[str, tuple[Cell, CellTrial]]
    """The cell and the trial by folder."""
    epochs: Mapping[str, pd.DataFrame]
    """The epochs by folder."""

    def of(self, trial_ids: Sequence[str]) -> list[tuple[Cell, CellTrial]]:
        """Return cell and trial of each of ``trial_ids`` that the stores hold."""
        return [self.cell_trials[self.paths[one]] for one in trial_ids if one in self.paths]


def _search_result(study: SearchStudy, records: SweepRecords, stored: _StoredTrials) -> SearchResult:
    params = {
        trial.number: stored.params[trial.trial_ids[0]]
        for trial in study.trials
        if trial.trial_ids and trial.trial_ids[0] in stored.params
    }
    bare = SearchResult(
        study=study,
        model_name=records.display_name("model", study.model),
        method_name=records.display_name("method", study.method),
        dataset_name=records.display_name("dataset", study.dataset),
        params=params,
        missing=sum(one not in stored.paths for trial in study.trials for one in trial.trial_ids),
        roles=(),
    )
    return replace(bare, roles=_roles(bare, stored)) if bare.complete else bare


def _roles(bare: SearchResult, stored: _StoredTrials) -> tuple[Confirmation, ...]:
    """Return the choices that the search made, or those that it would make now where it has not chosen yet."""
    trials = {one.number: one for one in bare.study.trials}
    given = {choice.role: choice for choice in bare.study.choices}
    best = bare.complete[0]
    chosen = {"default": trials.get(DEFAULT), "best": best, "1se": _cheapest(bare, best, stored)}
    roles = []
    for role in ROLES:
        choice = given.get(role)
        trial = trials[choice.number] if choice else chosen[role]
        if trial is not None:
            roles.append(_confirmed(bare, role, trial, choice.trial_ids if choice else (), stored))
    return tuple(roles)


def _cheapest(bare: SearchResult, best: SearchTrial, stored: _StoredTrials) -> SearchTrial | None:
    """Return the trial that the rule of one standard error chooses; None where the error or a size is not known."""
    error, _ = _error(bare, best, stored)
    if error is None:
        return None
    if any(one.number not in bare.params for one in bare.complete):
        return None
    candidates = [Candidate(one.number, bare.merit(one), bare.params[one.number]) for one in bare.complete]
    cheapest = select(candidates, error).one_se
    return next(one for one in bare.complete if one.number == cheapest)


def _confirmed(
    bare: SearchResult, role: str, trial: SearchTrial, trial_ids: Sequence[str], stored: _StoredTrials
) -> Confirmation:
    error, unknown = _error(bare, trial, stored)
    pairs = stored.of(trial_ids)
    done = [cell_trial for _, cell_trial in pairs if cell_trial.status == Status.COMPLETED]
    rows = [
        (cell_trial, row)
        for cell_trial in done
        if (row := _best_row(stored.epochs.get(cell_trial.folder), bare)) is not None
    ]
    scores = ([row[f"{split}_{bare.objective}"] for _, row in rows] for split in ("val", "test"))
    validation, test = ([float(score) for score in found if pd.notna(score)] for found in scores)
    at_best = tuple(_at(cell_trial, row, f"test_{bare.objective}") for cell_trial, row in rows)
    return Confirmation(
        role=role,
        trial=trial,
        standard_error=error,
        unknown=unknown,
        cell=pairs[0][0] if pairs else None,
        requested=len(trial_ids),
        validation=Sample.of(validation) if validation else None,
        test=Sample.of(test) if test else None,
        scored=replace(pairs[0][0], trials=at_best, split="test") if at_best else None,
    )


def _at(trial: CellTrial, row: "pd.Series[Any]", name: str) -> CellTrial:
    """Return ``trial`` at the epoch of ``row``, with the score ``name`` alone."""
    scores = {name: float(row[name])} if pd.notna(row[name]) else {}
    return trial._replace(epoch=int(row["epoch"]), scores=scores)


def _error(bare: SearchResult, trial: SearchTrial, stored: _StoredTrials) -> tuple[float | None, str]:
    """Return the item standard error of the trial's score, or None with the reason. Raises DamagedRecord."""
    pairs = stored.of(trial.trial_ids)
    if len(pairs) < len(trial.trial_ids) or not pairs:
        return None, "its trials are not in the store"
    first = pairs[0][0]
    if first.has_classes and first.num_classes is None:
        return None, "the store holds no description of the dataset"
    frames = []
    for _, cell_trial in pairs:
        row = _best_row(stored.epochs.get(cell_trial.folder), bare)
        if row is None:
            return None, "no validation scores are recorded"
        frame = read_predictions(cell_trial.path, "val", int(row["epoch"]), form=first.task.form)
        if frame is None:
            return None, "no validation predictions are stored"
        frames.append(frame)
    try:
        return item_standard_error(frames, bare.objective, len(first.label_names)), ""
    except ValueError as error:
        return None, str(error)


def _best_row(epochs: pd.DataFrame | None, bare: SearchResult) -> "pd.Series[Any] | None":
    """Return the epoch with the best validation score, the earliest of equals, by which a search scores."""
    column = f"val_{bare.objective}"
    if epochs is None or column not in epochs or epochs[column].isna().all():
        return None
    merits = bare.study.sign * epochs[column].astype(float)
    return epochs.iloc[int(merits.fillna(-math.inf).argmax())]
