"""Values out of files, checked before anything believes them. Standard library only."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tunekit.errors import UserError

R = TypeVar("R")
Scalar = str | int | float | bool

MAX_DEPTH = 50
MAX_WHOLE = 2**63
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that no name holds: they could steer a terminal, and halves of a character can't be written."""


def strict_json(text: str, *, allow_nan: bool = False) -> Any:
    """Parse JSON, refusing halves of a character and more than MAX_DEPTH levels, NaN and infinity too unless
    ``allow_nan``. Raises ValueError.
    """

    def refuse(token: str) -> None:
        raise ValueError(f"{token} is not JSON")

    try:
        content = json.loads(text, parse_constant=None if allow_nan else refuse)
    except RecursionError as error:
        raise ValueError(f"nested more than {MAX_DEPTH} deep") from error
    if text.count("{") + text.count("[") > MAX_DEPTH and isinstance(content, dict | list):
        _check_depth(content)
    if "\\u" in text:
        json.dumps(content, ensure_ascii=False).encode()  # raises UnicodeEncodeError, a ValueError, on half a character
    return content


def plain(text: str) -> str:
    """``text`` for a terminal: line ends stay, other control characters become spaces."""
    return "\n".join(CONTROL.sub(" ", line) for line in text.split("\n"))


def _check_depth(content: dict[str, Any] | list[Any]) -> None:
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        inner = [one for outer in level for one in (outer.values() if isinstance(outer, dict) else outer)]
        level = [one for one in inner if isinstance(one, dict | list)]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def is_finite(value: object) -> bool:
    """Whether ``value`` is a number, no truth value, that a column of numbers can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < MAX_WHOLE


def coerced(name: str, kind: str, value: Any) -> Any:
    """``value`` as the field's own type; ``5`` and ``5.0`` are one float. Raises ValueError if it is another."""
    optional = kind.endswith("| None")
    if (optional and value is None) or (kind.startswith("bool") and isinstance(value, bool)):
        return value
    if kind.startswith("bool"):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    if kind.startswith(("int", "float")):
        if not is_finite(value):
            raise ValueError(f"{name} must be a finite number, got {_short(value)}")
        if kind.startswith("float"):
            return float(value)
        if value != int(value) or abs(value) >= MAX_WHOLE:
            raise ValueError(f"{name} must be a whole number, got {_short(value)}")
        return int(value)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {_short(value)}")
    return value


def plain_scalars(name: str, values: Any) -> dict[str, Scalar]:
    """``values``, by key in order, if all are finite JSON scalars. Raises ValueError otherwise."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} must be an object, got {_short(values)}")
    for key, value in values.items():
        if not isinstance(value, str | bool) and not is_finite(value):
            raise ValueError(f"{name}.{key} must be a number, text, true or false, got {_short(value)}")
    return dict(sorted(values.items()))


def check_names(**names: Any) -> None:
    """Raise ValueError where one is no text, empty, or holds a control character."""
    for field, value in names.items():
        if not isinstance(value, str) or not value or CONTROL.search(value):
            raise ValueError(f"{field} must be a name without control characters, got {_short(value)}")


def check_scores(name: str, value: Any, optional: bool) -> None:
    """Raise ValueError where ``value`` is no mapping of names to finite numbers or None; ``optional``: None will do."""
    if optional and value is None:
        return
    if not isinstance(value, dict) or not all(one is None or is_finite(one) for one in value.values()):
        raise ValueError(f"{name} must map names to finite numbers, got {_short(value)}")


def strictly(cls: type[R], values: Mapping[str, Any]) -> R:
    """``cls(**values)`` if the keys are exactly its fields (optional ones may be left out). Raises ValueError."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{cls.__name__}: expected an object, got {type(values).__name__}")
    required, known = _names(cls)  # type: ignore[arg-type]  # a class has a hash, type[R] too
    if not required <= values.keys() <= known:
        missing, unknown = sorted(required - set(values)), sorted(set(values) - known)
        raise ValueError(f"{cls.__name__}: missing fields {missing}, unknown fields {unknown}")
    return cls(**values)


@cache
def _names(cls: type) -> tuple[frozenset[str], frozenset[str]]:
    """The fields without a default, and all."""
    own = fields(cls)
    required = (item.name for item in own if item.default is MISSING and item.default_factory is MISSING)
    return frozenset(required), frozenset(item.name for item in own)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` with the name in ``known`` that is nearest to ``name``; "" where none is near.

    The text follows the wrong name in a message.
    """
    nearest = get_close_matches(str(name), list(known), n=1)
    return f", did you mean {nearest[0]!r}?" if nearest else ""


def _short(value: Any) -> str:
    """``value`` for a message of one line, whatever it is: Python refuses to print whole numbers of 4,300 digits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= MAX_WHOLE:
        return "a number that is too large"
    return repr(value)[:100]


YAML_MAX_BYTES = 1_000_000
YAML_MAX_DEPTH = 20


def read_yaml(file: Path | Traversable, where: str) -> object:
    """The content of a YAML file without aliases and doubled keys; ``where`` names it in errors.

    Raises UserError where it can't be read, is larger than ``YAML_MAX_BYTES`` or nested deeper than ``YAML_MAX_DEPTH``.
    """
    try:
        if isinstance(file, Path) and file.stat().st_size > YAML_MAX_BYTES:
            raise UserError(f"{where}: larger than {YAML_MAX_BYTES:,} bytes, which no such file needs")
        text = file.read_text(encoding="utf-8")
        _refuse_tricks(text, where)
        _refuse_doubled_keys(yaml.compose(text, yaml.SafeLoader), where)
        return yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error


def _refuse_tricks(text: str, where: str) -> None:
    """Stop at an alias (a few lines can stand for gigabytes) and at deep nesting (PyYAML's time is quadratic in it)."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{where}: YAML aliases are not read; write the values out")
        if depth > YAML_MAX_DEPTH:
            raise UserError(f"{where}: nested more than {YAML_MAX_DEPTH} deep, which no such file needs")


def _refuse_doubled_keys(node: yaml.Node | None, where: str) -> None:
    """YAML's loader would keep the last of two equal keys and drop the other without a word."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise UserError(f"{where}, line {key.start_mark.line + 1}: the key {name!r} stands twice")
            seen.add(name)
            _refuse_doubled_keys(value, where)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_doubled_keys(value, where)
