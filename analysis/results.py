"""The results of one or more sweeps in a notebook or a script: DataFrames, cells, tables, curves and the report."""

import html
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from analysis.across import Across, across
from analysis.cells import Cell, cells
from analysis.names import left_out, metric_name, not_ended
from analysis.sweep_records import Progress, SweepRecords, read_sweeps
from analysis.tables.build import build
from analysis.tables.specs import all_cells_spec, check_metric, settings_specs
from analysis.tables.table import Table
from analysis.tidy import tidy_epochs, tidy_trials
from analysis.units import primary_of
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean, how_many
from tunekit.storage.paths import Place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Sweeps = str | os.PathLike[str] | Place | Iterable[str | os.PathLike[str] | Place]


def load(sweeps: Sweeps, elsewhere_cache: Path | None = None, progress: Progress = iter) -> "Results":
    """Return the results of one sweep or of several.

    A sweep is a folder, such as ``ray_results/demo``, or a place on an object store, such as
    ``s3://BUCKET/PREFIX/demo``. A trial that several sweeps hold counts once. ``elsewhere_cache`` is a folder for the
    cache of sweeps that are read-only, so that the next reading is faster. ``progress`` wraps the names of the folders
    that are read, as ``tqdm`` does.

    Raises UserError where no sweep is given, where a folder holds no sweep, and where its sweep.json is damaged.
    """
    several = [sweeps] if isinstance(sweeps, str | os.PathLike) or not isinstance(sweeps, Iterable) else list(sweeps)
    for one in several:
        if not isinstance(one, str | os.PathLike | Place):
            raise UserError(f"a sweep is a folder or an s3:// place, not {type(one).__name__}")
    return Results(read_sweeps(several, elsewhere_cache, progress))


@dataclass(frozen=True, repr=False)
class Results:
    """The results of one or more sweeps. A notebook shows a short summary of them.

    Trials that are stale, damaged or in two sweeps do not count; ``report`` lists each of them.
    """

    records: SweepRecords
    """The records of the sweeps, as the rest of ``analysis`` takes them."""

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row an epoch of each trial, each setting a column.

        The columns are ``sweep``, ``trial_id``, ``model``, ``dataset``, ``method``, ``seed``, the other settings
        (``learning_rate``, ``batch_size``, ...), the method's hyperparameters as ``METHOD.NAME`` (``lora.r``), and the
        fields of ``tunekit.schema.EpochRecord``: ``epoch`` from 1, ``step``, losses, scores in [0, 1],
        ``epoch_seconds``, ``train_tokens_per_second`` and ``peak_memory_bytes``. The record's own learning rate, which
        a schedule changes, is called ``epoch_learning_rate``. A value that a trial lacks is missing (NaN or <NA>).
        """
        return tidy_epochs(self.records)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial, each setting a column as in ``epochs``.

        After the settings come ``status`` (missing while the trial runs, and where it was interrupted),
        ``stopped_by_patience`` where some trial has a patience, ``num_epochs``, ``best_epoch``, the losses and scores
        in [0, 1] after the trial's last epoch, ``fit_*`` (loss and scores on a part of train, dropout off),
        ``num_trainable_params``, ``num_total_params``, ``train_seconds``, ``peak_memory_bytes``,
        ``predicted_memory_bytes`` and ``error``, the first line of a failed trial's error.
        """
        return tidy_trials(self.records)

    def cells(self, select: str = "last") -> list[Cell]:
        """Return the cells: the trials that differ in their seed only, with their mean and spread.

        ``select`` is the epoch whose scores count: ``last``, ``best-val`` or ``best-test``, which is too high.
        Raises UserError for another selection.
        """
        return cells(self.records, select)

    def table(self, metric: str | None = None, dataset: str | None = None, select: str = "last") -> Table:
        """Return a table of ``metric``: a row a model and method, a column a dataset.

        An entry holds the mean ± sample standard deviation over seeds, in percent where the metric is a share.
        ``metric`` is a score of the datasets' task (default: the one by which it chooses, for classification
        ``macro_f1``; there are also ``accuracy`` and ``micro_f1``), ``primary``, which is the metric by which each
        dataset chooses and the default where they differ, or, from stored predictions of classes,
        ``macro_f1_present`` (over the classes that occur), ``mcc``, ``weighted_f1`` or ``per_class_f1``, which has a
        column a class and needs ``dataset`` where there are several. ``select`` is as in ``cells``. Where a method has
        several settings, its row shows those with the best mean on validation, which the table's notes name. Without
        validation scores each setting is a row, and none is called the best. ``settings`` has all of them. The trials
        of a search, which do not score test, are left out; ``report`` shows them.

        Raises UserError for an unknown metric, dataset or selection, and where no trial recorded the metric.
        """
        shown = self._of_dataset(self.cells(select), dataset)
        return build(all_cells_spec(shown, metric or primary_of(shown), select))

    def settings(self, metric: str | None = None, dataset: str | None = None, select: str = "last") -> Table:
        """Return a table of all settings on one dataset, of the methods that were trained with several.

        Rows are sorted by the values of the settings, validation is beside test, and nothing is ranked. ``dataset`` may
        be left out where only one dataset has several settings. ``metric`` and ``select`` are as in ``table``, without
        ``per_class_f1``. Raises UserError as ``table`` does, and where there are no or several such tables.
        """
        found = self._of_dataset(self.cells(select), dataset)
        metric = metric or primary_of(found)
        check_metric(metric, found)
        specs = settings_specs(found, [metric], select)
        if len(specs) != 1:
            there = "; ".join(spec.caption for spec in specs)
            said = (
                f"there are {len(specs)} tables of settings; give a dataset ({there})"
                if specs
                else (f"no method was trained with several settings that {metric} was recorded for")
            )
            raise UserError(said)
        return build(specs[0])

    def across_datasets(self, metric: str | None = None, select: str = "last") -> Across:
        """Return the comparison of all rows of ``table`` over the datasets; its ``frame`` is a DataFrame.

        The comparison holds mean ranks, win rates, and interquartile means of scores between the majority class and the
        best. It takes three datasets, and two rows that have scores on all of them; otherwise there is none, and its
        ``notes`` say why. ``metric`` and ``select`` are as in ``table``. Raises UserError as ``table`` does.
        """
        from analysis.report.majority import majority_scores

        shown = self._of_dataset(self.cells(select), None)
        return across(all_cells_spec(shown, metric or primary_of(shown), select), majority_scores(self.records))

    def critical_difference(self, metric: str | None = None, select: str = "last") -> "Figure":
        """Return the critical-difference figure of ``across_datasets``.

        It shows mean ranks, with bars over rows that Nemenyi's test does not separate. Raises UserError as ``table``
        does, and where there is no comparison over datasets.
        """
        from analysis.figures.critical_difference import critical_difference_figure

        found = self.across_datasets(metric, select)
        drawn = critical_difference_figure(found, metric_name(found.metric), found.metric)
        if drawn is None:
            raise UserError(". ".join(found.notes))
        return drawn.figure

    def curves(self, dataset: str, metric: str | None = None) -> "Figure":
        """Return a figure of the learning curves on ``dataset``, mean and sample standard deviation over seeds.

        Without ``metric``, each cell has a column of its own with training loss above scores. With ``metric``, such as
        ``macro_f1`` or ``train_loss``, all cells share one panel. The figure belongs to no window: a notebook shows it
        where it is the last value of a cell, and ``savefig`` writes it.

        Raises UserError for an unknown dataset or metric, and where no trial has completed.
        """
        from analysis.figures.figures import cell_curves

        found = self._of_dataset(self.cells(), dataset)
        return cell_curves(self.records, found, metric)

    def report(self, folder: str | os.PathLike[str], metrics: Sequence[str] = (), select: str = "last") -> list[Path]:
        """Write tables, figures and the report to ``folder``, and return the paths of report.md and report.html.

        ``metrics`` (default: those that the datasets' tasks report) and ``select`` are as in ``table``. Raises
        UserError for an unknown metric or selection, and OSError where the folder can't be written.
        """
        from analysis.report.report import Choices, compose, write_all

        out = Path(folder)
        return write_all(compose(self.records, Choices(select=select, metrics=metrics), out), out)

    def _of_dataset(self, found: Sequence[Cell], dataset: str | None) -> list[Cell]:
        """Return the cells of ``dataset``, or of all datasets where it is None, without those of a search."""
        shown = [cell for cell in found if not cell.searched]
        known = list(dict.fromkeys(cell.dataset for cell in shown))
        if not known:
            raise UserError(f"{self._names()} holds no cell to show; a search shows its trials in the report")
        if dataset is not None and dataset not in known:
            raise UserError(f"there are no results of dataset {dataset!r}{did_you_mean(dataset, known)}")
        return [cell for cell in shown if dataset in (None, cell.dataset)]

    def _names(self) -> str:
        return ", ".join(store.root.name for store in self.records.stores)

    def _summary(self) -> list[str]:
        """Return the lines of the summary: trials by state, what was trained, and what is left out."""
        found, trials = self.cells(), self.records.trials
        states = trials["status"].fillna("unfinished").value_counts()
        counted = ", ".join(f"{count} {str(state).replace('_', ' ')}" for state, count in states.items())
        total = f"{how_many(len(trials), 'trial')} in {how_many(len(found), 'cell')}"
        lines = [f"{total}: {counted}" if counted else total]
        for heading, name in (
            ("models", lambda cell: cell.model_name),
            ("datasets", lambda cell: cell.dataset_name),
            ("methods", lambda cell: cell.method_name),
            ("seeds", lambda cell: " ".join(map(str, cell.expected))),
        ):
            lines.append(f"{heading}: {_listed(name, found)}")
        waiting = sum(len(cell.unfinished) for cell in found)
        lines += [not_ended(waiting)] if waiting else []
        count = len(self.records.problems)
        return [*lines, f"{left_out(count)}; the report names each"] if count else lines

    def __repr__(self) -> str:
        return "\n  ".join([f"Results of {self._names()}", *self._summary()])

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in self._summary())
        return f"<p><strong>Results of {html.escape(self._names())}</strong></p><ul>{lines}</ul>"


def _listed(name: Callable[[Cell], str], found: Sequence[Cell]) -> str:
    """Return the different names of ``found`` in their order, at most ten."""
    names = list(dict.fromkeys(map(name, found)))
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
