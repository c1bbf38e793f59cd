"""The learning-curve figures of a study: one a cell, comparable within a dataset."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.aggregate import Cell
from analysis.curves import learning_curves, share_limits
from analysis.load import Study
from analysis.names import NAMES
from tunekit.schema import slug
from tunekit.store import DamagedRecord


def figures_of(study: Study, found: Sequence[Cell]) -> dict[str, Figure]:
    """A figure for each cell with a completed trial, by file stem, numbered in the order of the cells.

    Raises DamagedRecord, naming the file, where a trial's steps can't be read.
    """
    figures: dict[str, Figure] = {}
    by_dataset: dict[str, list[Figure]] = {}
    for cell in found:
        if not cell.completed or cell.searched:
            continue
        seeds = {str(run.path): run.seed for run in cell.completed}
        epochs = study.epochs[study.epochs["path"].isin(set(seeds))]
        epochs = epochs.assign(seed=epochs["path"].map(seeds))
        facts = study.datasets.get(cell.dataset)
        names = [NAMES.get(cell.model, cell.model), NAMES.get(cell.method, cell.method), cell.variant]
        names.append(facts.display_name if facts else cell.dataset)
        title = " · ".join(filter(None, names))
        parts = [cell.model, cell.method, cell.dataset, cell.variant]
        stem = "-".join([f"figure-{len(figures) + 1:02d}", *(slug(part) for part in parts if part)])
        figures[stem] = learning_curves(_steps(cell), epochs, cell.split, title)
        by_dataset.setdefault(cell.dataset, []).append(figures[stem])
    for members in by_dataset.values():
        share_limits(members)
    return figures


def _steps(cell: Cell) -> pd.DataFrame | None:
    """Steps of all completed trials; None where one keeps none."""
    frames = []
    for run in cell.completed:
        path = run.path / "steps.csv"
        if not path.exists():
            return None
        try:
            frame = pd.read_csv(path, usecols=["step", "train_loss"])
        except (OSError, ValueError) as error:
            raise DamagedRecord(f"{path}: {error}") from error
        if frame.empty:
            return None
        frames.append(frame.assign(seed=run.seed))
    return pd.concat(frames, ignore_index=True)
