"""The imports of a source tree, read from its syntax, and the rules of layers that they keep."""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One import: who imports what, and whether only once a function runs or a type checker reads."""

    source: str
    """The dotted name of the importing module."""
    target: str
    """The dotted name of the imported module, of the tree or of a library."""
    late: bool = False
    """Whether the import stands in a function or under ``if TYPE_CHECKING``."""


def module_name(file: Path, root: Path) -> str:
    """Return the dotted name of ``file``; a package's ``__init__.py`` has the package's name."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_imports(root: Path, packages: Iterable[str]) -> list[Import]:
    """Return every import of every file of the packages below ``root``."""
    files = [file for package in packages for file in sorted((root / package).rglob("*.py"))]
    names = {module_name(file, root) for file in files}
    found = []
    for file in files:
        source = module_name(file, root)
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [Import(source, target, late) for target, late in _targets(tree, names, late=False)]
    return found


def _targets(node: ast.AST, names: set[str], *, late: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "a relative import, which ruff's TID252 refuses"
            module = child.module or ""
            dotted = [f"{module}.{alias.name}" for alias in child.names]
            yield from ((name if name in names else module, late) for name in dotted)
        elif not isinstance(child, ast.expr):  # no import stands in an expression
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _targets(child, names, late=late or typing or function)


def unit_of(module: str, layers: Sequence[Sequence[str]]) -> tuple[str, int] | None:
    """Return the entry of the table that holds ``module``, and its layer's number; None for a library.

    The longest entry wins. The entry ``tunekit`` holds only the package's own ``__init__.py``: a new package of
    tunekit must be entered in the table. KeyError where it is not.
    """
    entries = {entry: number for number, row in enumerate(layers) for entry in row}
    top = module.split(".")[0]
    if top not in {entry.split(".")[0] for entry in entries}:
        return None
    held = [entry for entry in entries if module == entry or (module.startswith(f"{entry}.") and entry != "tunekit")]
    if not held:
        raise KeyError(f"{module} is in no layer: enter it in the table")
    entry = max(held, key=len)
    return entry, entries[entry]


def upward(imports: Iterable[Import], layers: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each import that goes up, or across to another entry of the same layer."""
    found = []
    for one in imports:
        source, target = unit_of(one.source, layers), unit_of(one.target, layers)
        if source and target and source[0] != target[0] and target[1] >= source[1]:
            found.append(f"{one.source} imports {one.target}, which is not below it")
    return found


def circles(imports: Iterable[Import]) -> list[str]:
    """Return a line for each set of modules that import each other, wherever the imports stand."""
    graph: dict[str, set[str]] = {}
    for one in imports:
        graph.setdefault(one.source, set()).add(one.target)
    reached = {module: _reachable(module, graph) for module in graph}
    rings = {
        tuple(sorted(other for other in reached[module] if module in reached.get(other, ())))
        for module in graph
        if module in reached[module]
    }
    return [f"a circle of imports: {', '.join(ring)}" for ring in sorted(rings)]


def _reachable(module: str, graph: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        new = graph.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


def libraries(imports: Iterable[Import], allowed: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> list[str]:
    """Return a line for each import of a library outside its places.

    ``allowed`` gives, for a library, the modules and packages that may import it anywhere, and those that may import
    it only late.
    """
    found = []
    for one in imports:
        anywhere, late = allowed.get(one.target.split(".")[0], ([""], []))
        if not (within(one.source, anywhere) or (one.late and within(one.source, late))):
            found.append(f"{one.source} imports {one.target}" + ("" if one.late else " at its top"))
    return found


def only_late(imports: Iterable[Import], targets: Sequence[str], free: Sequence[str]) -> list[str]:
    """Return a line for each import of ``targets`` that is not late, outside the packages of ``free``."""
    return [
        f"{one.source} imports {one.target} at its top"
        for one in imports
        if within(one.target, targets) and not one.late and not within(one.source, free)
    ]


def within(module: str, packages: Iterable[str]) -> bool:
    """Return whether ``module`` is one of ``packages`` or lies in one; the package named "" holds all modules."""
    return any(package == "" or module == package or module.startswith(f"{package}.") for package in packages)


def outside(imports: Iterable[Import], source: str, target: str, allowed: Callable[[Import], bool]) -> list[str]:
    """Return a line for each import from the package ``source`` into the package ``target`` that isn't ``allowed``."""
    return [
        f"{one.source} imports {one.target}" + ("" if one.late else " at its top")
        for one in imports
        if within(one.source, [source]) and within(one.target, [target]) and not allowed(one)
    ]
