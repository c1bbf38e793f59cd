"""The report's section on data and training: the data of each dataset, and how each method was trained on it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from analysis.cells import Cell
from analysis.configurations import Configurations, configurations
from analysis.epoch_choice import SELECTIONS
from analysis.names import listed, setting_name, setting_text, varying
from analysis.report.audit import DatasetAudit
from analysis.report.baselines import baseline_sentences
from analysis.report.document import Block, Grid, Inline, Link, Paragraph, Section
from analysis.sweep_records import SweepRecords
from analysis.tables.specs import epochs_text
from analysis.units import row_name
from analysis.variants import roles_of
from tunekit.parsing import number
from tunekit.schema import LATER_FIELDS, TrialSpec
from tunekit.tasks.base import task_of

SPLITS = {"train": "training", "val": "validation", "test": "test"}
"""The splits in the order of a sentence, with their names before ``items``."""
OF_EVERY_METHOD = tuple(
    one.name
    for one in fields(TrialSpec)
    if one.name not in ("model", "dataset", "method", "method_params", "seed", "learning_rate")
)
"""The settings in which the methods of a fair comparison are trained alike."""


def setup_section(
    records: SweepRecords, found: Sequence[Cell], audits: Sequence[DatasetAudit], select: str = SELECTIONS[0]
) -> Section:
    """Return sentences on the data of each dataset and a table of the methods that were trained on it.

    ``audits`` are those of the copies of the datasets. The section is empty where there is no cell to show.
    """
    datasets: dict[str, list[Configurations]] = {}
    for one in configurations(found):
        datasets.setdefault(one.first.dataset, []).append(one)
    copies: dict[str, list[DatasetAudit]] = {}
    for audit in audits:
        copies.setdefault(audit.name, []).append(audit)
    blocks: list[Block] = []
    for name, members in datasets.items():
        told = [_data(members, name in records.datasets, copies.get(name, [])), *_options(members)]
        blocks += [Paragraph(" ".join(told)), _methods(records, members, select)]
    return Section("Data and training", tuple(blocks), "setup")


def _data(members: Sequence[Configurations], copied: bool, audits: Sequence[DatasetAudit]) -> str:
    """Return the sentences on a dataset: its task, the items of each split, and the scores of trivial classifiers.

    ``copied`` says whether a sweep holds a copy of it, and ``audits`` has one audit for each different copy. A copy
    without an audit is damaged.
    """
    first = members[0].first
    if not copied:
        return (
            f"{first.dataset_name}: the sizes of its splits and the score of its majority class are not known, since "
            "the sweep holds no copy of it."
        )
    task = task_of(first.dataset).name.replace("_", " ")
    note = [f"{first.data_note[0].upper()}{first.data_note[1:]}."] if first.data_note else []
    if len(audits) != 1:
        different = "The sweeps hold different copies of it, which the data audit describes"
        why = different if audits else "Its copy was not audited"
        return " ".join([f"{first.dataset_name}: {task}. {why}.", *note, *_cut(members)])
    audit = audits[0]
    sizes = [
        f"{int(audit.counts['items'][split]):,} {name}" for split, name in SPLITS.items() if split in audit.counts.index
    ]
    classes = f" with {len(audit.balance.columns)} classes" if first.has_classes else ""
    told = f"{first.dataset_name}: {task}{classes}; {listed(sizes)} items"
    if "test" in audit.counts.index:
        counted, groups = (int(audit.counts[name]["test"]) for name in ("items", "groups"))
        held = f"in {groups:,} groups of related items" if groups < counted else "each a group of its own"
        told += f", those of test {held}"
    return " ".join([f"{told}.", *note, *_cut(members), *baseline_sentences(members, audit)])


def _cut(members: Sequence[Configurations]) -> list[str]:
    """Return sentences on the settings by which trials trained on a part of the training items."""
    settings = [cell.settings for one in members for cell in one.cells]
    fractions, limits = (
        list(dict.fromkeys(one.get(name) or 0 for one in settings)) for name in ("val_fraction", "train_limit")
    )
    some = {id(values): "In some cells, " if len(values) > 1 else "" for values in (fractions, limits)}
    told = [
        f"{some[id(fractions)]}{100 * value:g} % of the training items were set aside for validation."
        for value in fractions
        if isinstance(value, int | float) and value
    ]
    told += [
        f"{some[id(limits)]}at most {value:,} of the training items were used for training."
        for value in limits
        if isinstance(value, int | float) and value
    ]
    return [f"{line[0].upper()}{line[1:]}" for line in told]


def _options(members: Sequence[Configurations]) -> list[str]:
    """Return a sentence for each option of training that is not at its default and is in no row's name.

    An option in which the configurations of a method differ is part of their names.
    """
    having: dict[str, list[str]] = {}
    for one in members:
        for name, default in LATER_FIELDS.items():
            values = {cell.settings.get(name, default) for cell in one.cells}
            if len(values) == 1 and values != {default}:
                text = setting_text(one.first.settings, [name])
                having.setdefault(text, []).append(f"{one.first.model_name} · {one.first.method_name}")
    return [
        f"Trained with {text}: {'all' if len(names) == len(members) else listed(names)}."
        for text, names in having.items()
    ]


def _methods(records: SweepRecords, members: Sequence[Configurations], select: str) -> Grid:
    """Return a row for each method: its rate and where that comes from, what is trained, and the training loss."""
    one_model = len({one.first.model for one in members}) == 1
    roles = roles_of(records)
    rows: list[tuple[Inline, ...]] = []
    for one in members:
        for cell in one.cells if one.chosen is None else [one.chosen]:
            name = row_name(cell, one_model=one_model)
            label = ", ".join(filter(None, [name, cell.variant if one.chosen is None else ""]))
            rate = str(_rate(records, one, cell, roles.get(cell.key, "")))
            rows.append((Link(label, f"#{cell.anchor}"), rate, _trained(cell), _loss(cell)))
    epoch = epochs_text(select, [one.first for one in members])
    head = ("method", "learning rate", "trained parameters", f"training loss, {epoch}")
    model = f" of {members[0].first.model_name}" if one_model else ""
    about = "the loss of the batches of that epoch, mean ± sample standard deviation over seeds"
    return Grid(head, tuple(rows), f"Training{model} on {members[0].first.dataset_name}; the training loss is {about}.")


@dataclass(frozen=True)
class _Rate:
    """The learning rate of a cell, and where it comes from."""

    value: float | None
    """The rate; None where none is recorded."""
    origin: str
    """The origin in a few words, for a table."""
    sentence: str
    """The rest of a sentence whose subject is several rates of this origin."""
    fixed: bool
    """Whether the rate was given and not chosen, so that a sentence names it."""
    tuned: bool = False
    """Whether the rate was chosen on validation."""

    def __str__(self) -> str:
        return "not recorded" if self.value is None else f"{number(self.value)} ({self.origin})"


def _rate(records: SweepRecords, one: Configurations, cell: Cell, role: str) -> _Rate:
    """Return the learning rate of ``cell`` and whether it is the method's default, or how it was tuned."""
    rate = cell.settings.get("learning_rate")
    if not isinstance(rate, int | float):
        return _Rate(None, "", "are not recorded", fixed=False)
    tried = {other.settings.get("learning_rate") for other in one.cells}
    default = records.default_rates.get(cell.method)
    if role and "default" not in role:
        how = "found by a search on validation"
        return _Rate(rate, how, f"were {how}", fixed=False, tuned=True)
    if len(tried) > 1 and one.chosen is not None:
        of = "" if len(tried) == len(one.cells) else f" in {len(one.cells)} configurations"
        origin = f"chosen on validation among {len(tried)} rates{of}"
        return _Rate(rate, origin, f"were {origin}", fixed=False, tuned=True)
    if len(tried) > 1:
        return _Rate(rate, f"one of {len(tried)} tried", f"are {len(tried)} that were tried, none chosen", fixed=False)
    if default is None:
        unknown = "whether that is the default is not recorded"
        return _Rate(
            rate, unknown, "were not tuned here, and whether they are the defaults is not recorded", fixed=True
        )
    if rate == default:
        return _Rate(rate, "default, not tuned", "are the defaults of the methods and were not tuned", fixed=True)
    origin = f"set by hand; the default is {number(default)}"
    return _Rate(rate, origin, "were set by hand and were not tuned here", fixed=True)


def training_sentences(records: SweepRecords, found: Sequence[Cell]) -> str:
    """Return sentences on the epochs and batches of the tables' rows, and on the origin of their learning rates.

    The text is empty where there is no cell to show.
    """
    roles = roles_of(records)
    shown = [(one, cell) for one in configurations(found) for cell in ([one.chosen] if one.chosen else one.cells)]
    if not shown:
        return ""
    settings = [cell.settings for _, cell in shown]
    length = "for at most " if any(one.get("patience") for one in settings) else "for "
    parts = [
        text
        for name, before, unit in (("epochs", length, " epochs"), ("batch_size", "in batches of ", ""))
        if (text := _span(before, [one.get(name) for one in settings], unit))
    ]
    one_model = len({cell.model for _, cell in shown}) == 1
    rates: dict[str, dict[str, dict[str, None]]] = {}
    tuned = set()
    for one, cell in shown:
        rate = _rate(records, one, cell, roles.get(cell.key, ""))
        name = row_name(cell, one_model=one_model)
        tuned.add(rate.tuned)
        values = rates.setdefault(rate.sentence, {}).setdefault(name, {})
        if rate.fixed and rate.value is not None:
            values[number(rate.value)] = None
    told = [f"Every method was trained {' '.join(parts)}."] if parts else []
    for sentence, names in rates.items():
        subject = "The learning rates" if len(rates) == 1 else f"The learning rates of {listed(list(names))}"
        alone = len(names) == 1 and len(rates) > 1
        named = ", ".join(f"{'' if alone else f'{name} '}{' or '.join(own)}" for name, own in names.items() if own)
        told.append(f"{subject} {sentence}{f' ({named})' if named else ''}.")
    if len(tuned) > 1:
        told.append("A method whose learning rate was tuned has an advantage over one whose rate was not.")
    return " ".join([*told, *_unlike([cell for _, cell in shown])])


def _unlike(shown: Sequence[Cell]) -> list[str]:
    """Return, for each dataset on which ``shown`` were not trained alike, the settings in which the rows differ.

    Settings that only one method has are left out, and so is the learning rate, which has sentences of its own.
    """
    told = []
    for dataset in dict.fromkeys(cell.dataset for cell in shown):
        rows = [cell for cell in shown if cell.dataset == dataset]
        settings = [{name: cell.settings[name] for name in OF_EVERY_METHOD if name in cell.settings} for cell in rows]
        names = varying({(dataset,): settings})
        if not names:
            continue
        one_model = len({cell.model for cell in rows}) == 1
        having: dict[str, dict[str, None]] = {}
        for cell, own in zip(rows, settings, strict=True):
            name = row_name(cell, one_model=one_model)
            text = ", ".join(
                f"{setting_name(key)} {'none' if own.get(key) is None else number(own[key])}" for key in names
            )
            having.setdefault(text, {})[name] = None
        each = "; ".join(f"{listed(list(methods))}: {text}" for text, methods in having.items())
        told.append(
            f"The rows on {rows[0].dataset_name} were not trained alike ({each}), so that a difference between them "
            "may be due to these settings and not to the methods."
        )
    return told


def _span(before: str, values: Sequence[object], unit: str) -> str:
    """Return ``for 3 epochs`` or ``for 3 to 10 epochs``; empty where a value is not recorded."""
    numbers = sorted(value for value in values if isinstance(value, int))
    if len(numbers) < len(values):
        return ""
    span = " to ".join(f"{value:,}" for value in dict.fromkeys((numbers[0], numbers[-1])))
    return f"{before}{span}{unit.removesuffix('s') if span == '1' else unit}"


def _trained(cell: Cell) -> str:
    trained, total = cell.sample("num_trainable_params"), cell.sample("num_total_params")
    if trained is None:
        return ""
    share = f" ({100 * trained.mean / total.mean:.2f} %)" if total else ""
    return f"{trained.mean:,.0f}{share}"


def _loss(cell: Cell) -> str:
    sample = cell.sample("train_loss")
    if sample is None:
        return ""
    return f"{sample.mean:.3f}" + ("" if sample.std is None else f" ± {sample.std:.3f}")
