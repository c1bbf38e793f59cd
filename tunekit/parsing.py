"""Checks of values that come from files and from users, before other code uses them. It knows no trial."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from decimal import Decimal
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
"""Characters that no name may hold: control characters, which a terminal would obey, and lone surrogates, which UTF-8
can't write."""


def strict_json(text: str, *, allow_nan: bool = False) -> Any:
    """Return the value of a JSON text.

    Raises ValueError where the text is not JSON, is nested more than ``MAX_DEPTH`` deep or holds a lone surrogate, and
    where it holds NaN or infinity unless ``allow_nan``.
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
        json.dumps(content, ensure_ascii=False).encode()  # raises UnicodeEncodeError, a ValueError, on a lone surrogate
    return content


def plain(text: str) -> str:
    """Return ``text`` for a terminal: line ends stay, and every other control character becomes a space."""
    return "\n".join(CONTROL.sub(" ", line) for line in text.split("\n"))


def _check_depth(content: dict[str, Any] | list[Any]) -> None:
    """Raise ValueError where ``content`` is nested more than ``MAX_DEPTH`` deep."""
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        inner = [one for outer in level for one in (outer.values() if isinstance(outer, dict) else outer)]
        level = [one for one in inner if isinstance(one, dict | list)]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def is_finite(value: object) -> bool:
    """Return whether ``value`` is a finite number that fits 64 bits; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < MAX_WHOLE


def coerced(name: str, kind: str, value: Any) -> Any:
    """Return ``value`` in the type ``kind`` of the field ``name``: for a float field, ``5`` becomes ``5.0``.

    Raises ValueError where ``value`` is of another type.
    """
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
    """Return ``values`` sorted by key. Raises ValueError where a value is not a finite JSON scalar."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} must be an object, got {_short(values)}")
    for key, value in values.items():
        if not isinstance(value, str | bool) and not is_finite(value):
            raise ValueError(f"{name}.{key} must be a number, text, true or false, got {_short(value)}")
    return dict(sorted(values.items()))


def check_names(**names: Any) -> None:
    """Raise ValueError where one of ``names`` is not a text, is empty, or holds a control character."""
    for field, value in names.items():
        if not isinstance(value, str) or not value or CONTROL.search(value):
            raise ValueError(f"{field} must be a name without control characters, got {_short(value)}")


def check_scores(name: str, value: Any, optional: bool) -> None:
    """Raise ValueError where ``value`` is not a mapping of names to finite numbers or None.

    With ``optional``, ``value`` itself may be None.
    """
    if optional and value is None:
        return
    if not isinstance(value, dict) or not all(one is None or is_finite(one) for one in value.values()):
        raise ValueError(f"{name} must map names to finite numbers, got {_short(value)}")


def strictly(cls: type[R], values: Mapping[str, Any]) -> R:
    """Return ``cls(**values)`` for a dataclass ``cls``.

    Raises ValueError where ``values`` has an unknown key, or lacks a field that has no default.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{cls.__name__}: expected an object, got {type(values).__name__}")
    required, known = _field_names(cls)  # type: ignore[arg-type]  # a class is hashable, which type[R] does not say
    if not required <= values.keys() <= known:
        missing, unknown = sorted(required - set(values)), sorted(set(values) - known)
        raise ValueError(f"{cls.__name__}: missing fields {missing}, unknown fields {unknown}")
    return cls(**values)


@cache
def _field_names(cls: type) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the fields of a dataclass that have no default, and the names of all its fields."""
    items = fields(cls)
    required = (item.name for item in items if item.default is MISSING and item.default_factory is MISSING)
    return frozenset(required), frozenset(item.name for item in items)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?``, where x is the name in ``known`` nearest to ``name``; "" where none is near.

    The text follows the wrong name in a message.
    """
    near = nearest(name, known)
    return f", did you mean {near!r}?" if near else ""


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the name in ``known`` that is nearest to ``name``; None where none is near."""
    return next(iter(get_close_matches(str(name), list(known), n=1)), None)


def not_a_choice(name: str, value: object, known: Iterable[str]) -> str:
    """Return the message that refuses a ``value`` of the flag or argument ``name`` that is not in ``known``."""
    known = list(known)
    return f"{name} takes {', '.join(known)}, got {value!r}{did_you_mean(value, known)}"


def how_many(count: int | str, noun: str) -> str:
    """Return a count with its noun, whose plural ends in s: ``1 trial``. The count may be a text such as ``1 to 3``."""
    return f"{count} {noun}{'' if str(count) == '1' else 's'}"


def number(value: Scalar | None, *, exact: bool = False) -> str:
    """Return the value of a setting as a person writes it: ``5e-4``, ``32``, ``0.1``.

    It has six digits, and with ``exact`` all digits that tell it from other numbers.
    """
    if not isinstance(value, float):
        return str(value)
    if value == 0 or abs(value) >= 1e-3:
        return repr(value) if exact else f"{value:g}"
    mantissa, exponent = f"{Decimal(repr(value)).normalize() if exact else value:e}".split("e")
    return f"{mantissa if exact else format(float(mantissa), 'g')}e{int(exponent)}"


def _short(value: Any) -> str:
    """Return ``value`` for a message of one line. Python refuses to print whole numbers of more than 4,300 digits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= MAX_WHOLE:
        return "a number that is too large"
    return repr(value)[:100]


YAML_MAX_BYTES = 1_000_000
YAML_MAX_DEPTH = 20
_YAML_KINDS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
"""The plain words that YAML 1.2's core schema does not read as text, by kind, and their first characters.

By the rules of YAML 1.1, which are PyYAML's own, ``5e-5`` is a text, ``no`` is false, ``010`` is 8 and ``1:30`` is 90.
"""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's core schema."""


_Loader.yaml_implicit_resolvers = {}  # without PyYAML's own rules, which the class would inherit


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which also quotes texts that YAML 1.2's core schema would not read as text."""

    def ignore_aliases(self, data: object) -> bool:
        """Return True, so that every value is written out: ``read_yaml`` takes no aliases."""
        return True


for _kind, (_pattern, _first) in _YAML_KINDS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _first)


def _yaml_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """Return a whole number as YAML 1.2 writes it: decimal, ``0o`` octal or ``0x`` hexadecimal."""
    text = loader.construct_scalar(node)
    return int(text, 0 if text[:2] in ("0o", "0x") else 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _yaml_int)


def check_exists(path: Path, kind: str = "file") -> None:
    """Raise UserError where nothing is at ``path``. ``kind`` is the word for the missing thing in the message."""
    if not path.exists():
        raise UserError(f"{path}: there is no such {kind}")


def read_yaml(file: Path | Traversable, where: str) -> object:
    """Return the content of a YAML file, read by the rules of YAML 1.2; ``where`` names the file in errors.

    Raises UserError where the file can't be read, holds an alias or the same key twice, is larger than
    ``YAML_MAX_BYTES`` or is nested more than ``YAML_MAX_DEPTH`` deep.
    """
    try:
        if isinstance(file, Path) and file.stat().st_size > YAML_MAX_BYTES:
            raise UserError(f"{where}: larger than {YAML_MAX_BYTES:,} bytes, which no such file needs")
        text = file.read_text(encoding="utf-8")
        _refuse_tricks(text, where)
        _refuse_doubled_keys(yaml.compose(text, _Loader), where)
        return _Loader(text).get_single_data()
    except FileNotFoundError as error:
        raise UserError(f"{where}: there is no such file") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error


def yaml_text(content: object) -> str:
    """Return ``content``, plain lists, mappings and scalars, as YAML that YAML 1.1 and 1.2 read as the same values."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _refuse_tricks(text: str, where: str) -> None:
    """Raise UserError at an alias and at deep nesting.

    A few lines of aliases can stand for gigabytes, and the time that PyYAML takes is quadratic in the depth.
    """
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{where}: YAML aliases are not read; write the values out")
        if depth > YAML_MAX_DEPTH:
            raise UserError(f"{where}: nested more than {YAML_MAX_DEPTH} deep, which no such file needs")


def _refuse_doubled_keys(node: yaml.Node | None, where: str) -> None:
    """Raise UserError where a mapping has a key twice: the YAML loader would silently keep the last value only."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise UserError(f"{where}, line {key.start_mark.line + 1}: the key {name!r} occurs twice")
            seen.add(name)
            _refuse_doubled_keys(value, where)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_doubled_keys(value, where)
