"""The report's sections on calibration, ensembles of seeds, overlap of errors, and early stopping in hindsight."""

from collections.abc import Sequence

from analysis.cells import Cell, metric_label
from analysis.logits import CellLogits
from analysis.names import bounds_text, estimate_text
from analysis.patience import PATIENCES, SimulatedPatience, simulated_patience
from analysis.probabilities import Estimated, calibration, ensemble_gains, overlaps
from analysis.report.document import Block, Grid, Inline, Link, Paragraph, Points, Section
from analysis.statistics.this_set import MIN_SEEDS, Interval
from analysis.sweep_records import SweepRecords
from analysis.units import in_percent, primary_label
from tunekit.tasks import Metric

BRACKETS = (
    "An interval in brackets is the 95 % interval on new texts from the same source, where seeds and test items vary; "
    "it takes at least 3 seeds. Rows are not tested against each other."
)


def calibration_section(found: Sequence[tuple[Cell, CellLogits]]) -> Section:
    """Return the calibration of each cell. Raises DamagedRecord where logits on validation can't be read."""
    rows: list[tuple[Inline, ...]] = []
    for cell, logits in found:
        one = calibration(cell, logits)
        texts = (
            str(one.n), _text(one.nll, 3), _text(one.brier, 3), _text(one.error, 2, 100),
            "" if one.temperature is None else f"{one.temperature:.2f}",
            _text(one.scaled_nll, 3), _text(one.scaled_error, 2, 100),
        )  # fmt: skip
        rows.append((Link(cell.title, f"#{cell.anchor}"), *texts))
    about = Paragraph(
        "How well the predicted probabilities agree with the frequency of correct predictions; means over seeds. Lower "
        "is better in all columns but the temperature. NLL is the negative log-likelihood per item in nats. The "
        "calibration error is the gap between the probability of the predicted label and accuracy, in points, debiased "
        "(Kumar et al. 2019). The temperature is fitted on validation for each seed (Guo et al. 2017); above 1 the "
        f"model is overconfident. The last two columns are test scores with that temperature. {BRACKETS}"
    )
    head = (
        "cell", "n", "NLL", "Brier score", "calibration error", "temperature", "NLL, scaled",
        "calibration error, scaled",
    )  # fmt: skip
    return Section("Calibration", (about, Grid(head, tuple(rows))) if rows else (), "calibration")


def ensembles_section(found: Sequence[tuple[Cell, CellLogits]]) -> Section:
    """Return the scores of the ensemble of each cell's seeds."""
    rows: list[tuple[Inline, ...]] = []
    for cell, logits in found:
        for one in ensemble_gains(cell, logits):
            texts = (f"{100 * one.single:.2f}", f"{100 * one.together:.2f}", _text(one.gain, 2, 100, "+"))
            rows.append((Link(cell.title, f"#{cell.anchor}"), metric_label(one.metric, [cell]), str(one.n), *texts))
    about = Paragraph(
        "An ensemble predicts by the mean of the probabilities of all seeds of a cell. Scores are in percent, the "
        f"difference from the mean score of single seeds in points. {BRACKETS}"
    )
    head = ("cell", "metric", "seeds", "mean of single seeds", "ensemble", "difference")
    return Section("Ensembles of seeds", (about, Grid(head, tuple(rows))) if rows else (), "ensembles")


def overlap_section(found: Sequence[tuple[Cell, CellLogits]]) -> Section:
    """Return how far pairs of rows err on the same items, dataset by dataset."""
    datasets: dict[str, list[tuple[Cell, CellLogits]]] = {}
    for cell, logits in found:
        datasets.setdefault(cell.dataset, []).append((cell, logits))
    rows: list[tuple[Inline, ...]] = []
    for members in datasets.values():
        for one in overlaps(members):
            other: Inline = "its own seeds" if one.first is one.second else _linked(one.second)
            rows.append((_linked(one.first), other, _text(one.kappa, 2), f"{100 * one.one_right:.2f}"))
    about = Paragraph(
        "Whether two runs err on the same items: Cohen's kappa of their errors, mean over pairs of runs (Geirhos et "
        "al. 2020). 0 is the overlap of independent runs with the same error rates, 1 says that they err on the same "
        "items. Two methods that overlap less than the seeds of one method tend to err on partly different items; this "
        "is not tested. The last column is the percentage of items that at least one run of a pair predicts correctly. "
        f"{BRACKETS}"
    )
    head = ("cell", "compared with", "kappa of errors", "at least one correct (%)")
    return Section("Overlap of errors", (about, Grid(head, tuple(rows))) if rows else (), "overlap")


def patience_section(records: SweepRecords, found: Sequence[Cell]) -> Section:
    """Return what early stopping would have given and saved in each cell, and the reasons why cells are left out.

    It is empty where no cell can show it.
    """
    rows: list[tuple[Inline, ...]] = []
    left_out: dict[str, list[str]] = {}
    shown = [cell for cell in found if not cell.searched]
    for cell in shown:
        try:
            simulated = simulated_patience(records, cell)
        except ValueError as error:
            left_out.setdefault(f"Left out ({error})", []).append(cell.title)
            continue
        if not any(one.num_stopped for one in simulated):
            left_out.setdefault(NEVER_STOPPED, []).append(cell.title)
            continue
        for one in simulated:
            texts = (f"{one.num_stopped} of {one.n}", f"{one.epochs:.1f}", f"{100 * one.saved:.0f}")
            measure = cell.measure(cell.task.primary)
            rows.append((_linked(cell), str(one.patience), *texts, measure.number(one.score), _change(one, measure)))
    if not rows and NEVER_STOPPED not in left_out:
        return Section("Simulated early stopping", (), "patience")
    name = primary_label(shown)
    points = "in points of " if in_percent(shown) else "of "
    about = Paragraph(
        "What early stopping would have given: training ends once so many epochs in a row have not improved the "
        f"validation {name}, and the best epoch until then is kept. The learning rate decays over the epochs that were "
        f"asked for, as it would with early stopping. Change: {points}test {name}, against the best epoch on "
        "validation of the whole run, with the 95 % interval over seeds (Student's t on the changes of single trials), "
        "on these test items."
    )
    head = ("cell", "patience", "stopped early", "epochs", "time saved (%)", f"test {name}", "change")
    blocks: list[Block] = [about, *([Grid(head, tuple(rows))] if rows else [])]
    if left_out:
        blocks.append(Points(tuple(f"{why}: {'; '.join(titles)}." for why, titles in left_out.items())))
    return Section("Simulated early stopping", tuple(blocks), "patience")


NEVER_STOPPED = (
    f"Nothing changes, since a patience of at most {max(PATIENCES)} epochs would have stopped no trial before its last "
    "epoch"
)


def _change(one: SimulatedPatience, measure: Metric) -> str:
    """Return the change with its interval, or with the reason why there is none."""
    if one.num_stopped == 0:
        return "no change (no trial stops early)"
    if one.interval is not None:
        return estimate_text(measure, one.change, one.interval.low, one.interval.high, "+")
    value = measure.number(one.change, "+")
    if one.n < MIN_SEEDS:
        return f"{value} (no interval below {MIN_SEEDS} trials)"
    if one.change == 0:
        return "no change (the same test score in every trial)"
    return f"{value} (the same in every trial, so no interval)"


def _linked(cell: Cell) -> Link:
    return Link(cell.title, f"#{cell.anchor}")


def _text(one: Estimated | None, digits: int, factor: float = 1, sign: str = "") -> str:
    if one is None:
        return ""
    value, interval = one
    return f"{factor * value:{sign}.{digits}f}{_bounds(interval, digits, factor, sign)}"


def _bounds(interval: Interval | None, digits: int, factor: float, sign: str) -> str:
    if interval is None:
        return ""
    return f" {bounds_text(factor * interval.low, factor * interval.high, f'{sign}.{digits}f')}"
