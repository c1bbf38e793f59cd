"""Values of foreign experiments in one form, so that a setting that is written in two ways is one setting.

The form of a value depends on the value alone, so a later import of more trials changes no setting.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunekit.parsing import MAX_WHOLE, is_finite
from tunekit.schema import Scalar

NULL = "null"
"""The setting that a null becomes. A setting that a trial lacks is absent instead."""
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)?(?:\.\d*)?(?:[eE][+-]?\d+)?")
_MAX_DIGITS = 40
_NUMPY = re.compile(r"(?:np|numpy)\.\w+\((.*)\)")
_WORDS: Mapping[str, Scalar] = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    "null": NULL, "None": NULL, "none": NULL, "nan": "nan", "NaN": "nan", "inf": "inf", "Infinity": "inf",
    "-inf": "-inf", "-Infinity": "-inf",
}  # fmt: skip


def canonical(value: Any) -> Scalar:
    """Return the value of a setting in its one form.

    A number is the same however it is written: ``1``, ``1.0``, ``"1"`` and ``np.float64(1.0)`` are 1, ``"1e-5"`` and
    ``0.00001`` are 1e-05. A text such as ``007`` or ``1_000`` is no number, since codes are written so. ``true`` and 1
    stay different. Null becomes ``null``, and NaN ``nan``. Lists and empty objects become JSON texts of values in their
    one form.
    """
    if value is None:
        return NULL
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _one_number(value)
    if isinstance(value, list | tuple | dict):
        return json.dumps(_nested(value), sort_keys=True)
    return _from_text(str(value))


def _from_text(text: str) -> Scalar:
    """Return the value that a text means: a number, true or false, null, a JSON list or object, or the text itself."""
    plain = text.strip()
    numpy = _NUMPY.fullmatch(plain)
    if numpy:
        return _from_text(numpy[1])
    if plain in _WORDS:
        return _WORDS[plain]
    number = number_of(plain)
    if number is not None:
        return number
    if plain[:1] in ("[", "{"):
        try:
            content = json.loads(plain)
        except (ValueError, RecursionError):
            return text
        return json.dumps(_nested(content), sort_keys=True)
    return text


def number_of(text: str) -> int | float | None:
    """Return the number that ``text`` is in JSON or Python; None where it is no number of 64 bits."""
    if not any(sign.isdigit() for sign in text) or not _NUMBER.fullmatch(text):
        return None
    whole = text.lstrip("+-").isdigit()
    if whole and len(text) > _MAX_DIGITS:
        return None
    found: int | float = int(text) if whole else float(text)
    if not is_finite(found):
        return None  # a whole number of more than 64 bits would lose its last digits
    return _one_number(found)  # type: ignore[return-value]


def _one_number(value: int | float) -> Scalar:
    """Return a whole float as int, and a number that JSON or 64 bits can't hold as text."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return _WORDS[str(value)]
        return int(value) if value.is_integer() and abs(value) < MAX_WHOLE else float(value)
    return int(value) if abs(value) < MAX_WHOLE else str(value)


def _nested(value: Any) -> Any:
    """Return a list or an object whose values are in their one form; null, inside, stays null."""
    if isinstance(value, Mapping):
        return {str(key): _nested(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_nested(one) for one in value]
    return None if value is None else canonical(value)


def mixed_kinds(values: Sequence[Scalar]) -> str:
    """Return those of a setting's ``values`` that look alike and are kept apart, as text; empty where there are none.

    They are truth values and numbers: Python takes true for 1, and people may mean the same by both.
    """
    flags = {value for value in values if isinstance(value, bool)}
    numbers = {value for value in values if not isinstance(value, bool | str) and value in (0, 1)}
    alike = sorted(flag for flag in flags if int(flag) in numbers)
    return " and ".join(f"{str(flag).lower()} and {int(flag)}" for flag in alike)


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``{"a": {"b": 1}}`` as ``{"a/b": 1}``."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}/")
        else:
            found[f"{prefix}{key}"] = value
    return found


def reported(value: object) -> float | None:
    """Return a reported value as a number, NaN and infinity too; None where it is absent or no number."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        if text in ("nan", "NaN", "inf", "Infinity", "-inf", "-Infinity"):
            return float(text)
        return None if (number := number_of(text)) is None else float(number)
    return None


def finite(value: object) -> float | None:
    """Return a reported value as a finite number; None where it is none."""
    number = reported(value)
    return number if number is not None and math.isfinite(number) else None
