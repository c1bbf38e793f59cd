"""The commands' flags, as typed dataclasses; each field's docstring is its help text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunekit.planning.blocks import Settings

Keep = Literal["none", "last", "best", "all"]


@dataclass(frozen=True, kw_only=True)
class SweepArgs(Settings):
    """What the grid and the search have in common."""

    preset: str | None = None
    """Which built-in sweep to run (default: study)."""
    models: tuple[str, ...] | None = None
    """Short names, hub ids or local folders; alone a filter, with --methods a new grid."""
    methods: tuple[str, ...] | None = None
    """Fine-tuning methods; alone a filter, with --models a new grid."""
    datasets: tuple[str, ...] | None = None
    """Datasets by name, or files and folders of your own."""
    learning_rate: tuple[str, ...] = ()
    """X for all methods, or METHOD=X ..."""
    method_params: tuple[str, ...] = ()
    """METHOD.NAME=VALUE ..., as in lora.r=16."""
    plugin: tuple[Path, ...] = ()
    """Python files of your own that register methods, datasets or models (docs/methods.md)."""
    text_column: str = "text"
    """Column of your own data that holds the text."""
    pair_column: str | None = None
    """Column with a second text, if there is one."""
    label_column: str = "label"
    """Column with the class."""
    group_column: str | None = None
    """Column whose equal values must not be split between train and test."""
    sweep: str | None = None
    """Name of the sweep (default: the preset's, or the config file's)."""
    storage: str = "ray_results"
    """Folder of sweeps, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX; records go to STORAGE/SWEEP."""
    dry_run: bool = False
    """Print the plan and stop."""
    json: bool = False
    """With --dry-run: print the plan as one JSON object and nothing else."""
    max_concurrent: int | None = None
    """Trials that run at a time (default: as many as there is room for)."""
    cpus_per_trial: int = 1
    """Processor cores, and torch threads, of a trial."""
    trials_per_device: str = "auto"
    """Trials that share a GPU as one pack, a number or auto: as many as the predicted memory leaves room for."""
    pack: int | None = None
    """Train packs of so many trials in one process, on any device (default: only where trials share a GPU)."""
    track: tuple[str, ...] = ()
    """Show trials in tensorboard, mlflow or wandb too, one or more (default: none)."""
    keep_models: Keep = "none"
    """Weights that a trial keeps for `python -m tunekit export`: of its last epoch, its best on validation, or all."""
    retry_failed: bool = False
    """Run failed trials again too (of a search: failed confirming trials)."""
    yes: bool = False
    """Start even where the estimate is over 12 hours."""


@dataclass(frozen=True, kw_only=True)
class GridArgs(SweepArgs):
    """Train a grid of model x dataset x method x seed on Ray Tune and print its table.

    Running the same command again does what is missing and nothing else.
    """

    config: Path | None = None
    """YAML file with a list of blocks, in the place of a preset."""
    seeds: tuple[int, ...] | None = None
    """Seeds of initialisation, order and dropout."""


@dataclass(frozen=True, kw_only=True)
class SearchArgs(SweepArgs):
    """Search each method's hyperparameters with Optuna on Ray Tune, on validation only, and train the choice anew.

    One study for each model, dataset and method, all with the same number of trials; the default configuration is
    always the first. Running the same command again does what is missing and nothing else.
    """

    trials: int | None = None
    """Trials of each study in all, earlier runs counted (default: the preset's)."""
    space: Path | None = None
    """YAML file with ranges in the place of the methods' own."""
    seeds_per_trial: int = 1
    """Search seeds of each configuration, from 1001; the mean of their scores is what is searched on."""
    sampler: str = "tpe"
    """tpe, random or gp."""
    sampler_seed: int = 0
    """Draws the suggestions."""
    scheduler: str = "asha"
    """asha stops weak trials early, none trains them all to the end."""
    objective: str = "macro_f1"
    """macro_f1 or accuracy on validation; with ,num_trainable_params a Pareto front of both."""
    choose: str = "best"
    """What best.yaml holds: best, or 1se, the cheapest configuration within one standard error of it."""
    confirm_seeds: tuple[int, ...] | None = None
    """Fresh seeds that each study's best, 1se and default configurations are trained on, and scored on test."""
    optuna_storage: str | None = None
    """sqlite:///FILE or postgresql://USER@HOST/DATABASE instead of a journal in the sweep's folder."""
