"""The experiments that every reader of foreign files returns, and the reading of their files."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.parsing import strict_json

MAX_BYTES = 500_000_000
MAX_ROWS = 100_000
"""The most rows of one trial that are read."""


class Kind(StrEnum):
    """The kinds of experiments that are read."""

    RAY = "ray"
    """An experiment of Ray Tune: params.json and result.json in each trial's folder."""
    TRAINER = "trainer"
    """Output folders of transformers' Trainer, with a trainer_state.json."""
    MLFLOW = "mlflow"
    """MLflow's folder mlruns, or its SQLite database."""
    WANDB = "wandb"
    """The table of runs that Weights & Biases exports as CSV."""
    PEFT = "peft"
    """The JSON results of PEFT's method_comparison."""
    TABLE = "table"
    """A CSV or Parquet file with one row a run or an epoch."""


class Ended(StrEnum):
    """The ways in which a trial may have ended, as far as its source says."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    RUNNING = "unfinished"
    """It still runs, or was interrupted."""
    UNKNOWN = "unknown"
    """The source does not say."""


@dataclass(frozen=True)
class ForeignTrial:
    """One trial of a foreign experiment."""

    name: str
    """Its name in the experiment: a path below the experiment's folder, or the number of its row."""
    params: Mapping[str, Any]
    """Its configuration, nested keys joined by ``/``."""
    rows: Sequence[Mapping[str, Any]]
    """The values it reported, a row an iteration, nested keys joined by ``/``; a lost iteration is an empty row."""
    ended: Ended = Ended.UNKNOWN
    reason: str = "its source does not say how it ended"
    """The reason why it counts as ``ended``, as a clause."""
    error: str | None = None
    """The first line of the error that ended it; None where none did."""
    torn: tuple[str, ...] = ()
    """One line for each row that is lost or can't be read."""
    by_step: bool = False
    """Whether a row is a step of training: rows between two evaluations then make one epoch."""


@dataclass(frozen=True)
class Experiment:
    """All trials of a foreign experiment."""

    kind: Kind
    name: str
    trials: Sequence[ForeignTrial]
    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The keys that this kind uses for each meaning; the first that a trial has is taken."""
    prefixes: Mapping[str, str] = field(default_factory=dict)
    """The beginnings of result keys that mean a split, such as ``eval_`` for ``val_``."""
    ignored: tuple[str, ...] = ()
    """Patterns of keys that are no settings: names, places and times."""
    is_table: bool = False
    """Whether settings and results share one list of keys, so that each key is one or the other."""
    notes: tuple[str, ...] = ()
    """Lines about what the reader left out."""
    hint: str = ""
    """The end of a sentence on where a missing value may be found."""


PREFIXES = {
    f"{word}{sign}": f"{split}_"
    for word, split in (("eval", "val"), ("val", "val"), ("valid", "val"), ("test", "test"), ("predict", "test"))
    for sign in ("/", "_")
}
"""The splits that beginnings of the names of scores mean, as trackers and transformers' Trainer write them."""
MACHINERY = (
    "output_dir", "logging_dir", "run_name", "hub_*", "push_to_hub*", "report_to", "logging_*", "log_level*",
    "log_on_each_node", "save_*", "disable_tqdm", "dataloader_num_workers", "dataloader_p*", "local_rank",
    "overwrite_output_dir", "do_train", "do_eval", "do_predict", "ddp_*", "debug", "use_cpu", "no_cuda",
    "resume_from_checkpoint", "skip_memory_metrics", "_n_gpu", "_name_or_path", "eval_steps", "eval_delay",
    "eval_strategy", "evaluation_strategy", "transformers_version",
)  # fmt: skip
"""Arguments of transformers' Trainer that say where and when it writes, and change no training."""


def files_below(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder below ``folder``, itself included, by path, with the names of its files.

    Links are not followed.
    """
    for place, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        yield Path(place), sorted(files)


def read_text(path: Path) -> str:
    """Return the file's text; empty where there is none.

    Raises UserError where it can't be read, is a link or is larger than ``MAX_BYTES``.
    """
    check_file(path)
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def check_file(path: Path) -> None:
    """Raise UserError where ``path`` is a link or larger than ``MAX_BYTES``."""
    if path.is_symlink():
        raise UserError(f"{path} is a link, and links are not followed; copy the experiment with its files")
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES:,} bytes, which no such file should be")


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises UserError, which names the file, where it holds none."""
    try:
        content = strict_json(read_text(path), allow_nan=True)
    except ValueError as error:
        raise UserError(f"{path}: {error}; mend it, or move the trial away") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; mend it, or move the trial away")
    return content


def ended_by_word(word: str) -> Ended | None:
    """Return the end that a source's word for a state means; None for a word that is not known."""
    return _WORDS.get(word.strip().lower().replace(" ", "_").replace("-", "_"))


_WORDS = {
    **dict.fromkeys(
        ("completed", "complete", "finished", "success", "succeeded", "terminated", "done", "ok"), Ended.COMPLETED
    ),
    **dict.fromkeys(("failed", "failure", "fail", "error", "crashed", "killed", "canceled", "cancelled"), Ended.FAILED),
    **dict.fromkeys(("stopped", "pruned", "early_stopped"), Ended.STOPPED),
    **dict.fromkeys(
        ("", "unfinished", "running", "pending", "queued", "scheduled", "preempting", "preempted", "paused"),
        Ended.RUNNING,
    ),
    "diverged": Ended.DIVERGED,
    "out_of_memory": Ended.OUT_OF_MEMORY,
    "oom": Ended.OUT_OF_MEMORY,
}
