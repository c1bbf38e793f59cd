"""The grid's flags, as a typed dataclass; each field's docstring is its help text."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class GridArgs:
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
    batch_size: int | None = None
    """Training examples an optimizer step (default 32)."""
    epochs: int | None = None
    """Passes over the training data (default 10)."""
    max_length: int | None = None
    """Tokens a text is cut to (default 512)."""
    weight_decay: float | None = None
    """AdamW weight decay (default 0)."""
    warmup_ratio: float | None = None
    """Share of steps with rising learning rate (default 0)."""
    precision: str | None = None
    """fp32 (default) or bf16, where the device computes it."""
    train_limit: int | None = None
    """Train on a stratified part of this many rows."""
    val_fraction: float | None = None
    """Carve this share of train out as validation, for datasets without a dev part."""
    data_seed: int | None = None
    """Draws --train-limit and --val-fraction (default 0)."""
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
    """Trials that share a GPU, a number or auto (one)."""
    retry_failed: bool = False
    """Run failed trials again too."""
    yes: bool = False
    """Start even where the estimate is over 12 hours."""
