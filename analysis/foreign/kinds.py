"""The kind of the experiment at a place, found by its files."""

from collections.abc import Callable
from pathlib import Path

from analysis.foreign import mlflow_runs, peft_results, ray_experiment, tables, trainer
from analysis.foreign.trial import Experiment, Kind, files_below
from tunekit.errors import UserError
from tunekit.parsing import check_exists

READERS: dict[Kind, Callable[[Path], Experiment]] = {
    Kind.RAY: ray_experiment.read_ray,
    Kind.TRAINER: trainer.read_trainer,
    Kind.MLFLOW: mlflow_runs.read_mlflow,
    Kind.WANDB: tables.read_wandb,
    Kind.PEFT: peft_results.read_peft,
    Kind.TABLE: tables.read_table,
}
_FILES = (Kind.WANDB, Kind.TABLE)
"""The kinds that are one file."""
_FOLDERS = (Kind.RAY, Kind.TRAINER)
"""The kinds that are a folder."""
WHAT = (
    "a Ray Tune experiment (params.json and result.json), runs of Trainer (trainer_state.json), MLflow's mlruns or "
    "database, a CSV or Parquet table, or PEFT's results"
)


def read(place: Path, kind: str | None) -> Experiment:
    """Return the experiment at ``place``, of the kind ``kind`` or, where it is None, of the only kind that fits.

    Raises UserError where no kind or several kinds fit, or the experiment can't be read.
    """
    check_exists(place, "file or folder")
    if kind is not None:
        chosen = Kind(kind)
        if place.is_file() and chosen in _FOLDERS or place.is_dir() and chosen in _FILES:
            raise UserError(
                f"{place} is a {'file' if place.is_file() else 'folder'}, which --kind {kind} does not read"
            )
        return READERS[chosen](place)
    found = [kind_of_file(place)] if place.is_file() else kinds_below(place)
    kinds = [one for one in found if one is not None]
    if not kinds:
        raise UserError(f"{place} holds no trial of a kind that is known: {WHAT}{_files_in(place)}")
    if len(kinds) > 1:
        raise UserError(f"{place} holds {' and '.join(kinds)} results; say which with --kind")
    return READERS[kinds[0]](place)


def _files_in(place: Path) -> str:
    """Return a hint at the tables and databases in a folder, as the end of a sentence."""
    files = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else []
    names = [path.name for path in files if path.suffix.lower() in tables.SUFFIXES or mlflow_runs.is_database(path)]
    return f"; it holds {', '.join(names[:5])}: give the file" if names else ""


def kind_of_file(path: Path) -> Kind | None:
    """Return the kind of a file; None where it is of none."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return Kind.TABLE
    if suffix in tables.SUFFIXES:
        return Kind.WANDB if tables.is_wandb(tables.columns_of(path)) else Kind.TABLE
    if mlflow_runs.is_database(path):
        return Kind.MLFLOW
    return Kind.PEFT if suffix == ".json" and peft_results.is_result(path) else None


def kinds_below(folder: Path) -> list[Kind]:
    """Return the kinds of the experiments in a folder that are folders or many files, each kind once."""
    found: dict[Kind, None] = {}
    for place, files in files_below(folder):
        if ray_experiment.is_trial(files):
            found[Kind.RAY] = None
        if trainer.STATE in files:
            found[Kind.TRAINER] = None
        if mlflow_runs.is_run(place, files):
            found[Kind.MLFLOW] = None
        if any(name.endswith(".json") and peft_results.is_result(place / name) for name in files):
            found[Kind.PEFT] = None
    return list(found)
