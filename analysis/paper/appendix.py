"""The appendix of a paper on its trials: settings, searches, data, costs, machines, validation beside test."""

import json
from collections.abc import Sequence

from analysis.cells import Cell
from analysis.report.audit import DatasetAudit, audit_all, copy_titles
from analysis.report.document import Block, Grid, Inline, Paragraph, Section, kept
from analysis.report.evidence import costs_section, provenance_section, selection_section
from analysis.sweep_records import SweepRecords
from analysis.tables.table import shown as shown_score
from analysis.units import by_task
from tunekit.parsing import number
from tunekit.schema import Scalar


def appendix_sections(records: SweepRecords, found: Sequence[Cell]) -> list[Section]:
    """Return the appendix of ``found``, all cells of ``records``, without sections that would be empty.

    Raises DamagedRecord where a trial's records can't be read.
    """
    shown = [cell for cell in found if not cell.searched]
    audits, _ = audit_all(records.stores)
    sections = [
        _settings(shown),
        _search_bounds(found),
        _splits(audits),
        _validation_beside_test(shown),
        selection_section(records),
        costs_section(shown),
        _machines(records),
    ]
    return list(kept(sections))


def _settings(shown: Sequence[Cell]) -> Section:
    """Return the settings that all cells share, and those in which models and methods differ."""
    names = list(dict.fromkeys(name for cell in shown for name in cell.settings))
    values = {name: {json.dumps(cell.settings.get(name)) for cell in shown} for name in names}
    shared: list[tuple[Inline, ...]] = [
        (_words(name), _value(shown[0].settings.get(name))) for name in names if len(values[name]) == 1
    ]
    differing = [name for name in names if len(values[name]) > 1]
    rows: dict[tuple[str, ...], None] = {}
    for cell in shown:
        texts = [_value(cell.settings.get(name)) if name in cell.settings else "" for name in differing]
        rows[cell.model_name, cell.method_name, *texts] = None
    blocks = [Grid(("setting", "value"), tuple(shared), "Settings that all trials share.")] if shared else []
    if differing:
        head = ("model", "method", *map(_words, differing))
        blocks.append(Grid(head, tuple(rows), "Settings in which they differ."))
    return Section("Hyperparameters", tuple(blocks), "hyperparameters")


def _search_bounds(found: Sequence[Cell]) -> Section:
    """Return the settings that searches tried: the least and the most, or every value of one that is no number."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in found:
        if cell.searched:
            groups.setdefault((cell.model_name, cell.dataset_name, cell.method_name), []).append(cell)
    rows: list[tuple[Inline, ...]] = []
    for names, members in groups.items():
        for setting in dict.fromkeys(name for cell in members for name in cell.settings):
            tried = list(
                {json.dumps(v): v for cell in members if (v := cell.settings.get(setting)) is not None}.values()
            )
            if len(tried) > 1:
                rows.append((*names, _words(setting), _range(tried), str(len(members))))
    head = ("model", "dataset", "method", "setting", "tried", "configurations")
    return Section("Search", (Grid(head, tuple(rows), "What the searches tried."),) if rows else (), "bounds")


def _range(tried: Sequence[Scalar]) -> str:
    numbers = [value for value in tried if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(tried):
        return f"{number(min(numbers))} to {number(max(numbers))}"
    return ", ".join(sorted(map(str, tried)))


def _splits(audits: Sequence[DatasetAudit]) -> Section:
    rows: list[tuple[Inline, ...]] = []
    for one, title in zip(audits, copy_titles(audits), strict=True):
        sizes = one.counts["items"].astype(int).to_dict()
        counts = [str(sizes.get(name, "")) for name in _SPLITS]
        rows.append((title, *counts, str(len(one.balance.columns) or ""), one.name))
    grid = Grid(("dataset", *_SPLITS, "classes", "name"), tuple(rows), "Items of each split.")
    return Section("Datasets", (grid,) if rows else (), "splits")


_SPLITS = ("train", "val", "test")


def _validation_beside_test(shown: Sequence[Cell]) -> Section:
    blocks: list[Block] = []
    for members in by_task(shown):
        measures = [members[0].measure(name) for name in members[0].task.reported]
        rows: list[tuple[Inline, ...]] = []
        for cell in members:
            samples = [(one, cell.sample(f"{split}_{one.name}")) for one in measures for split in ("val", "test")]
            texts = ["" if sample is None else shown_score(sample, one) for one, sample in samples]
            if any(texts):
                rows.append((cell.title, *texts))
        head = ("cell", *(f"{one.label}, {split}" for one in measures for split in ("validation", "test")))
        blocks += [Grid(head, tuple(rows))] if rows else []
    percent = all(cell.measure(name).unit == "%" for cell in shown for name in cell.task.reported)
    unit = " in percent" if percent else ""
    about = Paragraph(f"Scores of the same epoch{unit}, mean ± sample standard deviation over seeds.")
    return Section("Validation beside test", (about, *blocks) if blocks else (), "validation")


def _machines(records: SweepRecords) -> Section:
    """Return the groups of ``provenance_section``, and the versions of each."""
    section = provenance_section(records)
    versions: dict[str, None] = {}
    for text in records.trials["provenance"].dropna().unique():
        found = json.loads(text).get("versions", {})
        versions[", ".join(f"{name} {version}" for name, version in sorted(found.items()))] = None
    texts = tuple(Paragraph(f"Versions: {text}.") for text in versions if text)
    return Section("Hardware and software", (*section.blocks, *texts), "machines")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Scalar | None) -> str:
    return "none" if value is None else number(value)
