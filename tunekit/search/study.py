"""One Optuna study of a search: asked and told by hand, and the truth about it, whoever is killed when.

Every trial carries the number it stands for. A trial that a dead driver left running is closed as failed, and its
parameters are queued again under the same number; the sampler is made anew before each ask from the study's seed and
that number. So a study that was broken off goes on as if it had not been.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.exc import SQLAlchemyError

from tunekit.errors import UserError
from tunekit.schema import Fingerprint, Scalar, TrialSpec
from tunekit.search.outcome import ConfigurationOutcome, Objective
from tunekit.search.space import Space, configure, shown_params, shown_space
from tunekit.store.search_records import ConfirmedConfiguration, SearchStudy, SearchTrial, TrialState

STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError)
"""What the storage of a study raises where it fails: the journal's lock, or the database."""
SAMPLERS = ("tpe", "random", "gp")
STARTUP_TRIALS = 5
"""Trials of a study before its model is asked; the default configuration is the first of them."""

NUMBER, AGAIN, SPECS, DEFINITION = "number", "again_of", "trial_ids", "definition"
_STATES = {
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}
_TOLD = {ours: optunas for optunas, ours in _STATES.items()}


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """What a study searches, and how."""

    spec: TrialSpec
    """The default configuration with the first search seed, test sealed."""
    fingerprint: Fingerprint
    space: Space
    """What replaces the method's own ranges."""
    default: Mapping[str, Scalar]
    """The default configuration, as it is suggested."""
    distributions: Mapping[str, BaseDistribution]
    objectives: tuple[Objective, ...]
    sampler: str
    sampler_seed: int
    scheduler: str
    seeds: tuple[int, ...]
    planned: int

    @property
    def key(self) -> str:
        """Model, dataset and method, unique in a search."""
        return f"{self.spec.model}/{self.spec.dataset}/{self.spec.method}"

    @property
    def max_epochs(self) -> int:
        """Epochs of the longest trial."""
        epochs = self.distributions.get("epochs")
        if epochs is None:
            return self.spec.epochs
        return max(epochs.choices) if isinstance(epochs, CategoricalDistribution) else epochs.high

    def specs(self, trial: "optuna.Trial") -> list[TrialSpec]:
        """The specs of what ``trial`` suggests, one a search seed."""
        found = configure(self.spec, trial, self.space)
        return [replace(found, seed=seed) for seed in self.seeds]

    def definition(self) -> dict[str, Any]:
        """What must not change while a study grows, as JSON values."""
        return {
            "space": shown_space(self.distributions),
            "default configuration": {k: v for k, v in self.spec.to_dict().items() if k != "seed"},
            "code, data or weights": self.fingerprint.digest,
            "objectives": [one.name for one in self.objectives],
            "sampler": self.sampler,
            "sampler seed": self.sampler_seed,
            "scheduler": self.scheduler,
            "search seeds": list(self.seeds),
        }


@dataclass
class Asked:
    """A trial that was suggested and not yet told."""

    trial: optuna.Trial
    number: int
    specs: list[TrialSpec]
    reported: int = 0
    """Epochs whose value Optuna has."""


def make_sampler(name: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """The sampler for a study's trial ``number``; settings that versions of Optuna might change are given."""
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
    """A plan's study in ``storage``, made where there is none. Raises UserError where a stored one is another."""

    def __init__(self, plan: StudyPlan, storage: BaseStorage, sweep: str, choices: Sequence[ConfirmedConfiguration] = ()) -> None:
        self.plan = plan
        self.choices = tuple(choices)
        self.study = optuna.create_study(
            study_name=f"{sweep}/{plan.key}",
            storage=storage,
            directions=[one.direction for one in plan.objectives],
            load_if_exists=True,
        )
        self._same_definition()
        if not self._all():
            self.study.enqueue_trial(dict(plan.default), user_attrs={NUMBER: 0})

    def _same_definition(self) -> None:
        mine, stored = self.plan.definition(), self.study.user_attrs.get(DEFINITION)
        if stored is None and not self._all():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self.study.set_metric_names([one.name for one in self.plan.objectives])
            self.study.set_user_attr(DEFINITION, json.dumps(mine))
            return
        known = json.loads(stored) if stored else {}
        other = [name for name in mine if known.get(name) != json.loads(json.dumps(mine[name]))]
        if other:
            raise UserError(
                f"study {self.study.study_name!r} was begun with another {', another '.join(other)}; "
                "repeat the command that began it, or search under another --sweep"
            )

    def _all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def trials(self) -> list[FrozenTrial]:
        """All trials but closed ones, by the number they stand for; waiting ones too."""
        everything = self._all()
        closed = {trial.user_attrs.get(AGAIN) for trial in everything}
        kept = [trial for trial in everything if trial.number not in closed]
        return sorted(kept, key=lambda trial: trial.user_attrs[NUMBER])

    def recover(self) -> int:
        """Close what a dead driver left running and queue it again. Returns the number of such trials."""
        running = [trial for trial in self._all() if trial.state is OptunaState.RUNNING]
        queued = {trial.user_attrs.get(AGAIN) for trial in self._all()}
        for trial in running:
            # Queued first, closed then: a driver that is killed in between leaves nothing that the next one can't see.
            if trial.number not in queued:
                whole = SPECS in trial.user_attrs
                params = trial.params if whole else trial.system_attrs.get("fixed_params", {})
                self.study.enqueue_trial(params, user_attrs={NUMBER: trial.user_attrs[NUMBER], AGAIN: trial.number})
            self.study.tell(trial.number, state=OptunaState.FAIL)
        return len(running)

    @property
    def num_asked(self) -> int:
        """Trials that run or have ended."""
        return sum(trial.state is not OptunaState.WAITING for trial in self.trials())

    @property
    def num_ended(self) -> int:
        """Trials that have ended."""
        return sum(trial.state.is_finished() for trial in self.trials())

    @property
    def wants(self) -> bool:
        """Whether there is a trial to ask for."""
        return self.num_asked < self.plan.planned

    def ask(self) -> Asked:
        """The next suggestion. Raises UserError where the space holds a value that no spec can."""
        known = self.trials()
        waiting = [trial for trial in self._all() if trial.state is OptunaState.WAITING]
        if not waiting:
            self.study.enqueue_trial({}, user_attrs={NUMBER: len(known)})
        number = waiting[0].user_attrs[NUMBER] if waiting else len(known)
        self.study.sampler = make_sampler(self.plan.sampler, self.plan.sampler_seed, number)
        trial = self.study.ask()
        specs = self.plan.specs(trial)
        trial.set_user_attr(SPECS, [spec.trial_id for spec in specs])
        return Asked(trial, number, specs)

    def report(self, asked: Asked, curve: Sequence[float]) -> None:
        """Hand on the objective after each epoch so far; Optuna takes curves of a single objective only."""
        if len(self.plan.objectives) > 1:
            return
        for epoch, value in enumerate(curve[asked.reported :], asked.reported + 1):
            asked.trial.report(value, epoch)
        asked.reported = max(asked.reported, len(curve))

    def tell(self, asked: Asked, outcome: ConfigurationOutcome) -> bool:
        """End the trial: complete, pruned with its curve, or failed. Returns whether it repeats another one."""
        self.report(asked, outcome.curve)
        mine = json.dumps([spec.trial_id for spec in asked.specs])
        repeated = any(
            json.dumps(trial.user_attrs.get(SPECS)) == mine and trial.state.is_finished() for trial in self.trials()
        )
        asked.trial.set_user_attr("epochs", 0 if repeated else outcome.epochs)
        asked.trial.set_user_attr("seconds", 0.0 if repeated else outcome.seconds)
        complete = outcome.state is TrialState.COMPLETE
        self.study.tell(asked.trial, outcome.values if complete else None, state=_TOLD[outcome.state])
        return repeated

    def curves(self) -> list[tuple[int, dict[int, float]]]:
        """Number and value by epoch of each trial that was trained for this study: what a scheduler has seen."""
        ended = [trial for trial in self.trials() if trial.state.is_finished() and trial.user_attrs["epochs"]]
        return [(trial.user_attrs[NUMBER], dict(trial.intermediate_values)) for trial in ended]

    def summary(self) -> SearchStudy:
        """The study for search.json."""
        plan = self.plan
        return SearchStudy(
            model=plan.spec.model,
            dataset=plan.spec.dataset,
            method=plan.spec.method,
            space=shown_space(plan.distributions),
            objectives=tuple(one.name for one in plan.objectives),
            directions=tuple(one.direction for one in plan.objectives),
            sampler=plan.sampler,
            sampler_seed=plan.sampler_seed,
            scheduler=plan.scheduler,
            seeds=plan.seeds,
            planned=max(plan.planned, self.num_ended),
            trials=tuple(_search_trial(trial) for trial in self.trials() if trial.state.is_finished()),
            choices=self.choices,
        )


def _search_trial(trial: FrozenTrial) -> SearchTrial:
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
