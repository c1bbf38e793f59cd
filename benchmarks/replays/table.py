"""The recorded table: 64 configurations x 3 seeds x 9 epochs of one tiny model, written once, read by every replay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from tunekit.errors import UserError
from tunekit.schema import Scalar

PATH = Path(__file__).with_name("search.csv")
SPACE: Mapping[str, tuple[Scalar, ...]] = {
    "learning_rate": (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2),
    "r": (1, 2, 8, 32),
    "alpha": ("8", "2r"),
}
"""What a search chooses among; ``alpha`` is LoRA's, fixed or twice the rank."""
DEFAULT: Mapping[str, Scalar] = {"learning_rate": 5e-4, "r": 32, "alpha": "8"}
"""The study's own configuration, the first that any search tries."""
POINTS = tuple(dict(zip(SPACE, values, strict=True)) for values in product(*SPACE.values()))
"""All configurations, in the table's order."""
COLUMNS = [*SPACE, "seed", "epoch", "val_macro_f1", "test_macro_f1"]


def spec_settings(point: Mapping[str, Scalar]) -> tuple[float, dict[str, Scalar]]:
    """Learning rate and LoRA parameters of a configuration."""
    alpha = 8 if point["alpha"] == "8" else 2 * int(point["r"])
    return float(point["learning_rate"]), {"r": point["r"], "lora_alpha": alpha}


def recorded(path: Path) -> set[tuple[Scalar, ...]]:
    """The configurations and seeds that the table at ``path`` holds; none where there is no table yet."""
    if not path.exists():
        return set()
    frame = pd.read_csv(path, dtype={"alpha": str})
    return set(frame[[*SPACE, "seed"]].itertuples(index=False, name=None))


def add_trial(path: Path, point: Mapping[str, Scalar], seed: int, curve: Sequence[tuple[float, float]]) -> None:
    """Append one trial, its scores on validation and test after each epoch, to the table at ``path``."""
    rows = [(*point.values(), seed, epoch, *pair) for epoch, pair in enumerate(curve, 1)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.to_csv(path, mode="a", header=not path.exists(), index=False, float_format="%.6g", lineterminator="\n")


@dataclass(frozen=True)
class RecordedTable:
    """Macro-F1 in [0, 1] of configuration c (of ``POINTS``), seed s and epoch e, (C, S, E)."""

    val: np.ndarray
    test: np.ndarray

    @property
    def num_epochs(self) -> int:
        """Epochs of one trial."""
        return int(self.val.shape[2])

    @property
    def best(self) -> np.ndarray:
        """Running best on validation, (C, S, E): what a search is told."""
        return np.maximum.accumulate(self.val, axis=2)

    @property
    def chosen_test(self) -> np.ndarray:
        """Test score of the epoch with the best validation score, the earliest of equals, (C, S)."""
        epochs = self.val.argmax(axis=2)
        return np.take_along_axis(self.test, epochs[..., None], axis=2)[..., 0]


def read_table(path: Path = PATH) -> RecordedTable:
    """The table of ``path``. Raises UserError where it is not whole."""
    frame = pd.read_csv(path, dtype={"alpha": str})
    ordered = frame.set_index([*SPACE, "seed", "epoch"]).sort_index()
    sizes = [frame[name].nunique() for name in ("seed", "epoch")]
    wanted = pd.MultiIndex.from_tuples(
        [(*point.values(), seed, epoch) for point in POINTS for seed in range(1, sizes[0] + 1)
         for epoch in range(1, sizes[1] + 1)]
    )  # fmt: skip
    if len(frame) != len(wanted) or not wanted.isin(ordered.index).all() or ordered.isna().any(axis=None):
        raise UserError(f"{path} is not whole; write it again with python -m benchmarks.replays.record")
    shape = (len(POINTS), *sizes)
    val, test = (ordered.loc[wanted, name].to_numpy().reshape(shape) for name in COLUMNS[-2:])
    return RecordedTable(val, test)


@dataclass(frozen=True)
class Judge:
    """What the seeds that a search did not see say of each configuration. Scores are in [0, 1]."""

    scores: np.ndarray
    """(C,) test macro-F1 of the epoch chosen on validation, mean over the unseen seeds."""
    best: int
    """The exhaustive best: the configuration with the best validation score, mean over the unseen seeds."""
    standard_error: float
    """Of its score, over seeds: the seeds' std, pooled over the best quarter of all configurations, by root n."""

    def regrets(self, target: int) -> np.ndarray:
        """(C,) in [0, 1]: by how much each configuration's score is below that of ``target``."""
        below: np.ndarray = self.scores[target] - self.scores
        return below


def judge(table: RecordedTable, seen: int) -> Judge:
    """The judgement for a search on the seed at position ``seen``.

    The best is chosen on validation, not by the scores that it is judged by: the highest of 64 test means would be
    high by luck, and out of reach of any search.
    """
    unseen = [seed for seed in range(table.val.shape[1]) if seed != seen]
    val, test = table.best[:, unseen, -1].mean(axis=1), table.chosen_test[:, unseen]
    top = np.argsort(-val, kind="stable")[: len(val) // 4]
    pooled = float(np.sqrt(test[top].var(axis=1, ddof=1).mean()))
    return Judge(test.mean(axis=1), int(top[0]), pooled / len(unseen) ** 0.5)
