"""Choose the configuration that counts where a method has several: the best mean on validation, or none of them.

A choice never looks at test. It is made for each model, method and dataset, by the task's primary metric at the epoch
whose scores count, so that all tables and claims show the same configuration of a method.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose

from analysis.cells import Cell, metric_label
from analysis.names import setting_text, varying
from analysis.statistics.this_set import Sample
from tunekit.schema import Scalar

WITHOUT_IT = "accuracy"
"""The metric by which validation chooses where imported trials lack the primary one on validation."""
_TIE = 1e-12


@dataclass(frozen=True)
class Configurations:
    """The configurations of one method of one model on one dataset, and which of them counts."""

    cells: tuple[Cell, ...]
    """All of them, sorted by the values of their settings."""
    chosen: Cell | None
    """The configuration that counts; None where there are several and validation can't choose."""
    how: str
    """A clause on how it was chosen, or why none was; empty where there is only one configuration."""

    @property
    def first(self) -> Cell:
        """The first cell, which gives the model, method and dataset that all of them share."""
        return self.cells[0]


def configurations(found: Iterable[Cell]) -> list[Configurations]:
    """Return the cells of ``found`` by model, method and dataset, in the order in which these appear.

    The trials of a search are left out, since they do not score test.
    """
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in found:
        if not cell.searched:
            groups.setdefault((cell.model, cell.method, cell.dataset), []).append(cell)
    return [choose(members) for members in groups.values()]


def choose(members: Sequence[Cell]) -> Configurations:
    """Return ``members``, all of one model, method and dataset, with the one that counts.

    It is the one with the best mean on validation over its seeds. Configurations with failed trials, or without any
    completed trial, take no part. None is chosen where a completed trial has no validation score, where training items,
    validation parts or versions of code differ, and where two configurations are equally good.
    """
    ordered = by_settings(members)
    if len(ordered) == 1:
        return Configurations(ordered, ordered[0], "")
    able = [cell for cell in ordered if cell.completed and not cell.failures]
    besides = _besides(ordered, able)
    if len(able) == 1:
        return Configurations(ordered, able[0], f"the only one of {len(ordered)} configurations that counts{besides}")
    metric = _chosen_by(able)
    why_not = _why_not(able, metric)
    if why_not:
        return Configurations(ordered, None, f"{len(ordered)} configurations, none chosen: {why_not}{besides}")
    merits = [_merit(cell, metric) for cell in able]
    best = [cell for cell, merit in zip(able, merits, strict=True) if isclose(merit, max(merits), rel_tol=_TIE)]
    if len(best) > 1:
        tied = " and ".join(cell.variant for cell in best)
        why_not = f"{tied} are equally good on validation"
        return Configurations(ordered, None, f"{len(ordered)} configurations, none chosen: {why_not}{besides}")
    how = f"best mean {metric_label(metric, able)} on validation of {len(ordered)} configurations"
    return Configurations(ordered, best[0], f"{how}{besides}")


def validation(cell: Cell, metric: str) -> Sample | None:
    """Return the validation scores of the completed trials of ``cell``, at the epoch that counts; None without any."""
    return replace(cell, split="val").sample(metric)


def by_settings(members: Iterable[Cell]) -> tuple[Cell, ...]:
    """Return the cells sorted by the values of the settings in which they differ, whatever their order was."""
    cells = list(members)
    names = sorted(varying({("all",): [cell.settings for cell in cells]}))

    def rank(cell: Cell) -> tuple[object, ...]:
        return (*(_rank(cell.settings.get(name)) for name in names), cell.key, cell.fingerprint)

    return tuple(sorted(cells, key=rank))


def configuration_of(one: Configurations, cell: Cell) -> str:
    """Return the settings by which ``cell`` differs from the other configurations as text: ``lr 5e-4, r 8``.

    It is the cell's variant where settings alone don't tell them apart.
    """
    names = varying({("all",): [other.settings for other in one.cells]})
    texts = [setting_text(other.settings, names) for other in one.cells]
    own = setting_text(cell.settings, names)
    return own if own and texts.count(own) == 1 else cell.variant


def matches(settings: Mapping[str, Scalar], wanted: Iterable[tuple[str, str]]) -> bool:
    """Return whether every setting that ``wanted`` names has the value of the text there.

    Numbers are compared as numbers, so that 5e-4 is 0.0005 and 8 is 8.0.
    """
    return all(name in settings and _is(settings[name], text) for name, text in wanted)


def _is(value: Scalar | None, text: str) -> bool:
    if value is None or isinstance(value, bool):
        return text.lower() == {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value == text
    try:
        return float(text) == value
    except ValueError:
        return False


def _rank(value: Scalar | None) -> tuple[int, float, str]:
    """Return a key that sorts missing values first, then numbers by size, then texts."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, str):
        return 2, 0.0, value
    return 1, float(value), ""


def _besides(ordered: Sequence[Cell], able: Sequence[Cell]) -> str:
    """Return the end of a sentence that names those of ``ordered`` that take no part, and why."""
    failed = [cell.variant for cell in ordered if cell not in able and cell.failures]
    waiting = [cell.variant for cell in ordered if cell not in able and not cell.failures]
    said = [f"{'; '.join(failed)} without, since trials failed"] if failed else []
    said += [f"{'; '.join(waiting)} without, since no trial has completed"] if waiting else []
    return f" ({', and '.join(said)})" if said else ""


def _chosen_by(able: Sequence[Cell]) -> str:
    """Return the metric by which validation chooses among ``able``."""
    recorded = {name for cell in able for trial in cell.completed for name in trial.scores}
    primary = able[0].task.primary if able else WITHOUT_IT
    return WITHOUT_IT if f"val_{primary}" not in recorded and f"val_{WITHOUT_IT}" in recorded else primary


def _why_not(able: Sequence[Cell], metric: str) -> str:
    """Return why validation can't choose among ``able``; empty where it can."""
    if not able:
        return "no configuration has completed without failed trials"
    if len({cell.fingerprint for cell in able}) > 1:
        return "they were trained with different code, data or weights"
    if any(cell.split != "test" for cell in able):
        return "validation is what is shown, and test was not scored"
    if len({_drawn(cell, "val_fraction") for cell in able}) > 1:
        return "their validation parts differ"
    if len({_drawn(cell, "train_limit") for cell in able}) > 1:
        return "they were trained on different numbers or draws of the training items"
    without = [cell.variant for cell in able if _lacks_validation(cell, metric)]
    if len(without) == len(able):
        return "there is no validation score"
    return f"{'; '.join(without)} has no validation score" if without else ""


def _drawn(cell: Cell, size: str) -> tuple[object, ...]:
    """Return the settings that decide which items are in a part: its size, called ``size``, and what draws it."""
    found = cell.settings.get(size)
    return found, cell.settings.get("data_seed") if found else None


def _lacks_validation(cell: Cell, metric: str) -> bool:
    """Return whether a completed trial of ``cell`` has no validation score."""
    sample = validation(cell, metric)
    return sample is None or sample.n < len(cell.completed)


def _merit(cell: Cell, metric: str) -> float:
    """Return the mean on validation, times -1 where less is better, so that more is better."""
    sample = validation(cell, metric)
    assert sample is not None  # ``_why_not`` has looked
    return cell.measure(metric).sign * sample.mean
