"""Searches replayed over a recorded table: the epochs until what they choose is as good as the exhaustive best.

Each replay searches one seed of the table and is judged on the other two: by the test score of its choice, beside that
of the configuration which all 64 trained on those two seeds would choose on validation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from benchmarks.harness import DRAWS, Outcome, Ratio, ratio_of
from benchmarks.replays.replay import STRATEGIES, Replay
from benchmarks.replays.table import POINTS, Judge, RecordedTable, judge, read_table
from tunekit.seeding import stream_seed

MARGIN = 0.003
"""As good as: at most 0.3 points of macro-F1 below."""
GOAL = 0.15
"""Share of the epochs of an exhaustive search of one seed."""
SHARES = (0.05, 0.10, 0.15, 0.25, 0.50, 1.00)
REPLAYS, QUICK_REPLAYS = 50, 2
"""For each of the table's seeds."""
PEER = "random"


@dataclass(frozen=True)
class Judged:
    """A replay with the judgement of the seeds that it did not see."""

    replay: Replay
    regrets: np.ndarray
    """(C,) of each configuration's score below the exhaustive best, in [0, 1]."""
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
        """Points in [0, 1] of the choice below the exhaustive best when ``share`` of the table's epochs are spent."""
        return float(self.regrets[self.replay.at(share * self.cap)])


def run(quick: bool) -> Outcome:
    """Replay every strategy with the same seeds. Raises UserError where the table is not whole."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = read_table()
    num_seeds = table.val.shape[1]
    judges = [judge(table, seen) for seen in range(num_seeds)]
    cap = len(POINTS) * table.num_epochs
    judged: dict[str, list[Judged]] = {name: [] for name in STRATEGIES}
    for seen, judgement in enumerate(judges):
        for number in range(QUICK_REPLAYS if quick else REPLAYS):
            for name, strategy in STRATEGIES.items():
                replay = strategy(table.best[:, seen], stream_seed(number, "replay", seen) % 2**32)
                judged[name].append(Judged(replay, judgement.regrets, cap))
    needed = {name: [one.needed for one in found] for name, found in judged.items()}
    ratios = {f"search/{name}": ratio_of(needed[name], needed[PEER]) for name in STRATEGIES if name != PEER}
    figures: dict[str, Any] = {
        "epochs": cap,
        "replays": len(judged[PEER]),
        "exhaustive_best": [_best(table, judges, seen) for seen in range(num_seeds)],
        **{name: _summary(found, cap) for name, found in judged.items()},
    }
    return Outcome(ratios, figures)


def _best(table: RecordedTable, judges: list[Judge], seen: int) -> Mapping[str, Any]:
    """The exhaustive best for one search seed, and what training all 64 on that seed would have chosen."""
    judgement = judges[seen]
    chosen = int(table.best[:, seen, -1].argmax())
    return {
        "configuration": dict(POINTS[judgement.best]),
        "test_macro_f1": float(judgement.scores[judgement.best]),
        "standard_error": judgement.standard_error,
        "within_margin": int((judgement.regrets <= MARGIN).sum()),
        "highest_test_macro_f1": float(judgement.scores.max()),
        "regret_of_all_on_the_search_seed": float(judgement.regrets[chosen]),
    }


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
