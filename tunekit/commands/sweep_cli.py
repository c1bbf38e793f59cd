"""The signatures of the commands on sweeps and models: run, search, status and so on.

Each docstring is the command's help. The modules that do the work are imported inside, so that help loads none of them.
"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from tunekit.commands.output import note, pasted, result
from tunekit.data.delimited import Quotes
from tunekit.parsing import check_exists, how_many
from tunekit.planning.args import STORAGE, Format, GridArgs, SearchArgs
from tunekit.planning.options import KeepModels
from tunekit.store.existing import existing_sweep
from tunekit.worker.libraries import load_libraries

Flat = tyro.conf.arg(name="")
"""An argument whose fields are flags of their own."""


def run(args: Annotated[GridArgs, Flat]) -> int:
    """Train a grid of model x dataset x method x seed on Ray Tune and print its table.

    Running the same command again does what is missing and nothing else.

    For example:

    tunekit run --preset demo

    tunekit run --models minilm --datasets reviews.csv --methods full lora --seeds 1 2 3

    tunekit run --config grid.yaml --dry-run
    """
    from tunekit.commands.grid import run_grid_command

    return run_grid_command(args)


def search(args: Annotated[SearchArgs, Flat]) -> int:
    """Search each method's hyperparameters with Optuna on Ray Tune, on validation only, and train the choice anew.

    There is one study for each model, dataset and method. All studies have the same number of trials, and the default
    configuration is always the first. Running the same command again does what is missing and nothing else.

    For example:

    tunekit search --preset demo

    tunekit search --models minilm --datasets restaurant --methods full lora --trials 12 --confirm-seeds 1 2 3

    tunekit run --config ray_results/search-demo/best.yaml
    """
    from tunekit.commands.search import run_search_command

    return run_search_command(args)


def status(
    sweep: tyro.conf.Positional[str], watch: bool = False, html: Path | None = None, format: Format = "text"
) -> int:
    """Show how far each trial of a sweep is, from its store alone; any machine that sees the storage can do that.

    For example:

    tunekit status ray_results/demo --watch

    tunekit status s3://BUCKET/PREFIX/demo --format json

    Args:
        sweep: The sweep's folder, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
        watch: Show it again and again until the sweep is over, or Ctrl-C.
        html: Write a page that refreshes itself; with --watch again and again.
        format: json prints one JSON object; with --watch one a line, whenever something changed.
    """
    root = existing_sweep(sweep)
    from tunekit.commands.status import show_status

    show_status(root, watch=watch, html=html, form=format)
    return 0


def doctor(
    config: tyro.conf.Positional[Path | None] = None,
    storage: str = STORAGE,
    keep_models: KeepModels = "none",
    plugin: tuple[Path, ...] = (),
) -> int:
    """Check storage, disk, versions, Ray, GPU, data and models; the exit code is 1 where there is a problem.

    For example:

    tunekit doctor

    tunekit doctor grid.yaml --storage s3://BUCKET/PREFIX

    Args:
        config: A YAML file of a grid, whose trials, data and models are then checked.
        storage: The folder of sweeps, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX.
        keep_models: The grid's flag of this name, since kept weights take disk.
        plugin: Python files that register what the grid names.
    """
    if config is not None:
        check_exists(config)
    from tunekit.commands.doctor import examine
    from tunekit.planning.plugins import load
    from tunekit.storage.paths import location

    load(plugin)

    sound = True
    for finding in examine(location(storage), config, keep_models):
        result(str(finding))
        sound &= finding.ok
    return 0 if sound else 1


def verify(
    sweep: tyro.conf.Positional[str], fraction: float = 0.05, seed: int = 0, plugin: tuple[Path, ...] = ()
) -> int:
    """Train a random part of the completed trials again and compare; the exit code is 1 where one differs.

    For example:

    tunekit verify ray_results/demo --fraction 0.2

    Args:
        sweep: The sweep's folder, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
        fraction: The share of the trials to train again; it is at least one trial.
        seed: The seed that draws the trials.
        plugin: Python files that register what the trials name.
    """
    root = existing_sweep(sweep)
    from tunekit.planning.plugins import load

    load(plugin)
    load_libraries()
    from tunekit.export.verify import verify as train_again

    return 0 if train_again(root, fraction, seed, result) else 1


def gc(sweep: tyro.conf.Positional[str], models: bool = False) -> int:
    """Remove checkpoints of ended trials and half-written files of killed processes.

    For example:

    tunekit gc ray_results/demo

    Args:
        sweep: The sweep's folder, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
        models: Remove the weights that ended trials keep for export, too.
    """
    root = existing_sweep(sweep)
    from tunekit.commands.gc import collect

    collect(root, result, models=models)
    return 0


def release(sweep: tyro.conf.Positional[str], to: Path) -> int:
    """Copy a finished sweep to a small folder for others to read: all records, and no weights, logs or texts.

    The copy is a sweep like any other: `tunekit report` and `tunekit.load` read it. It has the predictions of the last
    epoch, of the best on validation and of the best on test.

    For example:

    tunekit release ray_results/demo --to results/demo

    Args:
        sweep: The sweep's folder, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
        to: A new folder for the copy.
    """
    root = existing_sweep(sweep)
    from tunekit.store.release import release as write

    write(root, to.resolve(), result)
    return 0


def export(
    sweep: tyro.conf.Positional[str],
    to: Path,
    model: str,
    dataset: str,
    method: str,
    where: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...")] = (),
    seed: int | None = None,
    epoch: str = "best",
    merged: bool = False,
    train: bool = False,
    base_model: Path | None = None,
) -> int:
    """Write a trial's model as a folder that transformers, peft or adapters load, by default the best on validation.

    For example:

    tunekit export ray_results/demo --model minilm --dataset demo --method lora --to my-model

    Args:
        sweep: The sweep's folder, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
        to: A new folder for the model.
        model: The cell's model, as `tunekit status` shows it.
        dataset: The cell's dataset.
        method: The cell's method.
        where: Settings of the cell, as in learning_rate=0.001 r=16, where several have this model, dataset and method.
        seed: The trial's seed (default: the seed that is best on validation).
        epoch: best on validation, last, or a number.
        merged: Fold LoRA into the weights: one whole model.
        train: Where no weights were kept, train the trial again, compare it with its records, and export that.
        base_model: The pretrained model's folder, for a trial whose model was a local folder.
    """
    root = existing_sweep(sweep)
    from tunekit.export.which_trial import choose_trial

    chosen = choose_trial(root, {"model": model, "dataset": dataset, "method": method}, where, seed, epoch)
    load_libraries()  # a wrong name was refused above
    from tunekit.export.export import Request
    from tunekit.export.export import export as write

    write(chosen, root, Request(to, merged, train, base_model), result)
    return 0


def predict(
    model: tyro.conf.Positional[Path],
    file: tyro.conf.Positional[Path],
    text_column: str = "text",
    pair_column: str | None = None,
    separator: str | None = None,
    quotes: Quotes = "auto",
    out: Path | None = None,
) -> int:
    """Label the rows of a file with an exported model: CSV with row, label and the probability of each label.

    A model of another task writes its own columns, such as the tags of the words of each text.

    For example:

    tunekit predict my-model rows.csv --text-column aspect --pair-column sentence

    Args:
        model: The folder that `tunekit export` wrote.
        file: CSV, TSV, JSON Lines or Parquet, or .txt with a text a line; for tags of words .conll too.
        text_column: The column with the text (Restaurant: the aspect).
        pair_column: The column with the second text, for a model of pairs (Restaurant: the sentence; default: pair).
        separator: The character between the fields of a CSV file (default: found by the header, and said).
        quotes: How a CSV file uses quotes: auto refuses a quote that swallows rows, fields lets a field hold whole
            lines, and none takes a quote for a character like any other.
        out: A new file for the labels (default: standard output).
    """
    check_exists(model, "folder")
    check_exists(file)
    load_libraries()
    from tunekit.export.loading import load_exported, read_manifest
    from tunekit.export.predict import inputs, predictions, write_new
    from tunekit.tasks import TASKS

    manifest = read_manifest(model)
    takes_pairs, of_words = manifest.pairs, TASKS[manifest.task].of_words
    rows = inputs(
        file, text_column, pair_column, pairs=takes_pairs, of_words=of_words, separator=separator, quotes=quotes
    )
    for line in rows.notes:
        note(f"{file}: {line}")
    texts, *pairs = rows.values.values()
    parts = predictions(load_exported(model), texts, pairs[0] if takes_pairs else None)
    if out is None:
        for part in parts:
            sys.stdout.write(part)
    else:
        write_new(out, parts)
    note(f"{how_many(len(texts), 'prediction')} written to {'standard output' if out is None else pasted(out)}")
    return 0


def stamp() -> int:
    """Write commit and source hash into the tree, for copies without .git: before ray job submit or docker build.

    For example:

    tunekit stamp
    """
    from tunekit.planning.provenance import STAMP, write_stamp

    found = write_stamp()
    edited = ", with changes" if found["dirty"] else ""
    result(f"{STAMP}: commit {found['commit']}{edited}, source {found['source_hash']}")
    return 0
