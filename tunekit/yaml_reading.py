"""YAML written by people, read so that nothing in it is dropped, run or blown up."""

from importlib.resources.abc import Traversable
from pathlib import Path

import yaml

from tunekit.errors import UserError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20


def read_yaml(file: Path | Traversable, where: str) -> object:
    """The content of a YAML file without aliases and doubled keys; ``where`` names it in errors.

    Raises UserError where it can't be read, is larger than ``MAX_BYTES`` or nested deeper than ``MAX_DEPTH``.
    """
    try:
        if isinstance(file, Path) and file.stat().st_size > MAX_BYTES:
            raise UserError(f"{where}: larger than {MAX_BYTES:,} bytes, which no such file needs")
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
        if depth > MAX_DEPTH:
            raise UserError(f"{where}: nested more than {MAX_DEPTH} deep, which no such file needs")


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
