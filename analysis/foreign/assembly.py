"""The trials of a table, put together from the rows of their epochs and of their splits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.foreign.mapping import SPLIT_WORDS, Meaning, is_setting
from analysis.foreign.trial import MAX_ROWS, Ended, Experiment, ForeignTrial, ended_by_word
from analysis.foreign.values import canonical, reported
from tunekit.errors import UserError
from tunekit.schema import canonical_json

AS_ROW = "its last row counts, since the file does not say how a run ended"


def assembled(experiment: Experiment, meaning: Meaning, ignored: Sequence[str]) -> tuple[Experiment, Meaning]:
    """Return the experiment with its rows put together, and the meaning that its keys then have.

    Rows belong to one trial where the column ``trial`` is equal, or without such a column every one that is no score.
    Raises UserError where a trial has one epoch twice, or a row a split or a state that is not known.
    """
    columns = {
        name: meaning.sources[name].key for name in ("trial", "epoch", "split", "status") if name in meaning.sources
    }
    trials = experiment.trials
    if "split" in columns:
        trials = [_of_split(trial, columns["split"], meaning.scores) for trial in trials]
        names = {key: key for trial in trials for key in trial.rows[0] if key.startswith(_OWN)}
        spent = tuple(meaning.scores.values())
        meaning = replace(meaning, scores={key.removeprefix(_OWN): key for key in names}, spent=spent)
    if {"trial", "epoch", "split"} & columns.keys():
        groups: dict[str, list[ForeignTrial]] = {}
        for trial in trials:
            groups.setdefault(_identity(trial, columns, meaning, experiment, ignored), []).append(trial)
        # With one row a trial the column holds the length of a run and not the number of a row.
        epoch = columns.get("epoch") if any(len(members) > 1 for members in groups.values()) else None
        trials = [_together(members, epoch) for members in groups.values()]
    if experiment.is_table and "status" in columns:
        trials = [_with_state(trial, columns["status"], meaning) for trial in trials]
    elif experiment.is_table:
        trials = [
            replace(one, ended=Ended.COMPLETED, reason=AS_ROW) if one.ended is Ended.UNKNOWN else one for one in trials
        ]
    return replace(experiment, trials=trials), meaning


_OWN = "split of the row: "
"""The beginning of the keys of scores whose split is in a column."""


def _of_split(trial: ForeignTrial, column: str, scores: Mapping[str, str]) -> ForeignTrial:
    """Return a row with its plain scores as scores of its split."""
    (row,) = trial.rows
    word = str(row.get(column, "")).strip().lower()
    split = SPLIT_WORDS.get(word)
    if split is None:
        raise UserError(f"{trial.name}: the split is {word!r}, and a split is train, val or test")
    found = {key: value for key, value in row.items() if key != column}
    for name, key in scores.items():
        own = name if name.startswith(("val_", "test_")) else f"{split}_{name}"
        if key in row and not own.startswith("train_"):
            found[f"{_OWN}{own}"] = row[key]
    return replace(trial, rows=[found])


def _identity(
    trial: ForeignTrial,
    columns: Mapping[str, str],
    meaning: Meaning,
    experiment: Experiment,
    ignored: Sequence[str],
) -> str:
    """Return a text that the rows of one trial share."""
    if "trial" in columns:
        name = trial.params.get(columns["trial"])
        if name is None:
            raise UserError(f"{trial.name} has nothing in the column {columns['trial']!r}, which names its trial")
        return str(name)
    named = [meaning.sources[name].key for name in ("model", "dataset", "method", "seed")]
    kept = {
        key: canonical(value)
        for key, value in trial.params.items()
        if key in named or is_setting(key, meaning, experiment, ignored)
    }
    return canonical_json(kept)


def _together(members: Sequence[ForeignTrial], epoch: str | None) -> ForeignTrial:
    """Return one trial made of all rows, in the order of their epochs; rows of one epoch must hold different scores."""
    if epoch is None:
        return replace(members[0], rows=[_merged(members, "")])
    by_number: dict[float, list[ForeignTrial]] = {}
    for one in members:
        number = reported(one.params.get(epoch))
        if number is None or not 0 <= number <= MAX_ROWS:
            raise UserError(f"{one.name}: {epoch} is {one.params.get(epoch)!r}, and an epoch is a number from 0")
        by_number.setdefault(number, []).append(one)
    numbers = sorted(by_number)
    first = 0 if numbers[0] == 0 else 1
    if all(number.is_integer() for number in numbers):
        places = [float(number) for number in range(first, int(numbers[-1]) + 1)]
    else:
        places = numbers
    rows = [_merged(by_number[one], f"{epoch} {one:g}") if one in by_number else {} for one in places]
    lost = tuple(f"{members[0].name}: {epoch} {one:g} is missing" for one in places if one not in by_number)
    return replace(members[0], params=_common(members), rows=rows, torn=lost)


def _common(members: Sequence[ForeignTrial]) -> dict[str, Any]:
    """Return the values that all rows of a trial share: a value that changes from epoch to epoch is no setting."""
    found = {key: value for one in members for key, value in one.params.items()}
    return {
        key: value
        for key, value in found.items()
        if len({canonical_json(canonical(one.params[key])) for one in members if key in one.params}) == 1
    }


def _merged(members: Sequence[ForeignTrial], where: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for one in members:
        for key, value in one.rows[0].items():
            if key.startswith(_OWN) and key in row:
                raise UserError(_twice(members, where))
            row[key] = value
    if len(members) > 1 and not any(key.startswith(_OWN) for key in row):
        raise UserError(_twice(members, where))
    return row


def _twice(members: Sequence[ForeignTrial], where: str) -> str:
    names = " and ".join(one.name for one in members[:2])
    return (
        f"{names} are {where or 'rows'} of one trial, as far as the columns tell; map trial to a column that tells "
        "runs apart, or epoch to the number of the epoch"
    )


def _with_state(trial: ForeignTrial, column: str, meaning: Meaning) -> ForeignTrial:
    word = str(trial.rows[-1].get(column, ""))
    ended = ended_by_word(word)
    if ended is None:
        raise UserError(f"{trial.name}: {column} is {word!r}, which is no known state")
    error = meaning.sources.get("error")
    found = None if error is None else trial.rows[-1].get(error.key)
    bad = ended in (Ended.FAILED, Ended.DIVERGED, Ended.OUT_OF_MEMORY)
    said = f"{column} is {word or 'empty'}"
    return replace(trial, ended=ended, reason=said, error=str(found or said) if bad else None)
