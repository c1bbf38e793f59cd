"""``python -m tunekit COMMAND``: a sweep's state; a fit machine; trials checked again; space freed; models exported."""

import sys
from pathlib import Path

import tyro
from rich.console import Console

from tunekit.commands.shared import exit_code_of
from tunekit.parsing import plain
from tunekit.planning.args import Keep
from tunekit.storage.paths import location

STORAGE = "ray_results"


def status(sweep: tyro.conf.Positional[str], watch: bool = False, html: Path | None = None) -> int:
    """Show where each trial of a sweep stands, from its store alone; from any machine that sees the storage.

    Args:
        sweep: Folder of the sweep, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
        watch: Show it again and again until the sweep is over, or Ctrl-C.
        html: Write a page that refreshes itself; with --watch again and again.
    """
    from tunekit.commands.status import show

    show(location(sweep), watch=watch, html=html)
    return 0


def doctor(
    config: tyro.conf.Positional[Path | None] = None,
    storage: str = STORAGE,
    keep_models: Keep = "none",
    plugin: tuple[Path, ...] = (),
) -> int:
    """Check storage, disk, versions, Ray, GPU, data and models; exit code 1 where there is a problem.

    Args:
        config: YAML file of a grid; then its trials, data and models are what is checked.
        storage: Folder of sweeps, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX.
        keep_models: As the grid's flag: the weights it keeps take disk.
        plugin: Python files that register what the grid names.
    """
    from tunekit.commands.doctor import examine
    from tunekit.planning.plugins import load

    load(plugin)

    sound = True
    for finding in examine(location(storage), config, keep_models):
        _say(str(finding))
        sound &= finding.ok
    return 0 if sound else 1


def verify(
    sweep: tyro.conf.Positional[str], fraction: float = 0.05, seed: int = 0, plugin: tuple[Path, ...] = ()
) -> int:
    """Train a random part of the completed trials again and compare; exit code 1 where one differs.

    Args:
        sweep: Folder of the sweep, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
        fraction: Share of the trials to train again; at least one is.
        seed: Draws them.
        plugin: Python files that register what its trials name.
    """
    from tunekit.export.verify import verify as train_again  # torch: seconds that the other commands need not wait
    from tunekit.planning.plugins import load

    load(plugin)
    return 0 if train_again(location(sweep), fraction, seed, _say) else 1


def gc(sweep: tyro.conf.Positional[str], models: bool = False) -> int:
    """Remove checkpoints of ended trials and what killed processes left half written.

    Args:
        sweep: Folder of the sweep, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
        models: The weights that ended trials keep for export, too.
    """
    from tunekit.commands.gc import collect

    collect(location(sweep), _say, models=models)
    return 0


def export(
    sweep: tyro.conf.Positional[str],
    to: Path,
    model: str,
    dataset: str,
    method: str,
    where: tuple[str, ...] = (),
    seed: int | None = None,
    epoch: str = "best",
    merged: bool = False,
    train: bool = False,
    base_model: Path | None = None,
) -> int:
    """Write a trial's model as a folder that transformers, peft or adapters load: by default the best on validation.

    Args:
        sweep: Folder of the sweep, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
        to: New folder for the model.
        model: The cell's model, as `status` shows it.
        dataset: The cell's dataset.
        method: The cell's method.
        where: NAME=VALUE ..., where several cells have the same three, as in learning_rate=0.001 r=16.
        seed: The trial's seed, in the place of the best on validation.
        epoch: best on validation, last, or a number.
        merged: Fold LoRA into the weights: one whole model.
        train: Where no weights were kept, train the trial again, compare it with its records, and export that.
        base_model: The pretrained model's folder, of a trial whose model was a local one.
    """
    from tunekit.export.which_trial import choose_trial

    root = location(sweep)
    chosen = choose_trial(root, {"model": model, "dataset": dataset, "method": method}, where, seed, epoch)
    from tunekit.export.export import Request  # torch: seconds that a wrong name need not wait
    from tunekit.export.export import export as write

    write(chosen, root, Request(to, merged, train, base_model), _say)
    return 0


def predict(
    model: tyro.conf.Positional[Path],
    file: tyro.conf.Positional[Path],
    text_column: str = "text",
    pair_column: str | None = None,
    out: Path | None = None,
) -> int:
    """Label the rows of a file with an exported model: CSV with row, label and the probability of each label.

    Args:
        model: Folder that `export` wrote.
        file: CSV, JSON Lines or Parquet, or .txt with a text a line.
        text_column: Column with the text (Restaurant: the aspect).
        pair_column: Column with the second text, of a model of pairs (Restaurant: the sentence; default: pair).
        out: New file for the labels (default: standard output).
    """
    from tunekit.export.loading import load_exported, read_manifest
    from tunekit.export.predict import inputs, predictions, write_new

    texts, pairs = inputs(file, text_column, pair_column, pairs=read_manifest(model).pairs)
    parts = predictions(load_exported(model), texts, pairs)
    if out is None:
        for part in parts:
            sys.stdout.write(part)
    else:
        write_new(out, parts)
    return 0


def stamp() -> int:
    """Write commit and source hash into the tree, for copies without .git: before ray job submit or docker build."""
    from tunekit.planning.provenance import STAMP, write_stamp

    found = write_stamp()
    edited = ", with changes" if found["dirty"] else ""
    _say(f"{STAMP}: commit {found['commit']}{edited}, source {found['source_hash']}")
    return 0


def _say(line: str) -> None:
    Console(soft_wrap=True).print(plain(line), markup=False, highlight=False)


def main(arguments: list[str]) -> int:
    """Run one subcommand. Returns the exit code; 2 where the input is wrong."""
    commands = {
        "status": status, "doctor": doctor, "verify": verify, "gc": gc, "stamp": stamp, "export": export,
        "predict": predict,
    }  # fmt: skip
    return exit_code_of(
        lambda: tyro.extras.subcommand_cli_from_dict(commands, prog="python -m tunekit", args=arguments)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
