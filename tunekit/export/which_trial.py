"""The choice of the trial that is exported: its cell, the seed that is best on validation, and the epoch.

Scores on test are never looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunekit.errors import UserError
from tunekit.parsing import number
from tunekit.schema import TrialSpec, readable, with_later_fields
from tunekit.storage.paths import Place
from tunekit.store.records import CompletedTrial, StoredTrial
from tunekit.store.requests import cell_names, requested_specs
from tunekit.store.result_store import ResultStore
from tunekit.tasks import task_of


@dataclass(frozen=True)
class ChosenTrial:
    """One trial at one epoch, with the other completed trials of its cell."""

    trial: CompletedTrial
    """The trial to export."""
    epoch_rule: str
    """The rule that names the epoch: ``best``, ``last``, or a number."""
    cell_trials: tuple[CompletedTrial, ...]
    """All completed trials of the cell, by seed."""
    num_requested: int
    """The number of seeds of the cell that the sweep was asked for."""
    reason: str
    """The reason for which this seed was chosen, for people."""

    @property
    def epoch(self) -> int:
        """The epoch whose weights are exported, from 1."""
        return epoch_of(self.trial, self.epoch_rule)


def epoch_of(trial: CompletedTrial, epoch_rule: str) -> int:
    """Return the epoch of a trial that ``epoch_rule`` names. Without a validation part ``best`` is the last epoch."""
    if epoch_rule == "best":
        return trial.summary.best_epoch or len(trial.epochs)
    return len(trial.epochs) if epoch_rule == "last" else int(epoch_rule)


def choose_trial(
    root: Place, names: Mapping[str, str], where: Sequence[str], seed: int | None, epoch_rule: str
) -> ChosenTrial:
    """Return the trial of the sweep in the folder ``root`` that is exported.

    ``names`` has the model, the dataset and the method of its cell, and ``where`` has further settings as NAME=VALUE.
    ``seed`` is its seed; None takes the best one on validation. Raises UserError where no cell or several cells fit,
    and where a seed has to be given.
    """
    store = ResultStore(root)
    stored, damaged = store.trials()
    trials = [t for t in stored if isinstance(t.spec, TrialSpec) and t.folder.name == t.spec.folder]
    if not trials:
        reason = f" ({damaged[0]})" if damaged else ""
        raise UserError(f"{root} holds no trials{reason}; give the folder that holds a sweep, as in ray_results/demo")
    for field, name in names.items():
        stored_name = _stored_name(field, name, sorted({getattr(trial.spec, field) for trial in trials}))
        trials = [trial for trial in trials if getattr(trial.spec, field) == stored_name]
    for text in where:
        trials = _with_setting(text, trials)
    cells = cell_names([trial.spec for trial in trials])
    if len(cells) > 1:
        listed = "; ".join(list(cells.values())[:4])
        raise UserError(
            f"{len(cells)} cells fit: {listed}; name one by its settings, as in --where learning_rate=0.001"
        )
    completed = [one for trial in trials if (one := CompletedTrial.of(trial)) is not None]
    completed.sort(key=lambda trial: trial.spec.seed)
    cell_name = next(iter(cells.values()))
    if not completed:
        raise UserError(f"{cell_name}: none of its {len(trials)} trials has completed")
    _check_epoch_rule(epoch_rule, completed[0])
    requested = [spec for spec in requested_specs(store.requests()) if spec.cell in cells]
    trial, reason = _choose_seed(cell_name, completed, seed, epoch_rule)
    return ChosenTrial(trial, epoch_rule, tuple(completed), max(len(requested), len(completed)), reason)


def _stored_name(field: str, name: str, stored: Sequence[str]) -> str:
    """Return the one of the ``stored`` names that ``name`` stands for.

    The stored name of a user's data or of a local model ends in a hash, which may be left out, alone or with the task
    before it. Raises UserError where no name or several names fit.
    """
    found = [name] if name in stored else [one for one in stored if name in (one.rpartition("-")[0], readable(one))]
    if len(found) > 1:
        raise UserError(f"{len(found)} {field}s here are called {name!r}; name one in full: {', '.join(found)}")
    if not found:
        known = ", ".join(dict.fromkeys(map(readable, stored)))
        raise UserError(f"no {field} here is called {name!r}; there are {known}")
    return found[0]


def _with_setting(text: str, trials: Sequence[StoredTrial]) -> list[StoredTrial]:
    """Return the trials that have the setting ``text`` (NAME=VALUE). Raises UserError where none has."""
    name, equals, value = text.partition("=")
    settings = [(trial, _settings(trial)) for trial in trials]
    if not equals or not all(name in values for _, values in settings):
        known = ", ".join(settings[0][1])
        raise UserError(f"--where takes NAME=VALUE, got {text!r}; there are {known}")
    exact = [trial for trial, values in settings if _is_equal(values[name], value)]
    found = exact or [trial for trial, values in settings if number(values[name]) == value]  # as cells are shown
    if not found:
        stored_values = ", ".join(sorted({str(values[name]) for _, values in settings}))
        raise UserError(f"no trial here has {text}; {name} is {stored_values}")
    return found


def _settings(trial: StoredTrial) -> dict[str, Any]:
    """Return all fields of a trial's spec; the method's hyperparameters stand among the others."""
    values = with_later_fields(trial.spec.to_dict())
    return {**values.pop("method_params"), **values}


def _is_equal(value: Any, text: str) -> bool:
    """Return whether ``text`` stands for ``value``, as the same text or as the same number."""
    try:
        return str(value) == text or float(value) == float(text)
    except (TypeError, ValueError):
        return False


def _check_epoch_rule(epoch_rule: str, trial: StoredTrial) -> None:
    """Raise UserError where ``epoch_rule`` is neither a rule nor an epoch of ``trial``."""
    if epoch_rule not in ("best", "last") and not (
        epoch_rule.isdecimal() and 1 <= int(epoch_rule) <= len(trial.epochs)
    ):
        raise UserError(f"--epoch takes best, last or a number from 1 to {len(trial.epochs)}, got {epoch_rule!r}")


def _choose_seed(
    cell_name: str, trials: Sequence[CompletedTrial], seed: int | None, epoch_rule: str
) -> tuple[CompletedTrial, str]:
    """Return the trial of ``seed``, or the best one of ``trials`` on validation, with the reason for the choice.

    Raises UserError where no trial has the seed, and where there is no validation part to choose by.
    """
    seeds = " ".join(str(trial.spec.seed) for trial in trials)
    if seed is not None:
        for trial in trials:
            if trial.spec.seed == seed:
                return trial, "given"
        raise UserError(f"{cell_name}: no completed trial has seed {seed}; there are {seeds}")
    metric = task_of(trials[0].spec.dataset).chooses_by
    scored = [(trial.epochs[epoch_of(trial, epoch_rule) - 1].score(f"val_{metric.name}"), trial) for trial in trials]
    scores = [score for score, _ in scored if score is not None]
    if len(scores) < len(trials):
        raise UserError(
            f"{cell_name}: there is no validation part to choose a seed by, and test is not looked at; "
            f"give --seed, one of {seeds}"
        )
    best = metric.best(scores)
    trial = next(trial for score, trial in scored if score == best)  # the smallest seed of equal scores
    return trial, f"the best of {len(trials)} on validation, {metric.label} {metric.shown(best)}"
