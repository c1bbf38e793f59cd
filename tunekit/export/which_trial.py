"""Which trial of a sweep is exported: the cell, its best seed on validation, the epoch. Never looks at test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunekit.errors import UserError
from tunekit.schema import Status, TrialSpec
from tunekit.storage.paths import Place
from tunekit.store.records import StoredTrial
from tunekit.store.requests import cell_names, requested_specs
from tunekit.store.result_store import ResultStore


@dataclass(frozen=True)
class ChosenTrial:
    """One trial at one epoch, and the completed trials of its cell."""

    trial: StoredTrial
    rule: str
    """Which epoch: best, last, or a number."""
    alike: tuple[StoredTrial, ...]
    """Completed trials of the cell, by seed."""
    num_asked: int
    """Seeds of the cell that the sweep asked for."""
    why: str
    """How the seed was chosen, for people."""

    @property
    def epoch(self) -> int:
        """The epoch whose weights are exported, from 1."""
        return epoch_of(self.trial, self.rule)


def epoch_of(trial: StoredTrial, rule: str) -> int:
    """The epoch of a completed trial that ``rule`` names; without a validation part ``best`` is the last one."""
    if rule == "best":
        return trial.summary.best_epoch or len(trial.epochs)
    return len(trial.epochs) if rule == "last" else int(rule)


def choose_trial(
    root: Place, names: Mapping[str, str], where: Sequence[str], seed: int | None, rule: str
) -> ChosenTrial:
    """The trial that model, dataset and method in ``names`` and settings NAME=VALUE in ``where`` lead to.

    Raises UserError where they lead to none or to several cells, and where a seed has to be given.
    """
    store = ResultStore(root)
    trials, damaged = store.trials()
    own = [t for t in trials if isinstance(t.spec, TrialSpec) and t.folder.name == t.spec.folder]
    if not own:
        reason = f" ({damaged[0]})" if damaged else ""
        raise UserError(f"{root} holds no trials{reason}; give the folder that holds a sweep, as in ray_results/demo")
    for field, given in names.items():
        name = _name(field, given, sorted({getattr(trial.spec, field) for trial in own}))
        own = [trial for trial in own if getattr(trial.spec, field) == name]
    for text in where:
        own = _with(text, own)
    cells = cell_names([trial.spec for trial in own])
    if len(cells) > 1:
        listed = "; ".join(list(cells.values())[:4])
        raise UserError(
            f"{len(cells)} cells fit: {listed}; name one by its settings, as in --where learning_rate=0.001"
        )
    completed = [t for t in own if t.summary is not None and t.summary.status is Status.COMPLETED]
    completed.sort(key=lambda trial: trial.spec.seed)
    name = next(iter(cells.values()))
    if not completed:
        raise UserError(f"{name}: none of its {len(own)} trials has completed")
    _check_rule(rule, completed[0])
    asked = [spec for spec in requested_specs(store.requests()) if spec.cell in cells]
    trial, why = _seed(name, completed, seed, rule)
    return ChosenTrial(trial, rule, tuple(completed), max(len(asked), len(completed)), why)


def _name(field: str, given: str, there: Sequence[str]) -> str:
    """The name that ``given`` stands for: itself, or what it begins of the one ``name-hash`` of data or a folder."""
    found = [given] if given in there else [name for name in there if name.rpartition("-")[0] == given]
    if len(found) != 1:
        raise UserError(f"{len(found) or 'no'} {field}s here are called {given!r}; there are {', '.join(there)}")
    return found[0]


def _with(text: str, trials: Sequence[StoredTrial]) -> list[StoredTrial]:
    """The trials whose setting is as ``text`` (NAME=VALUE) says."""
    name, equals, value = text.partition("=")
    settings = [(trial, _settings(trial.spec)) for trial in trials]
    if not equals or not all(name in values for _, values in settings):
        known = ", ".join(settings[0][1])
        raise UserError(f"--where takes NAME=VALUE, got {text!r}; there are {known}")
    found = [trial for trial, values in settings if _equal(values[name], value)]
    if not found:
        there = ", ".join(sorted({str(values[name]) for _, values in settings}))
        raise UserError(f"no trial here has {text}; {name} is {there}")
    return found


def _settings(spec: TrialSpec) -> dict[str, Any]:
    values = spec.to_dict()
    return {**values.pop("method_params"), **values}


def _equal(value: Any, text: str) -> bool:
    try:
        return str(value) == text or float(value) == float(text)
    except (TypeError, ValueError):
        return False


def _check_rule(rule: str, trial: StoredTrial) -> None:
    if rule not in ("best", "last") and not (rule.isdecimal() and 1 <= int(rule) <= len(trial.epochs)):
        raise UserError(f"--epoch takes best, last or a number from 1 to {len(trial.epochs)}, got {rule!r}")


def _seed(name: str, trials: Sequence[StoredTrial], seed: int | None, rule: str) -> tuple[StoredTrial, str]:
    """The trial of ``seed``, else the best of ``trials`` on validation, and why."""
    seeds = " ".join(str(trial.spec.seed) for trial in trials)
    if seed is not None:
        for trial in trials:
            if trial.spec.seed == seed:
                return trial, "given"
        raise UserError(f"{name}: no completed trial has seed {seed}; there are {seeds}")
    scores = {trial.spec.seed: trial.epochs[epoch_of(trial, rule) - 1].val_macro_f1 for trial in trials}
    if None in scores.values():
        raise UserError(
            f"{name}: there is no validation part to choose a seed by, and test is not looked at; "
            f"give --seed, one of {seeds}"
        )
    best = max(trials, key=lambda trial: (scores[trial.spec.seed], -trial.spec.seed))
    why = f"the best of {len(trials)} on validation, macro-F1 {100 * scores[best.spec.seed]:.2f} %"
    return best, why
