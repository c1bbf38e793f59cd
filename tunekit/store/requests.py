"""What a sweep was asked for: its cells, their names for people, and every trial."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunekit.schema import TrialSpec
from tunekit.store.records import ImportedSpec, spec_of

ALWAYS = ("model", "dataset", "method")


def cell_names(specs: Sequence[TrialSpec | ImportedSpec]) -> dict[str, str]:
    """A short name for each cell: model, dataset, method, and those other fields in which the cells differ."""
    fields = {spec.cell: _fields(spec) for spec in specs}
    names = [name for name in dict.fromkeys(key for values in fields.values() for key in values) if name not in ALWAYS]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for values in fields.values():
        groups.setdefault(_always(values), []).append(values)
    differ = {
        key: [name for name in names if len({str(other.get(name)) for other in alike}) > 1]
        for key, alike in groups.items()
    }
    result = {}
    for cell, values in fields.items():
        differing = differ[_always(values)]
        extra = [f"{name} {values[name]}" for name in differing if values.get(name) is not None]
        result[cell] = ", ".join([" · ".join(values[key] for key in ALWAYS), *extra])
    return result


def _always(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(values[key] for key in ALWAYS)


def _fields(spec: TrialSpec | ImportedSpec) -> dict[str, Any]:
    values = {name: value for name, value in spec.to_dict().items() if name != "seed"}
    extra = values.pop("method_params", {}) | values.pop("settings", {})
    return values | extra


def requested_specs(requests: Sequence[Mapping[str, Any]]) -> list[TrialSpec | ImportedSpec]:
    """Every trial that was ever asked for, each once, in order."""
    specs: dict[str, TrialSpec | ImportedSpec] = {}
    for request in requests:
        for cell in request.get("cells", []):
            for seed in cell["seeds"]:
                spec = spec_of(cell, seed)
                specs.setdefault(spec.trial_id, spec)
    return list(specs.values())


def cells_of(specs: Sequence[TrialSpec]) -> list[dict[str, Any]]:
    """``specs`` as cells with their seeds, the form of a request in sweep.json."""
    cells: dict[str, dict[str, Any]] = {}
    for spec in specs:
        values = spec.to_dict()
        seed = values.pop("seed")
        cells.setdefault(spec.cell, {**values, "seeds": []})["seeds"].append(seed)
    return list(cells.values())
