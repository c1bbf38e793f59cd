"""Plugins: users' own files that register methods, datasets or models.

A plugin is code and runs as code, here and in every process that trains a trial. Its text travels with each job, so
that workers need no path in common.
"""

import hashlib
import linecache
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from tunekit.data.base import DATASETS, DatasetInfo
from tunekit.errors import UserError, first_line
from tunekit.methods import METHODS
from tunekit.methods.base import KINDS, complete_params
from tunekit.models.catalog import MODELS, ModelInfo
from tunekit.registry import NameTaken, Registry
from tunekit.schema import slug
from tunekit.tasks import TASKS, Task

REGISTRIES: tuple[Registry[Any], ...] = (METHODS, DATASETS, MODELS, TASKS)
MAX_BYTES = 1_000_000
METHOD_NEEDS = ("display_name", "learning_rate", "suggest", "prepare")


@dataclass(frozen=True)
class Plugin:
    """A file's name and text."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """The sha256 of the text, as hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def activate(self) -> None:
        """Run the file in this process, once; it replaces an earlier version of the same file.

        A class of a plugin can't be pickled by its name; it is found in its registry. Raises UserError where the file
        fails or registers nothing; then nothing that it registered stays.
        """
        if _ACTIVE.get(self.name) == self:
            return
        _forget(self.name)
        before = {id(registry): set(registry) for registry in REGISTRIES}
        try:
            self._run()
            new = [(one, name) for one in REGISTRIES for name in one if name not in before[id(one)]]
            if not new:
                raise UserError(f'plugin {self.name} registers nothing; it needs METHODS.register("a-name") or alike')
            for registry, name in new:
                _check(self.name, registry, name)
        except BaseException:
            _take_back(before)
            raise
        _ACTIVE[self.name] = self
        _NAMES[self.name] = new

    def _run(self) -> None:
        # No path, so that no file that lies there is read instead. The lines serve tracebacks and hashes.
        file = f"<plugin {self.name}>"
        module = ModuleType(f"tunekit_plugin_{hashlib.sha256(self.name.encode()).hexdigest()[:12]}")
        module.__file__ = file
        sys.modules[module.__name__] = module  # where dataclasses look for the types of fields
        linecache.cache[file] = (len(self.text), None, self.text.splitlines(keepends=True), file)
        try:
            exec(compile(self.text, file, "exec"), module.__dict__)
        except NameTaken as error:
            raise UserError(
                f"plugin {self.name}: the name of {error.kind} {error.name!r} is taken; choose another"
            ) from error
        except SyntaxError as error:
            raise UserError(f"plugin {self.name}, line {error.lineno}: {error.msg}") from error
        except Exception as error:
            own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
            where = f", line {own[-1]}" if own else ""
            raise UserError(f"plugin {self.name}{where}: {type(error).__name__}: {first_line(error)}") from error


_ACTIVE: dict[str, Plugin] = {}
_NAMES: dict[str, list[tuple[Registry[Any], str]]] = {}


def load(paths: Sequence[Path]) -> None:
    """Read and activate the files at ``paths``. Raises UserError on one that is missing or is no plugin."""
    for path in paths:
        try:
            if path.stat().st_size > MAX_BYTES:
                raise UserError(f"plugin {path} is larger than {MAX_BYTES} bytes")
            text = path.expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise UserError(f"plugin {path} can't be read: {why}") from error
        Plugin(path.name, text).activate()


def active() -> tuple[Plugin, ...]:
    """Return the plugins of this process, for its jobs."""
    return tuple(_ACTIVE.values())


def described() -> list[dict[str, str]]:
    """Return the active plugins by name and sha256, as sweep.json holds them."""
    return [{"name": plugin.name, "sha256": plugin.sha256} for plugin in active()]


def _forget(name: str) -> None:
    for registry, item in _NAMES.pop(name, []):
        registry.remove(item)
    _ACTIVE.pop(name, None)


def _take_back(before: dict[int, set[str]]) -> None:
    for registry in REGISTRIES:
        for name in set(registry) - before[id(registry)]:
            registry.remove(name)


def _check(plugin: str, registry: Registry[Any], name: str) -> None:
    """Raise UserError where what ``plugin`` registered as ``name`` can't be used."""
    where = f"plugin {plugin}: {registry.kind} {name!r}"
    if name != slug(name):
        raise UserError(f"{where}: names are lower-case letters, digits, '.', '_' and '-', as in {slug(name)!r}")
    checks: dict[int, Callable[[], None]] = {
        id(METHODS): lambda: _check_method(where, name),
        id(DATASETS): lambda: _check_kind(where, DATASETS[name], DatasetInfo),
        id(MODELS): lambda: _check_kind(where, MODELS[name], ModelInfo),
        id(TASKS): lambda: _check_kind(where, TASKS[name], Task),
    }
    checks[id(registry)]()


def _check_kind(where: str, item: object, kind: type) -> None:
    if not isinstance(item, kind):
        raise UserError(f"{where} is a {type(item).__name__}, not a {kind.__name__}")


def _check_method(where: str, name: str) -> None:
    kind = METHODS[name]
    if not isinstance(kind, type) or not is_dataclass(kind):
        raise UserError(f"{where} is no dataclass")
    for wanted in METHOD_NEEDS:
        if not hasattr(kind, wanted):
            raise UserError(f"{where} has no {wanted}")
    try:
        complete_params(name, {})
    except (TypeError, NameError) as error:
        raise UserError(f"{where}: its fields need defaults and types ({first_line(error)})") from error
    hints = get_type_hints(kind)
    for item in fields(kind):
        if hints[item.name] not in KINDS:
            raise UserError(f"{where}: its field {item.name} must be a {', '.join(one.__name__ for one in KINDS)}")
