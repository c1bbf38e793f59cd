"""A plain Ray Tune experiment, read from each trial's ``params.json`` and ``result.json``; nothing is unpickled."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.parsing import is_finite, strict_json

MAX_BYTES = 500_000_000
ITERATION = "training_iteration"
MAX_ITERATION = 100_000
"""The last iteration that is read at most: each iteration up to the last becomes a record, reported or not."""


@dataclass(frozen=True)
class ForeignTrial:
    """One trial's folder."""

    name: str
    """The name of its folder."""
    params: Mapping[str, Any]
    """Its configuration, nested keys joined by ``/``."""
    rows: Mapping[int, Mapping[str, Any]]
    """What it reported by iteration from 1, nested keys joined by ``/``.

    The last pass of a repeated iteration counts.
    """
    error: str | None
    """The first line of its newest error; None where it met none."""
    torn: tuple[str, ...]
    """One line for each row that can't be read."""


def read_experiment(folder: Path) -> list[ForeignTrial]:
    """Return all trials below ``folder``, by path.

    Raises UserError where there are none or a configuration can't be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give a Ray Tune experiment, the folder that holds its trials' folders")
    found = [_read(Path(place)) for place in sorted(_places(folder))]
    if not found:
        raise UserError(
            f"{folder} holds no trial: no folder below it has a params.json beside a result.json or error.txt"
        )
    return found


def _places(folder: Path) -> Iterator[str]:
    """Return the folders with a trial's files; links are not followed."""
    for place, _, files in os.walk(folder, followlinks=False):
        if "params.json" in files and {"result.json", "error.txt"} & set(files):
            yield place


def _read(place: Path) -> ForeignTrial:
    try:
        params = strict_json(_text(place / "params.json"), allow_nan=True)
    except ValueError as error:
        raise UserError(f"{place / 'params.json'}: {error}; mend it, or move the trial away") from error
    if not isinstance(params, dict):
        raise UserError(f"{place / 'params.json'} holds no configuration; mend it, or move the trial away")
    rows: dict[int, Mapping[str, Any]] = {}
    torn = []
    for number, line in enumerate(_text(place / "result.json").splitlines(), 1):
        try:
            row = strict_json(line, allow_nan=True)
            iteration = row[ITERATION]
            if not isinstance(iteration, int) or not 1 <= iteration <= MAX_ITERATION:
                raise ValueError(f"{ITERATION} is no whole number from 1 to {MAX_ITERATION:,}")
        except (ValueError, KeyError, TypeError) as error:
            torn.append(f"{place / 'result.json'}:{number}: {type(error).__name__}: {error}")
            continue
        # A retried trial goes back: what it had reported from there on was another pass.
        rows = {k: v for k, v in rows.items() if k < iteration} | {iteration: flat(row)}
    return ForeignTrial(place.name, flat(params), rows, _error(place / "error.txt"), tuple(torn))


def _text(path: Path) -> str:
    """Return the file's text; empty where there is none. Raises UserError where it can't be read or is too large."""
    if path.is_symlink():
        raise UserError(f"{path} is a link, and links are not followed; copy the experiment with its files")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES:,} bytes, which no such file should be")
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def _error(path: Path) -> str | None:
    """Return the line after the last traceback's frames, which are indented."""
    lines = [line for line in _text(path).splitlines() if line.strip()]
    frames = max((number for number, line in enumerate(lines[:-1]) if line.startswith("  ")), default=-1)
    return lines[frames + 1].strip() if lines else None


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``{"a": {"b": 1}}`` as ``{"a/b": 1}``."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}/")
        else:
            found[f"{prefix}{key}"] = value
    return found


def finite(value: object) -> float | None:
    """Return ``value`` as a number; None where it is none, NaN or infinite."""
    return float(value) if is_finite(value) else None  # type: ignore[arg-type]
