"""The settings of a sweep's trials that are not at their default, as a plan shows them: each setting once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Any

from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.parsing import number
from tunekit.schema import LATER_FIELDS, TrialSpec
from tunekit.store.requests import NAMED_BY, cell_names

_DEFAULTS = {item.name: item.default for item in fields(TrialSpec) if item.default is not MISSING}
_NAMES = [name for name in ("learning_rate", *_DEFAULTS) if name not in LATER_FIELDS] + list(LATER_FIELDS)
HEAD = "settings that are not at their default:"


def changed_settings(
    specs: Sequence[TrialSpec], left_out: Mapping[str, Collection[str]] = MappingProxyType({})
) -> list[str]:
    """Return a headline and a line for each group of trials that have changed settings in common; none without any.

    The first line has the settings that all trials share. The others have a line for each method whose cells share
    them, and then for each cell. Settings by which cells of the same model, dataset and method differ are left out,
    since they are part of the names of cells, and so are the settings that ``left_out`` names by cell.
    """
    cells, names = {spec.cell: spec for spec in specs}, cell_names(specs)
    left = {cell: _changed(spec, left_out.get(cell, ())) for cell, spec in cells.items()}
    alike: dict[tuple[str, ...], list[str]] = {}
    by_method: dict[str, list[str]] = {}
    for cell, spec in cells.items():
        alike.setdefault(tuple(getattr(spec, name) for name in NAMED_BY), []).append(cell)
        by_method.setdefault(spec.method, []).append(cell)
    for members in alike.values():
        for name in {name for cell in members for name in left[cell]} - _common(left, members).keys():
            for cell in members:
                left[cell].pop(name, None)
    lines = []
    groups = [("all trials", list(cells)), *by_method.items(), *((names[cell], [cell]) for cell in cells)]
    for group, members in groups:
        common = _common(left, members)
        if common:
            lines.append(f"  {group}: {', '.join(f'{name} {number(value)}' for name, value in common.items())}")
        for cell in members:
            left[cell] = {name: value for name, value in left[cell].items() if name not in common}
    return [HEAD, *lines] if lines else []


def _changed(spec: TrialSpec, left_out: Collection[str]) -> dict[str, Any]:
    """Return the settings of ``spec`` that are not at their default, those of its method among them."""
    rate = {"learning_rate": METHODS[spec.method].learning_rate}
    defaults = {**_DEFAULTS, **rate, **complete_params(spec.method, {})}
    values = {name: getattr(spec, name) for name in _NAMES if name != "method_params"} | dict(spec.method_params)
    return {
        name: value for name, value in values.items() if name not in left_out and value != defaults.get(name, MISSING)
    }


def _common(left: dict[str, dict[str, Any]], members: Sequence[str]) -> dict[str, Any]:
    """Return the settings that all cells of ``members`` have with the same value."""
    first = left[members[0]]
    return {
        name: value for name, value in first.items() if all(left[one].get(name, MISSING) == value for one in members)
    }
