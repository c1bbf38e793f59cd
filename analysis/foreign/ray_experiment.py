"""A plain Ray Tune experiment, read from each trial's ``params.json`` and ``result.json``; nothing is unpickled."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.foreign.trial import MAX_ROWS, Ended, Experiment, ForeignTrial, Kind, files_below, read_object, read_text
from analysis.foreign.values import flat
from tunekit.errors import UserError
from tunekit.parsing import strict_json

ITERATION = "training_iteration"
CONFIG, RESULTS, ERROR = "params.json", "result.json", "error.txt"
_STATES = {
    "TERMINATED": Ended.COMPLETED,
    "ERROR": Ended.FAILED,
    "RUNNING": Ended.RUNNING,
    "PENDING": Ended.RUNNING,
    "PAUSED": Ended.RUNNING,
}


def is_trial(files: list[str]) -> bool:
    """Return whether a folder with these files is that of a trial."""
    return CONFIG in files and bool({RESULTS, ERROR} & set(files))


def read_ray(folder: Path) -> Experiment:
    """Return all trials below ``folder``, by path.

    Raises UserError where there are none or a configuration can't be read.
    """
    states, notes = _states(folder)
    trials = [_read(folder, place, states) for place in _places(folder)]
    if not trials:
        raise UserError(f"{folder} holds no trial: no folder below it has a {CONFIG} beside a {RESULTS} or {ERROR}")
    keys = {"epoch_seconds": ("time_this_iter_s",)}
    return Experiment(Kind.RAY, folder.resolve().name, trials, keys, notes=tuple(notes))


def _places(folder: Path) -> Iterator[Path]:
    return (place for place, files in files_below(folder) if is_trial(files))


def _states(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the state of each trial by the name of its folder, from Ray's own JSON, and a line for a torn file.

    Of several files in one folder, as after a restored run, the newest counts. Its fields that hold pickles are not
    read.
    """
    states: dict[str, str] = {}
    notes = []
    for place, files in files_below(folder):
        for name in (one for one in files if one.startswith("experiment_state-") and one.endswith(".json")):
            try:
                trials = strict_json(read_text(place / name), allow_nan=True)["trial_data"]
                found = [strict_json(one[0], allow_nan=True) for one in trials]
                states |= {str(place / one["relative_logdir"]): str(one["status"]) for one in found}
            except (ValueError, KeyError, TypeError, IndexError, UserError):
                notes.append(f"{place / name} can't be read, so that it says of no trial how it ended")
    return states, notes


def _read(folder: Path, place: Path, states: Mapping[str, str]) -> ForeignTrial:
    params = read_object(place / CONFIG)
    rows: dict[int, Mapping[str, Any]] = {}
    torn = []
    for number, line in enumerate(read_text(place / RESULTS).splitlines(), 1):
        try:
            row = strict_json(line, allow_nan=True)
            iteration = row[ITERATION]
            if not isinstance(iteration, int) or not 1 <= iteration <= MAX_ROWS:
                raise ValueError(f"{ITERATION} is no whole number from 1 to {MAX_ROWS:,}")
        except (ValueError, KeyError, TypeError) as error:
            torn.append(f"a row can't be read: {place / RESULTS}:{number}: {type(error).__name__}: {error}")
            continue
        # A retried trial goes back to an earlier iteration, and its rows from there on were of another pass.
        rows = {k: v for k, v in rows.items() if k < iteration} | {iteration: flat(row)}
    last = max(rows, default=0)
    name = place.name
    torn += [f"{name}: iteration {n} is missing from its results" for n in range(1, last) if n not in rows]
    error_line = _error(place / ERROR)
    ended, reason = _end(rows.get(last, {}), states.get(str(place)), error_line)
    return ForeignTrial(
        name=str(place.relative_to(folder)) if place != folder else name,
        params=flat(params),
        rows=[rows.get(number, {}) for number in range(1, last + 1)],
        ended=ended,
        reason=reason,
        error=error_line if ended is not Ended.COMPLETED else None,
        torn=tuple(torn),
    )


def _end(last: Mapping[str, Any], state: str | None, error: str | None) -> tuple[Ended, str]:
    """Return how a trial ended, and what says so.

    A scheduler that stops a trial leaves ``done: true`` as well; Ray's files do not tell the two apart.
    """
    if state in _STATES and _STATES[state] is not Ended.RUNNING:
        return _STATES[state], f"{state} in Ray's experiment state"
    if last.get("done") is True:
        return Ended.COMPLETED, "done: true in its last row"
    if state in _STATES:
        return Ended.RUNNING, f"{state} in Ray's experiment state"
    if error is not None:
        return Ended.UNKNOWN, f"an {ERROR}, and no state of the experiment"
    return Ended.UNKNOWN, "no done: true and no state of the experiment"


def _error(path: Path) -> str | None:
    """Return the line after the last traceback's frames, which are indented."""
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    frames = max((number for number, line in enumerate(lines[:-1]) if line.startswith("  ")), default=-1)
    return lines[frames + 1].strip() if lines else None
