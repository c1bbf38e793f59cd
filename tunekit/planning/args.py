"""The flags of `tunekit run` and `tunekit search`, as typed dataclasses; each field's docstring is its help text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from tunekit.data.delimited import Quotes
from tunekit.planning.blocks import Settings
from tunekit.planning.options import RunOptions

Format = Literal["text", "json"]
Sampler = Literal["tpe", "random", "gp"]
Scheduler = Literal["asha", "none"]
Choose = Literal["best", "1se"]
"""The role of the configuration in best.yaml: the best score, or the fewest parameters within one standard error."""
MOST_SEEDS = 10_000
"""The most seeds that one range may stand for. A longer range is taken for a typing error."""
STORAGE = "ray_results"
"""The folder of sweeps where no other is given."""


def parse_seeds(words: Sequence[str]) -> tuple[int, ...]:
    """Return the seeds of a command line: ``1 2 3``, ``1,2,3``, ``1-3``, or a mixture.

    Raises ValueError where a part is neither a whole number from 0 nor a range of at most ``MOST_SEEDS`` of them.
    """
    seeds: list[int] = []
    for part in (part for word in words for part in word.strip(",").split(",")):
        found = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", part.strip(), re.ASCII)
        if not found:
            raise ValueError(f"takes whole numbers from 0, as in 1 2 3, 1,2,3 or 1-3, got {part!r}")
        first, last = int(found[1]), int(found[2] or found[1])
        if not 0 <= last - first < MOST_SEEDS:
            raise ValueError(f"takes ranges of 1 to {MOST_SEEDS:,} seeds from low to high, got {part!r}")
        seeds += range(first, last + 1)
    return tuple(seeds)


Seeds = Annotated[
    tuple[int, ...],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="INT ...",
        instance_from_str=parse_seeds,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda seeds: [str(seed) for seed in seeds],
    ),
]
"""Seeds as a flag."""


@dataclass(frozen=True, kw_only=True)
class DataColumns:
    """The columns and the format of a user's own files; a config file gives them for each file (docs/data.md)."""

    text_column: str | None = None
    """The column of your own data that holds the text (default: text)."""
    pair_column: str | None = None
    """The column that holds a second text, if there is one."""
    label_column: tuple[str, ...] | None = None
    """The column that holds the class, or the number of a regression (default: label). Several columns of 0 and 1 give
    several labels a text."""
    label_separator: str | None = None
    """The character between the labels of a text where one column of texts holds several; lists need none."""
    task: str | None = None
    """What trials on your own data learn: classification, regression of a number, multi_label, or token_classification
    of words, whose file is CoNLL's (default: classification)."""
    primary_metric: str | None = None
    """The score by which epochs and configurations are chosen on your own data, such as accuracy or mcc, the Matthews
    correlation (default: the task's own, macro_f1 for classification)."""
    test_split: str | None = None
    """The split of your dataset of the hub that is the test part, where it is not called test; validation is then drawn
    from train, unless there is such a split."""
    group_column: str | None = None
    """A column whose equal values must not be split between train and test."""
    separator: str | None = None
    """The character between the fields of CSV files (default: found by the header, and said)."""
    quotes: Quotes = "auto"
    """How CSV files use quotes: auto refuses a quote that swallows rows, fields lets a field hold whole lines, and none
    takes a quote for a character like any other."""
    skip_bad_rows: bool = False
    """Leave out the rows of your own data that can't be used, and count them, instead of refusing the data."""


@dataclass(frozen=True, kw_only=True)
class SweepArgs(RunOptions, DataColumns, Settings):
    """The flags that the grid and the search have in common."""

    preset: str | None = None
    """The built-in sweep to run (default: study)."""
    models: tuple[str, ...] | None = None
    """Models by short name, hub id or local folder; alone a filter of the sweep, with --methods a new grid."""
    methods: tuple[str, ...] | None = None
    """Fine-tuning methods; alone a filter of the sweep, with --models a new grid."""
    datasets: tuple[str, ...] | None = None
    """Datasets by name, files and folders of your own, or hf:ORG/NAME[/CONFIG][@REVISION]."""
    suite: str | None = None
    """A suite of datasets by its name, such as glue for its nine tasks; --datasets adds to it."""
    learning_rate: Annotated[tuple[str, ...], tyro.conf.arg(metavar="X|METHOD=X ...")] = ()
    """One learning rate for all methods, or one a method, as in full=2e-5 lora=1e-4 (default: each method's own)."""
    method_params: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD.NAME=VALUE ...")] = ()
    """Hyperparameters of methods, as in lora.r=16 (default: each method's own)."""
    plugin: tuple[Path, ...] = ()
    """Python files of your own that register methods, datasets or models (docs/methods.md)."""
    sweep: str | None = None
    """The sweep's name (default: the preset's or the config file's name; a grid of your own is named by what it
    holds)."""
    storage: str = STORAGE
    """The folder of sweeps, or s3://BUCKET/PREFIX, gs://..., az://CONTAINER/PREFIX; records go to STORAGE/SWEEP."""
    dry_run: bool = False
    """Print the plan and stop."""
    json: bool = False
    """With --dry-run: print the plan as one JSON object and nothing else."""
    format: Format = "text"
    """json prints the closing table as one JSON object, and with --dry-run the plan and what it costs."""
    yes: bool = False
    """Start even where the estimate is over 12 hours at its lower end."""


@dataclass(frozen=True, kw_only=True)
class GridArgs(SweepArgs):
    """Train a grid of model x dataset x method x seed on Ray Tune and print its table.

    Running the same command again does what is missing and nothing else.
    """

    config: Path | None = None
    """A YAML file with a list of blocks, instead of a preset. A search's best.yaml is such a file."""
    seeds: Seeds | None = None
    """Seeds of initialisation, order and dropout, as in 1 2 3, 1,2,3 or 1-3 (default: the sweep's own)."""


@dataclass(frozen=True, kw_only=True)
class SearchArgs(SweepArgs):
    """Search each method's hyperparameters with Optuna on Ray Tune, on validation only, and train the choice anew.

    There is one study for each model, dataset and method. All studies have the same number of trials, and the default
    configuration is always the first. Running the same command again does what is missing and nothing else.
    """

    trials: int | None = None
    """The number of trials of each study in all, earlier runs counted (default: the preset's)."""
    space: Path | None = None
    """A YAML file with ranges (default: each method's own)."""
    seeds_per_trial: int = 1
    """The number of search seeds of each configuration, from 1001; the search is on the mean of their scores."""
    sampler: Sampler = "tpe"
    """How configurations are suggested: by a tree of Parzen estimators, at random, or by a Gaussian process."""
    sampler_seed: int = 0
    """The seed of the sampler's suggestions."""
    scheduler: Scheduler = "asha"
    """asha stops weak trials early, none trains all trials to the end."""
    objective: Annotated[str | None, tyro.conf.arg(metavar="SCORE[,num_trainable_params]")] = None
    """A score on validation, such as macro_f1 or accuracy, or pearson, spearman or rmse, which is minimised; with
    ,num_trainable_params a Pareto front of both (default: the score by which the data's task chooses: macro_f1 for
    classification, pearson for regression)."""
    choose: Choose = "best"
    """What best.yaml holds: the best configuration, or the cheapest within one standard error of the best (1se)."""
    confirm_seeds: Seeds | None = None
    """Fresh seeds that each study's best, 1se and default configurations are trained on, and scored on test, as in
    1 2 3, 1,2,3 or 1-3 (default: the preset's)."""
    optuna_storage: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """sqlite:///FILE or postgresql://USER@HOST/DATABASE (default: a journal in the sweep's folder)."""
