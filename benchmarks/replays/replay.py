"""One search replayed over the recorded table, on one seed of it: what it trains costs the epochs it would have cost.

As in a real search the default configuration is tried first, a repeated suggestion is answered without training, the
objective is the running best on validation, and the choice is the best of the configurations that trained to the end.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna

from benchmarks.replays.table import DEFAULT, POINTS, SPACE
from tunekit.schema import Scalar
from tunekit.search.study import make_sampler

Curve = np.ndarray
"""(E,) running best on validation after each epoch."""
Stops = Callable[[int, int, float], bool]
"""Takes a configuration, an epoch and the running best after it; says whether a scheduler stops the trial there."""


@dataclass
class Replay:
    """What a search had chosen, after how many epochs."""

    spent: list[int] = field(default_factory=list)
    """Epochs trained, after each trial that was trained."""
    chosen: list[int] = field(default_factory=list)
    """The configuration (of ``POINTS``) that a search ending then would choose."""

    def first(self, within: np.ndarray) -> int | None:
        """Epochs spent when a configuration of ``within``, (C,) of bool, was first the choice; None for never."""
        return next((spent for spent, chosen in zip(self.spent, self.chosen, strict=True) if within[chosen]), None)

    def at(self, budget: float) -> int:
        """The choice when at most ``budget`` epochs were spent; the first one before that."""
        return self.chosen[max(0, int(np.searchsorted(self.spent, budget, side="right")) - 1)]


class Trainer:
    """Trains configurations from the table, to the end or until a scheduler stops them."""

    def __init__(self, curves: np.ndarray, stops: Stops | None) -> None:
        self.curves, self.stops = curves, stops
        self.replay = Replay()
        self.trained: dict[int, Curve] = {}

    def train(self, point: int) -> Curve:
        """What the configuration's curve (C, E) shows before it ends or is stopped; a repeat costs nothing."""
        if point not in self.trained:
            self.trained[point] = self.curves[point, : self._epochs(point)]
            complete = [p for p, curve in self.trained.items() if len(curve) == self.curves.shape[1]]
            self.replay.spent.append(sum(map(len, self.trained.values())))
            self.replay.chosen.append(max(complete, key=lambda p: self.curves[p, -1]))
        return self.trained[point]

    def _epochs(self, point: int) -> int:
        """Epochs that the configuration trains."""
        if self.stops is not None:
            for epoch, score in enumerate(self.curves[point], 1):
                if self.stops(point, epoch, float(score)):
                    return epoch
        return int(self.curves.shape[1])


def asha(num_epochs: int) -> Stops:
    """Ray's own asynchronous successive halving (Li et al. 2020), asked by hand, one trial at a time."""
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler

    from tunekit.search.stopping import REDUCTION_FACTOR

    scheduler: Any = ASHAScheduler(
        time_attr="epoch", metric="score", mode="max", max_t=num_epochs, reduction_factor=REDUCTION_FACTOR
    )

    def stops(point: int, epoch: int, score: float) -> bool:
        trial = SimpleNamespace(trial_id=str(point))
        if epoch == 1:
            scheduler.on_trial_add(None, trial)
        decision = scheduler.on_trial_result(None, trial, {"epoch": epoch, "score": score})
        return bool(decision == TrialScheduler.STOP)

    return stops


def replay_random(curves: np.ndarray, seed: int, stops: Stops | None = None) -> Replay:
    """All configurations in a random order, none twice."""
    trainer = Trainer(curves, stops)
    first = POINTS.index(dict(DEFAULT))
    order = np.random.default_rng(seed).permutation(len(POINTS))
    for point in (first, *(int(one) for one in order if one != first)):
        trainer.train(point)
    return trainer.replay


def replay_tpe(curves: np.ndarray, seed: int, stops: Stops | None = None) -> Replay:
    """As many trials as the table has configurations, suggested by a search's own TPE, made anew before each."""
    trainer = Trainer(curves, stops)
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"learning_rate": _place("learning_rate"), "r": _place("r"), "alpha": DEFAULT["alpha"]})
    for number in range(len(POINTS)):
        study.sampler = make_sampler("tpe", seed, number)
        trial = study.ask()
        curve = trainer.train(POINTS.index(_suggest(trial)))
        for epoch, score in enumerate(curve, 1):
            trial.report(score, epoch)
        if len(curve) == curves.shape[1]:
            study.tell(trial, curve[-1])
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return trainer.replay


def _place(name: str) -> int:
    return SPACE[name].index(DEFAULT[name])


def _suggest(trial: optuna.Trial) -> dict[str, Scalar]:
    """A configuration; ordered values by their place, so that the sampler sees the order."""
    places = {name: trial.suggest_int(name, 0, len(SPACE[name]) - 1) for name in ("learning_rate", "r")}
    point = {name: SPACE[name][place] for name, place in places.items()}
    return point | {"alpha": str(trial.suggest_categorical("alpha", SPACE["alpha"]))}


Strategy = Callable[[np.ndarray, int], Replay]
"""Takes the running best of each configuration on the search's seed, (C, E), and a seed of its own."""

STRATEGIES: dict[str, Strategy] = {
    "random": replay_random,
    "random_asha": lambda curves, seed: replay_random(curves, seed, asha(curves.shape[1])),
    "tpe": replay_tpe,
    "tpe_asha": lambda curves, seed: replay_tpe(curves, seed, asha(curves.shape[1])),
}
