"""One Optuna study: it suggests configurations by ``ask`` and learns how they ended by ``tell``.

A driver may be killed at any moment. Therefore every Optuna trial has an attribute with the number that it stands for
in the study. A trial that a dead driver left running is closed as failed, and its parameters are queued again under the
same number. The sampler is made anew before each suggestion, from the study's seed and that number, so an interrupted
study goes on with the same suggestions as one that was never interrupted.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.exc import SQLAlchemyError

from tunekit.errors import UserError
from tunekit.schema import TrialSpec
from tunekit.search.outcome import ConfigurationOutcome
from tunekit.search.space import shown_params, shown_space
from tunekit.search.study_plan import StudyPlan
from tunekit.store.search_records import ConfirmedConfiguration, SearchStudy, SearchTrial, TrialState

STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError)
"""The errors that a study raises where its storage fails: the journal's lock, or the database."""
STARTUP_TRIALS = 5
"""The sampler uses a model of the scores after this many trials. The default configuration is the first of them."""

NUMBER, AGAIN, SPECS, DEFINITION = "number", "again_of", "trial_ids", "definition"
"""Optuna's attributes of a trial: the number it stands for, the trial that it repeats, and the ids of its specs; and
the attribute of the study that holds its plan's definition."""
_STATES = {
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}
_OPTUNA_STATES = {state: optuna_state for optuna_state, state in _STATES.items()}


@dataclass
class Suggestion:
    """A configuration that a study has suggested and whose outcome it has not been told yet."""

    trial: optuna.Trial
    """Optuna's trial."""
    number: int
    """The number that the trial stands for in the study, from 0."""
    specs: list[TrialSpec]
    """The specs of the configuration, one for each search seed."""
    num_reported: int = 0
    """The number of epochs whose objective Optuna has."""


def make_sampler(name: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler for trial ``number`` of a study with ``seed``.

    Settings whose defaults may differ between versions of Optuna are set here.
    """
    drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "random":
            return optuna.samplers.RandomSampler(seed=drawn)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=drawn, n_startup_trials=STARTUP_TRIALS, deterministic_objective=False)
        return optuna.samplers.TPESampler(
            seed=drawn, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
        )


class Study:
    """The Optuna study of ``plan`` in ``storage``, which is made where there is none.

    ``choices`` are the configurations that an earlier command has confirmed. Raises UserError where the storage has a
    study of the same name and another definition.
    """

    def __init__(
        self, plan: StudyPlan, storage: BaseStorage, sweep: str, choices: Sequence[ConfirmedConfiguration] = ()
    ) -> None:
        self.plan = plan
        self.choices = tuple(choices)
        self.study = optuna.create_study(
            study_name=f"{sweep}/{plan.key}",
            storage=storage,
            directions=[optuna.study.StudyDirection[objective.direction.upper()] for objective in plan.objectives],
            load_if_exists=True,
        )
        self._check_definition()
        if not self._optuna_trials():
            self.study.enqueue_trial(dict(plan.default), user_attrs={NUMBER: 0})

    def _check_definition(self) -> None:
        """Store the definition in a new study. Raise UserError where the study has another one."""
        definition, stored = self.plan.definition(), self.study.user_attrs.get(DEFINITION)
        if stored is None and not self._optuna_trials():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self.study.set_metric_names([objective.name for objective in self.plan.objectives])
            self.study.set_user_attr(DEFINITION, json.dumps(definition))
            return
        known = json.loads(stored) if stored else {}
        differing = [name for name in definition if known.get(name) != json.loads(json.dumps(definition[name]))]
        if differing:
            raise UserError(
                f"study {self.study.study_name!r} was begun with another {', another '.join(differing)}; "
                "repeat the command that began it, or search under another --sweep"
            )

    def _optuna_trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials by number, including waiting ones, without those that were closed and queued again."""
        trials = self._optuna_trials()
        closed = {trial.user_attrs.get(AGAIN) for trial in trials}
        current = [trial for trial in trials if trial.number not in closed]
        return sorted(current, key=lambda trial: int(trial.user_attrs[NUMBER]))

    def requeue_interrupted(self) -> int:
        """Close the trials that a dead driver left running, and queue them again. Return the number of these trials."""
        running = [trial for trial in self._optuna_trials() if trial.state is OptunaState.RUNNING]
        queued = {trial.user_attrs.get(AGAIN) for trial in self._optuna_trials()}
        for trial in running:
            # A trial is queued before it is closed: where the driver is killed in between, the next start sees both.
            if trial.number not in queued:
                is_complete = SPECS in trial.user_attrs  # else the driver was killed while parameters were suggested
                params = trial.params if is_complete else trial.system_attrs.get("fixed_params", {})
                self.study.enqueue_trial(params, user_attrs={NUMBER: trial.user_attrs[NUMBER], AGAIN: trial.number})
            self.study.tell(trial.number, state=OptunaState.FAIL)
        return len(running)

    @property
    def num_suggested(self) -> int:
        """The number of trials that run or have ended."""
        return sum(trial.state is not OptunaState.WAITING for trial in self.trials())

    @property
    def num_ended(self) -> int:
        """The number of trials that have ended."""
        return sum(trial.state.is_finished() for trial in self.trials())

    @property
    def has_trials_left(self) -> bool:
        """Whether the study has fewer trials than were planned."""
        return self.num_suggested < self.plan.planned

    def ask(self) -> Suggestion:
        """Return the next suggestion. Raises UserError where the space holds a value that no spec can have."""
        known = self.trials()
        waiting = [trial for trial in self._optuna_trials() if trial.state is OptunaState.WAITING]
        if not waiting:
            self.study.enqueue_trial({}, user_attrs={NUMBER: len(known)})
        number = waiting[0].user_attrs[NUMBER] if waiting else len(known)
        self.study.sampler = make_sampler(self.plan.sampler, self.plan.sampler_seed, number)
        trial = self.study.ask()
        specs = self.plan.specs(trial)
        trial.set_user_attr(SPECS, [spec.trial_id for spec in specs])
        return Suggestion(trial, number, specs)

    def report(self, suggestion: Suggestion, curve: Sequence[float]) -> None:
        """Report the objective after each epoch so far. Optuna takes such curves for a single objective only."""
        if len(self.plan.objectives) > 1:
            return
        for epoch, value in enumerate(curve[suggestion.num_reported :], suggestion.num_reported + 1):
            suggestion.trial.report(value, epoch)
        suggestion.num_reported = max(suggestion.num_reported, len(curve))

    def tell(self, suggestion: Suggestion, outcome: ConfigurationOutcome) -> bool:
        """End the trial: complete, pruned with its curve, or failed. Return whether it repeats an earlier trial."""
        self.report(suggestion, outcome.curve)
        specs = json.dumps([spec.trial_id for spec in suggestion.specs])
        is_repeated = any(
            json.dumps(trial.user_attrs.get(SPECS)) == specs and trial.state.is_finished() for trial in self.trials()
        )
        suggestion.trial.set_user_attr("epochs", 0 if is_repeated else outcome.epochs)
        suggestion.trial.set_user_attr("seconds", 0.0 if is_repeated else outcome.seconds)
        is_complete = outcome.state is TrialState.COMPLETE
        self.study.tell(suggestion.trial, outcome.values if is_complete else None, state=_OPTUNA_STATES[outcome.state])
        return is_repeated

    def curves(self) -> list[tuple[int, dict[int, float]]]:
        """Return the number and the objective by epoch of each ended trial that was trained, for a scheduler."""
        ended = [trial for trial in self.trials() if trial.state.is_finished() and trial.user_attrs["epochs"]]
        return [(trial.user_attrs[NUMBER], dict(trial.intermediate_values)) for trial in ended]

    def summary(self) -> SearchStudy:
        """Return the study as search.json holds it."""
        plan = self.plan
        return SearchStudy(
            model=plan.spec.model,
            dataset=plan.spec.dataset,
            method=plan.spec.method,
            space=shown_space(plan.distributions),
            objectives=tuple(objective.name for objective in plan.objectives),
            directions=tuple(objective.direction for objective in plan.objectives),
            sampler=plan.sampler,
            sampler_seed=plan.sampler_seed,
            scheduler=plan.scheduler,
            seeds=plan.seeds,
            planned=max(plan.planned, self.num_ended),
            trials=tuple(_search_trial(trial) for trial in self.trials() if trial.state.is_finished()),
            choices=self.choices,
        )


def _search_trial(trial: FrozenTrial) -> SearchTrial:
    """Return an ended trial as search.json holds it."""
    state = _STATES[trial.state]
    return SearchTrial(
        number=trial.user_attrs[NUMBER],
        params=shown_params(trial.params),
        state=state,
        values=None if state is TrialState.FAILED or trial.values is None else tuple(trial.values),
        epochs=trial.user_attrs["epochs"],
        seconds=trial.user_attrs["seconds"],
        trial_ids=tuple(trial.user_attrs[SPECS]),
    )
