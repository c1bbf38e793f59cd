"""The figures of sweeps: a learning curve for each cell in the order of its grid, and comparisons on each dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from analysis.cells import Cell, metric_label
from analysis.configurations import configurations
from analysis.figures.captioned import CaptionedFigure, figure_stem
from analysis.figures.cost_figures import cost_figures
from analysis.figures.curves import (
    CellCurves,
    NotebookFigure,
    fields_of,
    learning_curves,
    metric_panel,
    overview,
    share_limits,
)
from analysis.figures.drawing import wrapped
from analysis.figures.labels import row_labels, seeds_text, splits_text
from analysis.figures.plots import confusion_matrix, seed_spread
from analysis.figures.rate_figures import rate_figures
from analysis.figures.search_figures import search_figures
from analysis.names import SPLITS, numbered
from analysis.predictions import confusion, read_predictions
from analysis.rates import rate_maps
from analysis.search import search_results
from analysis.sweep_records import SweepRecords
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.store.records import DamagedRecord, read_steps
from tunekit.store.trial_files import PREDICTIONS_FILE

CHOSEN = " Of several settings of a method those are shown that validation chose."
BAND = ". A thick line is the mean, its band one sample standard deviation over seeds; thin lines are single seeds"
STEPS = (
    ". The loss has a thin line for the steps of each seed (for means over several steps, where there are many), and a "
    "point for the mean of each epoch, at its middle"
)
MAX_OVERVIEW = 20  # cells on one page


def figures_of(records: SweepRecords, found: Sequence[Cell], metric: str | None = None) -> list[CaptionedFigure]:
    """Return the figures of all cells that have a completed trial and are no search's, and then those of searches.

    They come kind by kind: curves, overview, cost, spread, confusion, learning rates. ``metric`` is the one that the
    figures of cost and of seeds show, by default the one by which the task of each dataset chooses. Of several settings
    of a method, figures that compare cells show those that validation chose, and all where it can't choose. A learning
    curve keeps its number whichever cells have completed. Raises DamagedRecord, naming the file, where steps or
    predictions can't be read, and UserError where ``metric`` needs predictions that a trial lacks.
    """
    ordered = in_order(records, found)
    numbers = {key: number for number, key in enumerate(dict.fromkeys(cell.key for cell in ordered), 1)}
    by_path = {str(path): epochs for path, epochs in records.epochs.groupby("path")}
    drawn = [cell for cell in ordered if any(str(trial.path) in by_path for trial in cell.completed)]
    data = {cell.anchor: _curves_of(cell, by_path) for cell in drawn}
    datasets: dict[str, list[Cell]] = {}
    for cell in drawn:
        datasets.setdefault(cell.dataset, []).append(cell)
    figures = [_curves(cell, data[cell.anchor], numbers[cell.key]) for cell in drawn]
    for members in datasets.values():
        share_limits([captioned.figure.axes for cell, captioned in zip(drawn, figures, strict=True) if cell in members])
    counting = {id(cell) for one in configurations(drawn) for cell in ([one.chosen] if one.chosen else one.cells)}
    for draw in (partial(_overviews, data), cost_figures, _spread):
        for members in datasets.values():
            shown = [cell for cell in members if id(cell) in counting]
            said = CHOSEN if len(shown) < len(members) else ""
            drawing = draw(shown, metric or members[0].task.primary)
            figures += [replace(one, caption=f"{one.caption}{said}") for one in drawing]
    figures += [captioned for cell in drawn for captioned in _confusion(cell)]
    figures += rate_figures(rate_maps(found, records.default_rates))
    figures += search_figures(search_results(records, found))
    stems = numbered([captioned.stem for captioned in figures])
    return [replace(captioned, stem=stem) for captioned, stem in zip(figures, stems, strict=True)]


def cell_curves(records: SweepRecords, found: Sequence[Cell], metric: str | None) -> NotebookFigure:
    """Return the learning curves of the cells ``found``, all of one dataset and none of a search.

    Without ``metric`` each cell has training loss above scores; with it all cells share one panel. ``metric`` is a
    field of EpochRecord, or one without its split (``macro_f1``). Raises UserError for another metric, for one that no
    trial recorded, and where no trial has completed.
    """
    by_path = {str(path): epochs for path, epochs in records.epochs.groupby("path")}
    drawn = [cell for cell in in_order(records, found) if any(str(one.path) in by_path for one in cell.completed)]
    if not drawn:
        raise UserError(f"no trial of {found[0].dataset} has completed; there is no curve to show")
    columns = [
        replace(_curves_of(cell, by_path), label=label) for cell, label in zip(drawn, row_labels(drawn), strict=True)
    ]
    title = f"{drawn[0].dataset_name}, {seeds_text(drawn)}"
    if metric is None:
        return overview(columns, title)
    drawable = fields_of(drawn[0].task)
    fields = [metric if metric in drawable else f"{cell.split}_{metric}" for cell in drawn]
    known = [name for name in drawable if name not in ("epoch", "step")]
    if unknown := [name for name in fields if name not in known]:
        hint = did_you_mean(unknown[0], known)
        raise UserError(f"there is no metric {metric!r}{hint} (there are {', '.join(known)})")
    recorded = [place for place, name in enumerate(fields) if columns[place].epochs[name].notna().any()]
    if not recorded:
        raise UserError(f"no trial of {found[0].dataset} recorded {metric}; choose another metric")
    return metric_panel([columns[place] for place in recorded], [fields[place] for place in recorded], title)


def in_order(records: SweepRecords, found: Sequence[Cell]) -> list[Cell]:
    """Return the cells that are not of a search: full fine-tuning of each model, then the other methods one by one.

    Each comes with all its datasets. Models, methods, datasets and configurations are in the order in which they were
    asked for; cells that nobody asked for come last.
    """
    kept = [cell for cell in found if not cell.searched]
    methods = list(dict.fromkeys(["full", *(cell.method for cell in kept)]))
    models = list(dict.fromkeys(cell.model for cell in kept))
    datasets = list(dict.fromkeys(cell.dataset for cell in kept))
    configurations: dict[tuple[str, str, str], list[str]] = {}
    for cell in kept:
        configurations.setdefault((cell.model, cell.dataset, cell.method), []).append(cell.key)

    def rank(cell: Cell) -> tuple[int, ...]:
        return (
            cell.key not in records.expected,
            methods.index(cell.method),
            models.index(cell.model),
            configurations[cell.model, cell.dataset, cell.method].index(cell.key),
            datasets.index(cell.dataset),
        )

    return sorted(kept, key=rank)


def _curves_of(cell: Cell, by_path: Mapping[str, pd.DataFrame]) -> CellCurves:
    epochs = [
        by_path[str(trial.path)].assign(seed=trial.seed) for trial in cell.completed if str(trial.path) in by_path
    ]
    return CellCurves(cell.title, _steps(cell), pd.concat(epochs, ignore_index=True), cell.split, cell.task)


def _steps(cell: Cell) -> pd.DataFrame | None:
    """Return the steps of all completed trials; None where one keeps none."""
    frames = []
    for trial in cell.completed:
        frame = read_steps(trial.path, {"step": int, "train_loss": float})
        if frame is None or frame.empty:
            return None
        frames.append(frame.assign(seed=trial.seed))
    return pd.concat(frames, ignore_index=True)


def _curves(cell: Cell, data: CellCurves, number: int) -> CaptionedFigure:
    figure = learning_curves(data.steps, data.epochs, data.split, cell.title, cell.task)
    stem = figure_stem(f"figure-{number:02d}", cell.model, cell.method, cell.dataset, cell.variant)
    caption = (
        f"{cell.title}: training loss, and scores on the {SPLITS[cell.split]} split after each epoch; "
        f"{seeds_text([cell])}{BAND if len(cell.completed) > 1 else ''}{'' if data.steps is None else STEPS}."
    )
    return CaptionedFigure(stem, caption, "curves", figure)


def _overviews(data: Mapping[str, CellCurves], members: Sequence[Cell], metric: str) -> list[CaptionedFigure]:
    if len(members) < 2:
        return []
    columns = [
        replace(data[cell.anchor], label=label) for cell, label in zip(members, row_labels(members), strict=True)
    ]
    name = members[0].dataset_name
    caption = (
        f"{name}: training loss and scores on the {splits_text(members)} split side by side; {seeds_text(members)}"
        f"{BAND}{'' if any(column.steps is None for column in columns) else STEPS}."
    )
    pages = [columns[start : start + MAX_OVERVIEW] for start in range(0, len(columns), MAX_OVERVIEW)]
    stem = figure_stem("overview", members[0].dataset)
    title = f"{name}, {seeds_text(members)}"
    return [CaptionedFigure(stem, caption, "overview", overview(page, title)) for page in pages]


def _spread(members: Sequence[Cell], metric: str) -> list[CaptionedFigure]:
    labelled = zip(members, row_labels(members), strict=True)
    rows = [(label, seed, score) for cell, label in labelled for seed, score in cell.by_seed(metric).items()]
    if not rows:
        return []
    scores = pd.DataFrame(rows, columns=["row", "seed", "score"])
    figure = Figure(figsize=(5.6, 1.2 + 0.4 * scores["row"].nunique()), layout="constrained")
    axis = replace(members[0].measure(metric), label=metric_label(metric, members))
    seed_spread(scores, figure.subplots(), axis)
    name = members[0].dataset_name
    figure.suptitle(wrapped(f"{name}, {metric_label(metric, members)} of each seed", 65, 3), fontsize=10)
    caption = (
        f"{name}: {metric_label(metric, members)} on the {splits_text(members)} split. A point is one seed, a bar the "
        f"mean; {seeds_text(members)}. Points of a row that would hide each other are set apart."
    )
    return [CaptionedFigure(figure_stem("spread", members[0].dataset), caption, "spread", figure)]


def _confusion(cell: Cell) -> list[CaptionedFigure]:
    """Return the confusion matrix of a cell whose trials all keep the predictions of the epoch that counts."""
    shares = _shares(cell)
    if shares is None:
        return []
    size = max(3.5, 1.5 + min(0.55, 12 / len(shares)) * len(shares))
    figure = Figure(figsize=(size + 2, size + 0.8), layout="constrained")
    confusion_matrix(shares, cell.label_names, figure.subplots())
    figure.suptitle(wrapped(f"{cell.title}, {seeds_text([cell])}", int(11 * (size + 2)), 4), fontsize=10)
    caption = (
        f"{cell.title}: confusion on the {SPLITS[cell.split]} split, percent of each gold class, mean over "
        f"{seeds_text([cell])}."
    )
    stem = figure_stem("confusion", cell.model, cell.method, cell.dataset, cell.variant)
    return [CaptionedFigure(stem, caption, "confusion", figure)]


def _shares(cell: Cell) -> npt.NDArray[np.float64] | None:
    """Return the row-normalised confusion (C, C), mean over the trials; rows of classes without items are NaN.

    Returns None where the class names are not known or a trial lacks its predictions.
    """
    if cell.num_classes is None:
        return None
    matrices = []
    for trial in cell.completed:
        frame = None if trial.epoch is None else read_predictions(trial.path, cell.split, trial.epoch)
        if frame is None:
            return None
        try:
            counts = confusion(frame["gold"].to_numpy(), frame["predicted"].to_numpy(), cell.num_classes)
        except ValueError as error:
            raise DamagedRecord(f"{trial.path / PREDICTIONS_FILE}: {error}") from error
        totals = counts.sum(axis=1, keepdims=True)
        matrices.append(np.divide(counts, totals, where=totals > 0, out=np.full(counts.shape, np.nan)))
    return np.asarray(np.mean(matrices, axis=0))
