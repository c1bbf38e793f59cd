"""Searches replayed over a recorded table: the epochs until what they choose is as good as the exhaustive best.

Each replay searches one seed of the table and is judged on the other two, by the mean test score of its choice there.
Beside it stand two targets, judged alike: ``best``, the configuration that validation on those two seeds calls the best
of all 64, and ``exhaustive``, the choice of an exhaustive search of the replay's own seed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from benchmarks.replays.replay import STRATEGIES, Replay
from benchmarks.replays.table import POINTS, Judge, RecordedTable, judge, read_table
from benchmarks.support.harness import DRAWS, Outcome, Ratio, ratio_of
from tunekit.seeding import stream_seed

MARGIN = 0.003
"""As good as: at most 0.3 points of macro-F1 below."""
GOAL = 0.15
"""Share of the epochs of an exhaustive search of one seed."""
SHARES = (0.05, 0.10, 0.15, 0.25, 0.50, 1.00)
REPLAYS, QUICK_REPLAYS = 40, 1
"""For each of the table's seeds."""
PEER = "random"
TARGETS: Mapping[str, Callable[[RecordedTable, Sequence[Judge], int], int]] = {
    "best": lambda table, judges, seen: judges[seen].best,
    "exhaustive": lambda table, judges, seen: int(table.best[:, seen, -1].argmax()),
}
"""The configuration (of ``POINTS``) that a search of one seed is measured by."""


@dataclass(frozen=True)
class Judged:
    """A replay with the judgement of the seeds that it did not see."""

    replay: Replay
    regrets: np.ndarray
    """(C,) of each configuration's score below the target's, in [0, 1]."""
    cap: int
    """Epochs of an exhaustive search."""

    @property
    def needed(self) -> int:
        """Epochs until the choice was first within the margin; all of the table's where it never was."""
        found = self.replay.first(self.regrets <= MARGIN)
        return self.cap if found is None else found

    @property
    def reached(self) -> bool:
        """Whether the choice was ever within the margin."""
        return self.replay.first(self.regrets <= MARGIN) is not None

    def regret(self, share: float) -> float:
        """Points in [0, 1] of the choice below the target when ``share`` of the table's epochs are spent."""
        return float(self.regrets[self.replay.at(share * self.cap)])


def run(quick: bool) -> Outcome:
    """Replay every strategy with the same seeds. Raises UserError where the table is not whole."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = read_table()
    judges = [judge(table, seen) for seen in range(table.val.shape[1])]
    cap = len(POINTS) * table.num_epochs
    judged: dict[str, dict[str, list[Judged]]] = {target: {name: [] for name in STRATEGIES} for target in TARGETS}
    for seen, judgement in enumerate(judges):
        regrets = {target: judgement.regrets(place(table, judges, seen)) for target, place in TARGETS.items()}
        for number in range(QUICK_REPLAYS if quick else REPLAYS):
            for name, strategy in STRATEGIES.items():
                replay = strategy(table.best[:, seen], stream_seed(number, "replay", seen) % 2**32)
                for target in TARGETS:
                    judged[target][name].append(Judged(replay, regrets[target], cap))
    ratios = {}
    for target, by_name in judged.items():
        needed = {name: [one.needed for one in found] for name, found in by_name.items()}
        for name in STRATEGIES:
            if name != PEER:
                ratios[f"search/{name}/{target}"] = ratio_of(needed[name], needed[PEER])
    figures: dict[str, Any] = {
        "epochs": cap,
        "replays": len(judged["best"][PEER]),
        "targets": [_best(table, judges, seen) for seen in range(len(judges))],
        **{
            target: {name: _summary(found, cap) for name, found in by_name.items()}
            for target, by_name in judged.items()
        },
    }
    return Outcome(ratios, figures)


def _best(table: RecordedTable, judges: Sequence[Judge], seen: int) -> Mapping[str, Any]:
    """Both targets for one search seed: their configurations and scores on the seeds that it does not see."""
    judgement = judges[seen]
    found: dict[str, Any] = {"standard_error": judgement.standard_error, "highest": float(judgement.scores.max())}
    for target, place in TARGETS.items():
        point = place(table, judges, seen)
        within = judgement.scores >= judgement.scores[point] - MARGIN
        found[target] = {
            "configuration": dict(POINTS[point]),
            "test_macro_f1": float(judgement.scores[point]),
            "configurations_within": int(within.sum()),
        }
    return found


def _summary(found: list[Judged], cap: int) -> Mapping[str, Any]:
    needed = np.array([one.needed for one in found])
    median = _median(needed)
    return {
        "median_epochs": median.median,
        "interval": [median.low, median.high],
        "share_of_the_tables_epochs": median.median / cap,
        "reached": float(np.mean([one.reached for one in found])),
        "within_at_goal": float(np.mean([one.regret(GOAL) <= MARGIN for one in found])),
        "median_regret": {f"{share:.0%}": float(np.median([one.regret(share) for one in found])) for share in SHARES},
        "mean_regret": {f"{share:.0%}": float(np.mean([one.regret(share) for one in found])) for share in SHARES},
    }


def _median(values: np.ndarray, seed: int = 0) -> Ratio:
    """The median with its 95 % bootstrap interval over replays."""
    draws = np.median(np.random.default_rng(seed).choice(values, (DRAWS, len(values))), axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Ratio(float(np.median(values)), float(low), float(high))
