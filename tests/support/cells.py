"""Cells in memory, without a store: scores on validation and test by seed."""

import json
from collections.abc import Mapping, Sequence

from analysis.cell_trials import CellTrial
from analysis.cells import Cell
from analysis.names import setting_text
from tunekit.schema import Scalar, Status


def cell_of(
    test: Sequence[float],
    validation: Sequence[float | None] | None = None,
    model: str = "b",
    method: str = "full",
    failed: int = 0,
    fingerprint: str = "f",
    **settings: Scalar,
) -> Cell:
    """A cell of dataset d whose trials have these scores, seeds from 1; ``validation`` is as long, None for no scores.

    ``failed`` further trials failed.
    """
    found = validation if validation is not None else [None] * len(test)
    trials = [
        _trial(seed, {"test": one, "val": other}) for seed, (one, other) in enumerate(zip(test, found, strict=True), 1)
    ]
    trials += [_trial(len(test) + n, {}, Status.FAILED) for n in range(1, failed + 1)]
    return Cell(
        key=json.dumps([model, method, settings], sort_keys=True), fingerprint=fingerprint, model=model, dataset="d",
        method=method, settings=settings, variant=setting_text(settings, list(settings)), model_name=model,
        method_name=method, dataset_name="D", split="test", searched=False, label_names=(), absent=(),
        expected=tuple(one.seed for one in trials), trials=tuple(trials),
    )  # fmt: skip


def _trial(seed: int, scores: Mapping[str, float | None], status: Status = Status.COMPLETED) -> CellTrial:
    found = {
        f"{split}_{metric}": value
        for split, value in scores.items()
        if value is not None
        for metric in ("accuracy", "macro_f1")
    }
    return CellTrial(seed, f"trials/{seed}", status, 1 if scores else None, found, None, "{}")
