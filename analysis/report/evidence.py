"""The evidence for the tables: intervals, the effect of choosing an epoch, costs, provenance, trials."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from analysis.cell_trials import CellTrial
from analysis.cells import Cell, cells, metric_label
from analysis.compare import interval_on_new_text
from analysis.configurations import configurations
from analysis.epoch_choice import SELECTIONS
from analysis.names import SPLITS, interval_text
from analysis.report.document import Block, Details, Grid, Inline, Link, Paragraph, Points, Section
from analysis.statistics.power import std_interval
from analysis.statistics.this_set import MIN_SEEDS, Interval, Sample, mean_interval
from analysis.sweep_records import SweepRecords
from analysis.tables.table import shown
from analysis.units import in_percent, primary_label
from tunekit.storage.paths import Place
from tunekit.store.ending import ending
from tunekit.store.records import DamagedRecord
from tunekit.tasks import Metric

MIB = 2**20


def intervals_section(found: Sequence[Cell]) -> Section:
    """Return the 95 % intervals of each cell's mean, for both questions, and of its std.

    Raises DamagedRecord where stored predictions can't be read.
    """
    rows: list[tuple[Inline, ...]] = []
    for cell in found:
        for metric in cell.task.reported:
            sample = None if cell.searched else cell.sample(metric)
            if sample is None:
                continue
            measure = cell.measure(metric)
            why_not = _why_no_interval(sample)
            here, of_std = (
                _interval(found, measure) or why_not for found in (mean_interval(sample), std_interval(sample))
            )
            intervals = (here, _new_text(cell, metric) or why_not, of_std)
            texts = (metric_label(metric, [cell]), str(sample.n), shown(sample, measure), *intervals)
            rows.append((Link(cell.title, f"#{cell.anchor}"), *texts))
    about = Paragraph(
        f"95 % intervals of the mean and of the standard deviation{_unit(found)}. On these test items: Student's t "
        "over seeds. On new texts from the same source: seeds and test items vary, and items of one group are drawn "
        f"together ({_how(found)}); where Student's interval over seeds is wider, it is shown, since a conclusion for "
        f"more can't be more exact. There is none below {MIN_SEEDS} seeds, or where nothing varies."
    )
    head = (
        "cell", "metric", "n", "mean ± std", "mean on these test items", "mean on new texts", "standard deviation",
    )  # fmt: skip
    return Section("Intervals of each mean", (about, Grid(head, tuple(rows))) if rows else (), "intervals")


def _unit(found: Sequence[Cell]) -> str:
    """Return `` in percent`` where all scores of ``found`` are so, else an empty text: each then has its own unit."""
    return " in percent" if in_percent(found) else ""


def _how(found: Sequence[Cell]) -> str:
    """Return the ways in which intervals on new texts are made for the tasks of ``found``, as text."""
    parts = ["accuracy by a crossed analysis of variance, macro-F1 by a crossed bootstrap"]
    if not all(cell.has_classes for cell in found):
        parts = [
            *(parts if any(cell.has_classes for cell in found) else []),
            "other scores by a crossed bootstrap",
        ]
    return "; ".join(parts)


def selection_section(records: SweepRecords) -> Section:
    """Return each cell's score by the three ways to choose an epoch, and the optimism of the best on test."""
    chosen = {select: {cell.anchor: cell for cell in cells(records, select)} for select in SELECTIONS}
    rows: list[tuple[Inline, ...]] = []
    compared: list[Cell] = []
    for anchor, cell in chosen["last"].items():
        measure = cell.measure(cell.task.primary)
        samples = [chosen[select][anchor].sample(measure.name) for select in SELECTIONS]
        last, by_val, best = samples
        if cell.searched or cell.split != "test" or last is None or best is None:
            continue
        compared.append(cell)
        honest = by_val or last
        texts = ["" if sample is None else shown(sample, measure) for sample in samples]
        rows.append((Link(cell.title, f"#{anchor}"), *texts, measure.number(best.mean - honest.mean, "+")))
    about = Paragraph(
        f"{primary_label(compared)} on test{_unit(compared)}. Optimism is what choosing the epoch by its test score "
        "adds to the score of the epoch that validation chose (of the last epoch where there is no validation part). "
        "It is the difference of the unrounded means. The score of the best epoch on test must not be reported as a "
        "result."
    )
    head = ("cell", "last epoch", "best on validation", "best on test", "optimism")
    return Section("Scores by the choice of the epoch", (about, Grid(head, tuple(rows))) if rows else (), "selection")


def settings_section(found: Sequence[Cell]) -> Section:
    """Return, for each method with several settings, the chosen ones and the best on test, with its optimism."""
    rows: list[tuple[Inline, ...]] = []
    compared: list[Cell] = []
    for one in configurations(found):
        measure = one.first.measure(one.first.task.primary)
        scored = [(cell, sample) for cell in one.cells if (sample := cell.sample(measure.name)) and not cell.failures]
        if len(one.cells) < 2 or not scored or any(cell.split != "test" for cell in one.cells):
            continue
        compared += one.cells
        best, top = max(scored, key=lambda pair: measure.sign * pair[1].mean)
        own = one.chosen.sample(measure.name) if one.chosen else None
        names = " · ".join([one.first.model_name, one.first.method_name, one.first.dataset_name])
        chosen: tuple[Inline, str] = (one.how, "")
        if one.chosen and own:
            chosen = Link(one.chosen.variant, f"#{one.chosen.anchor}"), shown(own, measure)
        optimism = measure.number(top.mean - own.mean, "+") if own else "not known"
        on_test = Link(best.variant, f"#{best.anchor}"), shown(top, measure), optimism
        rows.append((names, str(len(one.cells)), *chosen, *on_test))
    about = Paragraph(
        f"{primary_label(compared)} on test{_unit(compared)}. Optimism is what choosing the settings by their test "
        "scores adds to the score of those that validation chose, as the difference of the unrounded means. The score "
        "of the settings that are best on test must not be reported as a result."
    )
    head = ("method", "settings", "chosen on validation", "on test", "best on test", "on test", "optimism")
    title = "Scores by the choice of the settings"
    return Section(title, (about, Grid(head, tuple(rows))) if rows else (), "settings-choice")


def costs_section(found: Sequence[Cell]) -> Section:
    """Return the parameters, peak memory and time of each cell."""
    rows: list[tuple[Inline, ...]] = []
    for cell in found:
        seconds = cell.sample("train_seconds")
        if seconds is None:
            continue
        trained, total, memory = (
            cell.sample(name) for name in ("num_trainable_params", "num_total_params", "peak_memory_bytes")
        )
        share = f"{100 * trained.mean / total.mean:.2f}" if trained and total else ""
        on_cpu = " (CPU)" if "cpu" in cell.devices else ""
        texts = (
            f"{trained.mean:,.0f}" if trained else "", share, f"{memory.mean / MIB:,.0f}{on_cpu}" if memory else "",
            _time(seconds.mean / 60), _time(seconds.mean * seconds.n / 3600),
        )  # fmt: skip
        rows.append((Link(cell.title, f"#{cell.anchor}"), *texts))
    about = Paragraph(
        "Means over completed trials. Peak memory is that of the allocator on a GPU. Marked (CPU), it is that of the "
        "process, which includes what earlier trials of the process have left, so that it does not compare methods. "
        "Time is that of the recorded epochs: training, and scoring after each epoch."
    )
    head = ("cell", "trainable parameters", "share of all (%)", "peak memory (MiB)", "minutes per trial", "total hours")
    return Section("Cost", (about, Grid(head, tuple(rows))) if rows else (), "cost")


def _time(value: float) -> str:
    """Return minutes or hours as text, with one decimal, or with two digits below 1."""
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def provenance_section(records: SweepRecords) -> Section:
    """Return the trials grouped by commit, versions, machine and way of execution."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in records.trials.dropna(subset=["provenance"]).to_dict("records"):
        where, how = json.loads(row["provenance"]), json.loads(row["execution"])
        where.pop("trial", None)  # an imported trial's own folder
        groups.setdefault(json.dumps([where, how], sort_keys=True), []).append({"where": where, "how": how})
    rows: list[tuple[Inline, ...]] = []
    details = []
    for number_of, (text, members) in enumerate(groups.items(), 1):
        where, how = members[0]["where"], members[0]["how"]
        commit = f"{(where.get('commit') or '')[:12]}{' (changed)' if where.get('dirty') else ''}"
        if "imported_from" in where:
            commit = f"imported from {where['imported_from']}"
        machine = ", ".join(str(where[name]) for name in ("host", "system", "processor") if where.get(name))
        execution = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in how.items())
        rows.append((str(number_of), str(len(members)), commit, machine, execution))
        details.append(Details(f"group {number_of}: versions and environment", json.dumps(json.loads(text), indent=1)))
    head = ("group", "trials", "commit", "machine", "execution")
    blocks: tuple[Block, ...] = (Grid(head, tuple(rows)), *details) if rows else ()
    return Section("Hardware, software and code", blocks, "provenance")


def trials_section(records: SweepRecords, found: Sequence[Cell], out: Path) -> Section:
    """Return every cell's trials and spec; ``out`` is the folder from which links to the trials' folders lead."""
    parts = []
    for cell in found:
        rows = tuple(_trial(cell, trial, out) for trial in cell.trials)
        names = [metric_label(metric, [cell]) for metric in cell.task.reported]
        head = ("seed", "status", "epoch", *names, "minutes", "folder")
        spec = Details("spec", json.dumps(json.loads(cell.key), indent=1))
        waiting = f"Asked for and not ended: seeds {' '.join(map(str, cell.unfinished))}."
        lines = (Points((waiting,)),) if cell.unfinished else ()
        blocks = (*lines, Grid(head, rows), spec)
        parts.append(Section(f"{cell.title} ({SPLITS[cell.split]})", blocks, cell.anchor))
    return Section("Trials and their specs", (), "trials", tuple(parts))


def _new_text(cell: Cell, metric: str) -> str:
    """Return the interval on new texts, or the reason why there can be none.

    It is empty where nothing varies or there are too few seeds.
    """
    try:
        return _interval(interval_on_new_text(metric, cell), cell.measure(metric))
    except DamagedRecord:
        raise
    except ValueError as error:
        return str(error)


def _why_no_interval(sample: Sample) -> str:
    """Return the reason why a sample that has no interval has none."""
    if sample.n < MIN_SEEDS:
        return f"fewer than {MIN_SEEDS} seeds"
    return "no standard deviation is known" if sample.std is None else "nothing varies"


def _trial(cell: Cell, trial: CellTrial, out: Path) -> tuple[Inline, ...]:
    scores = {name: trial.scores.get(f"{cell.split}_{name}") for name in cell.task.reported}
    seconds = trial.scores.get("train_seconds")
    return (
        str(trial.seed),
        _state(cell, trial),
        "" if trial.epoch is None else str(trial.epoch),
        *("" if score is None else cell.measure(name).number(score) for name, score in scores.items()),
        "" if seconds is None else _time(seconds / 60),
        _folder(trial.path, out),
    )


def _state(cell: Cell, trial: CellTrial) -> str:
    """Return how a trial ended, as text that says where it counts with the scores of the majority class."""
    if trial.status is None:
        return "unfinished"
    return f"{ending(cell.settings, trial.status, trial.num_epochs)}{', filled' if trial.filled else ''}"


def _folder(path: Place, out: Path) -> Inline:
    """Return a link to a trial's folder, or its name alone on an object store, which a browser can't open."""
    return Link(path.name, quote(os.path.relpath(path, out))) if isinstance(path, Path) else path.name


def _interval(interval: Interval | None, measure: Metric) -> str:
    return "" if interval is None else interval_text(measure, interval.low, interval.high)


def predictions_section(found: Sequence[Cell]) -> Section:
    """Return each cell's peak memory by the closed form beside the peak that its trials recorded.

    It is empty where no trial holds a prediction.
    """
    rows: list[tuple[Inline, ...]] = []
    for cell in found:
        predicted, measured = (cell.by_seed(name) for name in ("predicted_memory_bytes", "peak_memory_bytes"))
        seeds = [seed for seed in predicted if seed in measured]
        if not seeds:
            continue
        means = [sum(values[seed] for seed in seeds) / len(seeds) for values in (predicted, measured)]
        errors = [100 * (predicted[seed] / measured[seed] - 1) for seed in seeds]
        texts = (", ".join(sorted(cell.devices)), str(len(seeds)), *(f"{mean / MIB:,.0f}" for mean in means))
        rows.append((Link(cell.title, f"#{cell.anchor}"), *texts, f"{min(errors):+.1f} to {max(errors):+.1f}"))
    about = Paragraph(
        "Means over trials. The prediction is the closed form over the batches that a trial saw. The measured peak is "
        "on a GPU what torch's allocator gave out at most, and on a CPU the resident memory of the process, with its "
        "libraries. On a CPU the prediction is that of a process which trains this trial alone. A worker trains trials "
        "one after another, and what earlier trials have left in its process counts in the measured peak, which can "
        "therefore lie above the prediction. The error is the prediction's, in percent of the measured peak, from "
        "the lowest to the highest of single trials."
    )
    head = ("cell", "device", "n", "predicted (MiB)", "measured (MiB)", "error (%)")
    return Section("Predicted and measured memory", (about, Grid(head, tuple(rows))) if rows else (), "memory")
