"""The grid's flags, as a typed dataclass; each field's docstring is its help text."""

from dataclasses import dataclass
from pathlib import Path

from tunekit.blocks import Settings


@dataclass(frozen=True, kw_only=True)
class GridArgs(Settings):
    """Train a grid of model x dataset x method x seed on Ray Tune and print its table.

    Running the same command again does what is missing and nothing else.
    """

    preset: str | None = None
    """Which built-in grid to run (default: study)."""
    config: Path | None = None
    """YAML file with a list of blocks, in the place of a preset."""
    models: tuple[str, ...] | None = None
    """Short names, hub ids or local folders; alone a filter, with --methods a new grid."""
    methods: tuple[str, ...] | None = None
    """Fine-tuning methods; alone a filter, with --models a new grid."""
    datasets: tuple[str, ...] | None = None
    """Datasets by name, or files and folders of your own."""
    seeds: tuple[int, ...] | None = None
    """Seeds of initialisation, order and dropout."""
    learning_rate: tuple[str, ...] = ()
    """X for all methods, or METHOD=X ..."""
    method_params: tuple[str, ...] = ()
    """METHOD.NAME=VALUE ..., as in lora.r=16."""
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
    storage: Path = Path("ray_results")
    """Folder of sweeps; records go to STORAGE/SWEEP."""
    dry_run: bool = False
    """Print the plan and stop."""
    json: bool = False
    """With --dry-run: print the plan as one JSON object and nothing else."""
    max_concurrent: int | None = None
    """Trials that run at a time (default: as many as there is room for)."""
    cpus_per_trial: int = 1
    """Processor cores, and torch threads, of a trial."""
    trials_per_device: str = "auto"
    """Trials that share a GPU, a number or auto: as many as the predicted memory leaves room for."""
    retry_failed: bool = False
    """Run failed trials again too."""
    yes: bool = False
    """Start even where the estimate is over 12 hours."""
