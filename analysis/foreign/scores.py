"""The scores of a foreign trial as epoch records: their places, their range, and which value is the last one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from analysis.foreign.mapping import SPLITS, Meaning
from analysis.foreign.trial import Experiment, ForeignTrial
from analysis.foreign.values import finite, reported
from tunekit.errors import UserError
from tunekit.schema import EpochRecord
from tunekit.store.records import ImportedEpoch

_FIELDS = tuple(item.name for item in fields(EpochRecord))
_MAIN = "macro_f1"


@dataclass(frozen=True)
class Scale:
    """The scale of scores, whose highest is 1, or 100 for scores in percent."""

    top: int

    def of(self, name: str, value: float) -> float:
        """Return a value as it is stored: a score in [0, 1], a loss as it is."""
        return value if name.endswith("loss") else value / self.top


@dataclass(frozen=True)
class Curve:
    """The values that a trial reported, epoch by epoch."""

    epochs: Sequence[ImportedEpoch]
    earlier: tuple[str, ...]
    """The scores that the last row lacks, for which an earlier value counts in the last epoch."""
    broken: tuple[str, ...]
    """The scores and losses whose last reported value is no finite number."""
    has_score: bool


def metric_of(name: str) -> str:
    """Return a score's name without its split."""
    return name.removeprefix("val_").removeprefix("test_")


def main_metric(meaning: Meaning) -> str:
    """Return the metric that takes the place of macro-F1, and by which the best epoch is found.

    It is macro-F1 where that was recorded. Else a metric that every split has comes before others, and a metric without
    a field of its own in records before accuracy.
    """
    scores = [name for name in meaning.scores if not name.endswith("loss")]
    splits = {name.partition("_")[0] for name in scores}
    metrics = dict.fromkeys(map(metric_of, scores))

    def rank(metric: str) -> tuple[bool, bool, bool]:
        on_all = all(f"{split}_{metric}" in scores for split in splits)
        return metric != _MAIN, not on_all, f"val_{metric}" in _FIELDS

    return min(metrics, key=rank)


def fields_of(meaning: Meaning) -> dict[str, str]:
    """Return, by the name of each score, its field in a record or its name among the record's further scores."""
    main = main_metric(meaning)
    moved = main != _MAIN and f"val_{main}" not in _FIELDS
    return {
        name: f"{name.removesuffix(main)}{_MAIN}" if moved and metric_of(name) == main else name
        for name in meaning.scores
    }


def metric_names(meaning: Meaning) -> dict[str, str]:
    """Return the name of the metric that takes the place of macro-F1, as a request keeps it."""
    main = main_metric(meaning)
    return {_MAIN: main.replace("_", " ")} if f"val_{main}" not in _FIELDS else {}


def check_range(experiment: Experiment, meaning: Meaning, scale: Scale) -> None:
    """Raise UserError where a score is nowhere a number, is outside of its range, or is no percentage."""
    for name, key in meaning.scores.items():
        found = [finite(row.get(key)) for trial in experiment.trials for row in trial.rows]
        numbers = [value for value in found if value is not None]
        if not numbers:
            raise UserError(f"{key!r} is nowhere a finite number; map {name} to another key")
        if name.endswith("loss"):
            continue
        bottom = 0 if f"val_{metric_of(name)}" in _FIELDS else -scale.top
        low, high = min(numbers), max(numbers)
        if low < bottom or high > scale.top:
            hint = "" if scale.top > 1 or high > 100 or low < bottom else "; add --percent if it is in percent"
            raise UserError(
                f"{key!r} lies between {low:g} and {high:g}, and a score lies in [{bottom}, {scale.top}]{hint}"
            )
        if scale.top > 1 and -1 <= low <= high <= 1 and high > 0:
            raise UserError(f"{key!r} lies between {low:g} and {high:g}, which is no percentage; leave --percent out")


def curve_of(trial: ForeignTrial, meaning: Meaning, scale: Scale) -> Curve:
    """Return a trial's records, one an iteration, or one an evaluation where its rows are steps of training."""
    rows = list(_evaluations(trial, meaning)) if trial.by_step else list(trial.rows)
    places = fields_of(meaning)
    main = f"val_{main_metric(meaning)}"
    loss, seconds = (meaning.sources.get(name) for name in ("train_loss", "epoch_seconds"))
    last: dict[str, float] = {}
    epochs: list[ImportedEpoch] = []
    best: float | None = None
    for number, row in enumerate(rows, 1):
        values = {name: value for name, key in meaning.scores.items() if (value := reported(row.get(key))) is not None}
        last |= values
        if number == len(rows):
            earlier = tuple(name for name in last if name not in values)
            values = last
        stored = {
            places[name]: scale.of(name, value) if math.isfinite(value) else None for name, value in values.items()
        }
        score = stored.get(places.get(main, main))
        best = max((one for one in (best, score) if one is not None), default=None)
        step = row.get("step")
        epochs.append(
            ImportedEpoch(
                **{  # type: ignore[arg-type]  # each field has a value of its own type
                    **dict.fromkeys(_FIELDS),
                    **{name: value for name, value in stored.items() if name in _FIELDS},
                    "epoch": number,
                    "step": step if isinstance(step, int) and not isinstance(step, bool) else None,
                    "train_loss": None if loss is None else finite(row.get(loss.key)),
                    "epoch_seconds": None if seconds is None else finite(row.get(seconds.key)),
                    "best_val_macro_f1": best if f"{SPLITS[0]}_{_MAIN}" in places.values() else None,
                },
                scores={name: value for name, value in stored.items() if name not in _FIELDS},
            )
        )
    losses = [] if loss is None else [one for row in trial.rows if (one := reported(row.get(loss.key))) is not None]
    broken = [meaning.scores[name] for name, value in last.items() if not math.isfinite(value)]
    broken += [loss.key] if loss is not None and losses and not math.isfinite(losses[-1]) else []
    has_score = any(not name.endswith("loss") for name in last)
    return Curve(epochs, earlier if rows else (), tuple(broken), has_score)


def _evaluations(trial: ForeignTrial, meaning: Meaning) -> Iterator[Mapping[str, Any]]:
    """Yield a row for each evaluation: its scores, and the mean training loss since the one before.

    Rows of one step, and rows without a step, add their scores to the evaluation before them.
    """
    loss = meaning.sources.get("train_loss")
    keys = set(meaning.scores.values())
    pending: dict[str, Any] | None = None
    losses: list[float] = []
    for row in trial.rows:
        scores = {key: value for key, value in row.items() if key in keys}
        same = pending is not None and row.get("step") in (None, pending.get("step"))
        if scores and same and pending is not None:
            pending |= scores
        elif scores:
            if pending is not None:
                yield pending
            pending = {**scores, "step": row.get("step")}
            if loss is not None and losses:
                pending[loss.key] = sum(losses) / len(losses)
            losses = []
        if loss is not None and loss.key in row and loss.key not in keys:
            value = reported(row[loss.key])
            if value is None:
                continue
            if scores and pending is not None and row.get("step") == pending.get("step") and not losses:
                pending.setdefault(loss.key, value)
            else:
                losses.append(value)
    if pending is not None:
        yield pending
