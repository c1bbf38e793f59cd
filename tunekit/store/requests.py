"""Turn the requests of a sweep into specs, and specs into the cells of a request. Give each cell a short name."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tunekit.parsing import number
from tunekit.schema import TrialSpec, readable, with_later_fields
from tunekit.store.records import ImportedSpec, spec_of

NAMED_BY = ("model", "dataset", "method")
"""The fields that are part of the name of every cell."""


def cell_names(specs: Sequence[TrialSpec | ImportedSpec]) -> dict[str, str]:
    """Return a short name for each cell of ``specs``, by ``spec.cell``.

    A name is the model, the dataset and the method, followed by those fields in which the cells of the same model,
    dataset and method differ. An example is ``bert · demo · lora, learning_rate 5e-4``. Numbers have six digits, unless
    two different ones would then read the same. The hash in the name of a user's own model or dataset is left out, and
    so is the task that the name declares, unless two names would then read the same.
    """
    fields_of = {spec.cell: _fields(spec) for spec in specs}
    others = [n for n in dict.fromkeys(key for values in fields_of.values() for key in values) if n not in NAMED_BY]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for values in fields_of.values():
        groups.setdefault(_group(values), []).append(values)
    differing = {group: _differing(others, members) for group, members in groups.items()}
    short = {group: " · ".join(map(readable, group)) for group in groups}
    taken = Counter(short.values())
    names = {}
    for cell, values in fields_of.items():
        group = _group(values)
        extra = [
            f"{name} {number(values[name], exact=exact)}"
            for name, exact in differing[group].items()
            if values.get(name) is not None
        ]
        names[cell] = ", ".join([short[group] if taken[short[group]] == 1 else " · ".join(group), *extra])
    return names


def _differing(names: Sequence[str], cells: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Return those of ``names`` in which ``cells`` differ, each with whether its values differ only in all digits."""
    found = {}
    for name in names:
        values = {str(values.get(name)): values.get(name) for values in cells}
        if len(values) > 1:
            found[name] = len(set(map(number, values.values()))) < len(values)
    return found


def _group(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the model, dataset and method of a cell."""
    return tuple(values[name] for name in NAMED_BY)


def _fields(spec: TrialSpec | ImportedSpec) -> dict[str, Any]:
    """Return all fields of a spec but the seed, with the method's hyperparameters as fields of their own."""
    values = with_later_fields(spec.to_dict())
    del values["seed"]
    nested: dict[str, Any] = values.pop("method_params", {}) | values.pop("settings", {})
    return values | nested


def requested_specs(requests: Sequence[Mapping[str, Any]]) -> list[TrialSpec | ImportedSpec]:
    """Return every trial that ``requests`` ask for, each once, in the order of the requests."""
    specs: dict[str, TrialSpec | ImportedSpec] = {}
    for request in requests:
        for cell in request.get("cells", []):
            for seed in cell["seeds"]:
                spec = spec_of(cell, seed)
                specs.setdefault(spec.trial_id, spec)
    return list(specs.values())


def cells_of(specs: Sequence[TrialSpec]) -> list[dict[str, Any]]:
    """Return ``specs`` as cells, each with the list of its seeds: the form that a request has in sweep.json."""
    cells: dict[str, dict[str, Any]] = {}
    for spec in specs:
        values = spec.to_dict()
        seed = values.pop("seed")
        cells.setdefault(spec.cell, {**values, "seeds": []})["seeds"].append(seed)
    return list(cells.values())
