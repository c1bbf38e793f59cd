"""The numbers of a table's entry that a paper may name beside its score: its comparison with the best, its costs."""

from collections.abc import Mapping

from analysis.compare import Comparison
from analysis.tables.table import Entry

_MIB = 2**20
_COSTS = {
    # The metric, the factor of its value, and the format.
    "minutes": ("train_seconds", 1 / 60, "{:,.1f}"),
    "mib": ("peak_memory_bytes", 1 / _MIB, "{:,.0f}"),
    "trainable": ("num_trainable_params", 1, "{:,.0f}"),
}
MIN_P = 0.001
"""The smallest p that is written as a number."""


def entry_numbers(entry: Entry) -> dict[str, str]:
    """Return the numbers of an entry by name.

    An entry that was compared has the ``difference`` from the best of its column in its unit, the bounds ``low`` and
    ``high`` of its 95 % interval, ``p`` and the ``test`` that gave it, ``p-corrected`` and the ``correction``, and the
    population that the comparison ``holds-for``. Where no test was made, ``reason`` says why. ``minutes``, ``mib`` and
    ``trainable`` are means over the seeds, where they were recorded.
    """
    return {**_comparison(entry.versus), **_costs(entry)}


def _comparison(versus: Comparison | None) -> Mapping[str, str]:
    if versus is None:
        return {}
    points = {"difference": versus.difference, "low": versus.low, "high": versus.high}
    known = {name: value for name, value in points.items() if value is not None}
    found = dict(zip(known, versus.measure.numbers(*known.values(), sign="+"), strict=True))
    found |= {name: p_text(p) for name, p in (("p", versus.p), ("p-corrected", versus.p_corrected)) if p is not None}
    if not versus.tested:
        return {**found, "reason": versus.reason}
    return {**found, "test": versus.test, "correction": versus.correction, "holds-for": versus.population.value}


def p_text(p: float) -> str:
    """Return a p as papers write it, such as ``.024`` or ``< .001``."""
    return f"< {MIN_P:.3f}".replace("0.", ".") if p < MIN_P else f"{p:.3f}".removeprefix("0")


def _costs(entry: Entry) -> dict[str, str]:
    cell = entry.score.cell
    samples = {name: cell.sample(metric) for name, (metric, _, _) in _COSTS.items()} if cell else {}
    return {
        name: form.format(factor * sample.mean)
        for name, (_, factor, form) in _COSTS.items()
        if (sample := samples.get(name)) is not None
    }
