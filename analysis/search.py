"""What a search found: its trials beside what the store knows of them, and its choices on fresh seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import Cell, CellTrial
from analysis.names import LABELS, SHORT, metric_name, number, rounded
from analysis.predictions import read_predictions
from analysis.statistics.this_set import Sample
from analysis.sweep_records import SweepRecords
from tunekit.schema import Status
from tunekit.search.choosing import Candidate, item_standard_error, pareto, select
from tunekit.store.search_records import ROLES, SearchStudy, SearchTrial, TrialState

DEFAULT = 0
"""Number of the study's own configuration."""
MARGIN = 0.01
"""Of the range of learning rates that do nearly as well as the best: one point."""


@dataclass(frozen=True)
class Confirmation:
    """A chosen configuration, and its trials on seeds that the search never saw."""

    role: str
    """default, best or 1se."""
    trial: SearchTrial
    standard_error: float | None
    """Of its validation score, over items, in [0, 1]."""
    unknown: str
    """Why there is no standard error; empty where there is one."""
    cell: Cell | None
    """Of the confirming trials; None where none was begun."""
    asked: int
    """Confirming trials asked for."""
    validation: Sample | None
    """The objective over the confirming trials that completed."""
    test: Sample | None


@dataclass(frozen=True)
class SearchResult:
    """One study of a search."""

    study: SearchStudy
    model_name: str
    """For people, as the two below."""
    method_name: str
    dataset_name: str
    params: Mapping[int, int]
    """Trainable parameters by the trial's number, where the store knows them."""
    missing: int
    """Trials that search.json names and the store lacks."""
    roles: tuple[Confirmation, ...]
    """In the order of ``ROLES``; empty where no trial completed."""

    @property
    def title(self) -> str:
        """Model, method and dataset, for people."""
        return " · ".join([self.model_name, self.method_name, self.dataset_name])

    @property
    def parameters(self) -> tuple[str, ...]:
        """What was searched, the learning rate first."""
        return tuple(sorted(self.study.space, key=lambda name: name != "learning_rate"))

    @property
    def objective(self) -> str:
        """The first objective: what a choice is made by."""
        return self.study.objectives[0]

    @cached_property
    def complete(self) -> tuple[SearchTrial, ...]:
        """Trials that ended with a value, the best first, the earliest of equals."""
        ended = [one for one in self.study.trials if one.state is TrialState.COMPLETE]
        return tuple(sorted(ended, key=lambda one: (-self.merit(one), one.number)))

    def score(self, trial: SearchTrial) -> float | None:
        """Its first objective; of a pruned trial where it stood when it was stopped; None for a failed one."""
        return trial.values[0] if trial.values else None

    def merit(self, trial: SearchTrial) -> float:
        """The first objective of a complete trial, turned so that more is better."""
        value = self.score(trial)
        assert value is not None
        return value if self.study.directions[0] == "maximize" else -value

    def role(self, name: str) -> Confirmation | None:
        """The chosen configuration of that role."""
        return next((one for one in self.roles if one.role == name), None)

    @property
    def within(self) -> tuple[SearchTrial, ...]:
        """Complete trials within one item standard error of the best; empty where that is not known."""
        best = self.role("best")
        if best is None or best.standard_error is None:
            return ()
        floor = self.merit(self.complete[0]) - best.standard_error
        return tuple(one for one in self.complete if self.merit(one) >= floor)

    @property
    def near(self) -> tuple[SearchTrial, ...]:
        """Complete trials with a learning rate that are at most ``MARGIN`` below the best, by learning rate."""
        tuned = [one for one in self.complete if "learning_rate" in one.params]
        kept = [one for one in tuned if self.merit(one) >= self.merit(self.complete[0]) - MARGIN]
        return tuple(sorted(kept, key=learning_rate))

    @property
    def front(self) -> tuple[SearchTrial, ...]:
        """Complete trials that no other is as good as in every objective and better in one; by the first objective."""
        values = [one.values or () for one in self.complete]
        return tuple(self.complete[place] for place in pareto(values, self.study.directions))


def search_results(study: SweepRecords, found: Sequence[Cell]) -> list[SearchResult]:
    """All studies of all searches of ``study``; ``found`` are its cells.

    Raises DamagedRecord, naming the file, where stored predictions can't be read.
    """
    paths = dict(zip(study.trials["trial_id"], study.trials["path"], strict=True))
    known = study.trials.dropna(subset=["num_trainable_params"])
    params = {str(one): int(count) for one, count in zip(known["trial_id"], known["num_trainable_params"], strict=True)}
    cell_trials = {str(cell_trial.path): (cell, cell_trial) for cell in found for cell_trial in cell.trials}
    epochs = {str(path): rows for path, rows in study.epochs.groupby("path")}
    records = _Records(paths, params, cell_trials, epochs)
    return [_search_result(one, study.names, records) for one in study.searches]


def learning_rate(trial: SearchTrial) -> float:
    """A trial's learning rate. KeyError where it was not searched."""
    return float(trial.params["learning_rate"])


def is_score(objective: str) -> bool:
    """Whether an objective is a score on validation, in [0, 1] and shown in percent."""
    return f"val_{objective}" in LABELS


def shown(objective: str, value: float) -> str:
    """A value of an objective for people: scores in percent."""
    return f"{100 * value:.2f}" if is_score(objective) else f"{value:,.0f}"


def objective_name(objective: str) -> str:
    """``macro-F1 on validation``, ``num trainable params``."""
    return f"{metric_name(objective)} on validation" if is_score(objective) else metric_name(objective)


def configuration(one: SearchResult, trial: SearchTrial) -> str:
    """``lr 4.14e-4, r 32``."""
    names = [name for name in one.parameters if name in trial.params]
    return ", ".join(f"{SHORT.get(name, name.replace('_', ' '))} {rounded(trial.params[name])}" for name in names)


def space_text(one: SearchResult) -> str:
    """The ranges searched, and how many configurations they hold."""
    texts, sizes = [], []
    for name in one.parameters:
        given = one.study.space[name]
        if given["type"] == "categorical":
            choices = given["choices"]
            texts.append(f"{name.replace('_', ' ')} {', '.join(map(number, choices))}")
            sizes.append(str(len(choices)))
        else:
            low, high = (number(float(given[end])) for end in ("low", "high"))
            texts.append(f"{name.replace('_', ' ')} {low} to {high}{' (log)' if given['log'] else ''}")
            whole = given["type"] == "int"
            sizes.append(str(int(given["high"]) - int(given["low"]) + 1) if whole else "continuous")
    return f"{'; '.join(texts)}: {' x '.join(sizes)}" if texts else "nothing"


@dataclass(frozen=True)
class _Records:
    """What the stores hold, by trial id and by folder."""

    paths: Mapping[str, str]
    params: Mapping[str, int]
    cell_trials: Mapping[str, tuple[Cell, CellTrial]]
    epochs: Mapping[str, pd.DataFrame]

    def of(self, trial_ids: Sequence[str]) -> list[tuple[Cell, CellTrial]]:
        """The cell and the record of each trial that the stores hold."""
        return [self.cell_trials[self.paths[one]] for one in trial_ids if one in self.paths]


def _search_result(study: SearchStudy, names: Mapping[str, str], records: _Records) -> SearchResult:
    params = {
        trial.number: records.params[trial.trial_ids[0]]
        for trial in study.trials
        if trial.trial_ids and trial.trial_ids[0] in records.params
    }
    missing = sum(one not in records.paths for trial in study.trials for one in trial.trial_ids)
    named = {f"{name}_name": names.get(text, text) for name, text in _subject(study).items()}
    bare = SearchResult(study=study, **named, params=params, missing=missing, roles=())
    return replace(bare, roles=_roles(bare, records)) if bare.complete else bare


def _subject(study: SearchStudy) -> dict[str, str]:
    return {"model": study.model, "method": study.method, "dataset": study.dataset}


def _roles(bare: SearchResult, records: _Records) -> tuple[Confirmation, ...]:
    """The roles that the search gave, and those that it would give now where it has not chosen yet."""
    trials = {one.number: one for one in bare.study.trials}
    given = {choice.role: choice for choice in bare.study.choices}
    best = bare.complete[0]
    chosen = {"default": trials.get(DEFAULT), "best": best, "1se": _cheapest(bare, best, records)}
    roles = []
    for role in ROLES:
        choice = given.get(role)
        trial = trials[choice.number] if choice else chosen[role]
        if trial is not None:
            roles.append(_confirmed(bare, role, trial, choice.trial_ids if choice else (), records))
    return tuple(roles)


def _cheapest(bare: SearchResult, best: SearchTrial, records: _Records) -> SearchTrial | None:
    """The 1se choice; None where it is not known."""
    error, _ = _error(bare, best, records)
    if error is None:
        return None
    if any(one.number not in bare.params for one in bare.complete):
        return None
    candidates = [Candidate(one.number, bare.merit(one), bare.params[one.number]) for one in bare.complete]
    cheapest = select(candidates, error).one_se
    return next(one for one in bare.complete if one.number == cheapest)


def _confirmed(
    bare: SearchResult, role: str, trial: SearchTrial, trial_ids: Sequence[str], records: _Records
) -> Confirmation:
    error, unknown = _error(bare, trial, records)
    pairs = records.of(trial_ids)
    done = [cell_trial for _, cell_trial in pairs if cell_trial.status == Status.COMPLETED]
    rows = [
        row
        for cell_trial in done
        if (row := _best_row(records.epochs.get(cell_trial.folder), bare.objective)) is not None
    ]
    scores = ([row[f"{split}_{bare.objective}"] for row in rows] for split in ("val", "test"))
    validation, test = ([float(score) for score in found if pd.notna(score)] for found in scores)
    return Confirmation(
        role=role,
        trial=trial,
        standard_error=error,
        unknown=unknown,
        cell=pairs[0][0] if pairs else None,
        asked=len(trial_ids),
        validation=Sample.of(validation) if validation else None,
        test=Sample.of(test) if test else None,
    )


def _error(bare: SearchResult, trial: SearchTrial, records: _Records) -> tuple[float | None, str]:
    """Item standard error of a trial's score, and why there is none. Raises DamagedRecord."""
    pairs = records.of(trial.trial_ids)
    if len(pairs) < len(trial.trial_ids) or not pairs:
        return None, "its trials are not in the store"
    classes = pairs[0][0].num_classes
    if classes is None:
        return None, "the store holds no description of the dataset"
    frames = []
    for _, cell_trial in pairs:
        row = _best_row(records.epochs.get(cell_trial.folder), bare.objective)
        if row is None:
            return None, "no validation scores are recorded"
        frame = read_predictions(cell_trial.path, "val", int(row["epoch"]))
        if frame is None:
            return None, "no validation predictions are stored"
        frames.append(frame)
    try:
        return item_standard_error(frames, bare.objective, classes), ""
    except ValueError as error:
        return None, str(error)


def _best_row(epochs: pd.DataFrame | None, objective: str) -> "pd.Series[Any] | None":
    """A trial's epoch with the best validation score, the earliest of equals: what a search takes of it."""
    column = f"val_{objective}"
    if epochs is None or column not in epochs or epochs[column].isna().all():
        return None
    return epochs.iloc[int(epochs[column].to_numpy(dtype=float, na_value=-np.inf).argmax())]
