"""The records of epochs of every task but classification, which hold scores by name.

Epochs of classification are rows of schema version 1 (``EpochRecord``); epochs of all other tasks are of version 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from tunekit.parsing import check_scores, coerced, strictly
from tunekit.schema import SCHEMA_VERSION, EpochRecord, value_kinds

TASK_SCHEMA_VERSION = 2
"""The version of the epoch rows of every task but classification."""


@dataclass(frozen=True, kw_only=True)
class TaskEpochRecord(EpochRecord):
    """One trained epoch of another task than classification. ``scores`` holds its scores by name.

    The fields of classification's scores are None, and are not stored.
    """

    val_loss: float | None = None
    val_accuracy: float | None = None
    val_micro_f1: float | None = None
    val_macro_f1: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_micro_f1: float | None = None
    test_macro_f1: float | None = None
    best_val_macro_f1: float | None = None
    scores: Mapping[str, float | None]
    """Every metric of every scored split, and the best so far of the primary one, as in ``best_val_pearson``."""
    constants: Mapping[str, float]
    """The trial's constants (``tunekit.tasks``) as they were after the epoch."""

    def values(self) -> dict[str, Any]:
        """Return every value of the epoch by its name, including the scores of every split."""
        return {**{name: getattr(self, name) for name in UNSCORED}, **self.scores}

    def row(self) -> dict[str, Any]:
        """Return the stored row of the epoch, with the version of its schema."""
        own = {name: getattr(self, name) for name in (*UNSCORED, "scores", "constants")}
        return {"schema_version": TASK_SCHEMA_VERSION, **own}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, imported: bool = False) -> Self:
        """Return the record of a stored row. Raises ValueError on a missing, unknown, mistyped or non-finite value."""
        if of_classification := set(values) & _SCORES:
            raise ValueError(f"{cls.__name__}: {min(of_classification)} stands outside of scores")
        record = strictly(cls, values)
        for name, kind in value_kinds(imported):
            if name in UNSCORED:
                coerced(name, kind, values[name])
        check_scores("scores", record.scores, optional=False)
        check_scores("constants", record.constants, optional=False)
        if None in record.constants.values():
            raise ValueError("constants must be numbers, got None")
        return record


_SCORES = frozenset(item.name for item in fields(EpochRecord) if item.name.startswith(("val_", "test_", "best_val_")))
UNSCORED = tuple(item.name for item in fields(EpochRecord) if item.name not in _SCORES)
"""The fields of an epoch's record that are no scores of a split. The epochs of all tasks have them."""


def epoch_record(row: Mapping[str, Any]) -> EpochRecord:
    """Return the record of a row that ``row`` made. Raises ValueError as ``from_dict`` does, and on another version."""
    values = {name: value for name, value in row.items() if name != "schema_version"}
    versions: dict[Any, type[EpochRecord]] = {SCHEMA_VERSION: EpochRecord, TASK_SCHEMA_VERSION: TaskEpochRecord}
    if row.get("schema_version") not in versions:
        raise ValueError(f"no row of schema version {SCHEMA_VERSION} or {TASK_SCHEMA_VERSION}")
    return versions[row["schema_version"]].from_dict(values)
