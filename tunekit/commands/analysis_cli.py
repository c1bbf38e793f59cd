"""The signatures of the commands that read stores: report, paper, published, audit, memory and import.

Each docstring is the command's help. The modules that do the work are imported inside, so that help loads none of them.
"""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from tunekit.errors import UserError
from tunekit.parsing import check_exists
from tunekit.planning.args import Format
from tunekit.store.existing import existing_sweep

Figures = tuple[Literal["svg", "pdf", "png", "none"], ...]


def report(
    sweeps: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SWEEP ...")],
    out: Path,
    select: Literal["last", "best-val", "best-test"] = "last",
    metric: tuple[str, ...] = (),
    against: Literal["published"] | None = None,
    missing: Literal["majority"] | None = None,
    equivalence: float | None = None,
    paired: bool = False,
    claims: Path | None = None,
    figures: Figures = ("svg", "pdf"),
    format: Format = "text",
) -> int:
    """Write tables, figures, comparisons, claims and a report of one or more sweeps.

    For example:

    tunekit report ray_results/demo --out paper

    tunekit report ray_results/demo ray_results/search-demo --out paper --select best-val

    Args:
        sweeps: Folders of sweeps, such as ray_results/demo or s3://BUCKET/PREFIX/demo.
        out: The folder to write to.
        select: The epoch whose scores count: the last, the best on validation, or the best on test, which is too high.
        metric: Scores of the data's task (default: those that it reports, for classification accuracy and macro_f1), or
            from stored predictions of classes mcc, weighted_f1, per_class_f1.
        against: Put the study's published value and the difference beside each cell.
        missing: Count failed and diverged trials with the score of the majority class, so that their cells take part.
        equivalence: A margin in points for "equal": adds two one-sided tests to each comparison.
        paired: Add tests seed by seed of rows that share their initialisation, with the correlation of the seeds.
        claims: A YAML file of claims to check (default: the nine claims of the study).
        figures: The formats of the figures' files, one or several of svg, pdf and png. The page shows figures as SVG in
            each case; none draws no figures.
        format: json prints the tables as one JSON object; the files are written in any case.
    """
    if not sweeps:
        raise UserError("missing SWEEP (tunekit report --help lists the flags)")
    for sweep in sweeps:
        existing_sweep(sweep)
    formats = _formats(figures)
    from analysis.report.report import Choices
    from tunekit.commands.analyse import write_sweeps

    choices = Choices(
        select=select,
        metrics=metric,
        published=against is not None,
        fill=missing is not None,
        margin=None if equivalence is None else equivalence / 100,
        pair=paired,
        claims=claims,
        formats=formats,
    )
    write_sweeps(sweeps, out, choices, format)
    return 0


def _formats(figures: Figures) -> tuple[str, ...]:
    """Return the formats of figures that were asked for. Raises UserError where none is asked for beside others."""
    if not figures or ("none" in figures and len(figures) > 1):
        raise UserError("--figures takes none alone, or one or several of svg, pdf and png")
    return tuple(dict.fromkeys(name for name in figures if name != "none"))


def paper(paper: tyro.conf.Positional[Path], out: Path, figures: Figures = ("svg", "pdf"), check: bool = False) -> int:
    """Write a paper's tables, figures, numbers.tex and appendix.tex, as its YAML file asks for them.

    For example:

    tunekit paper paper.yaml --out paper

    tunekit paper paper.yaml --out paper --check

    Args:
        paper: The YAML file; analysis/paper/spec.py shows its form.
        out: The folder to write to.
        figures: The formats of the figures' files, one or several of svg, pdf and png, as for report. LaTeX takes the
            pdf, or the png where there is no pdf; none draws no figures. --check takes the formats that were written.
        check: Write nothing; exit with 1 where the stores, the YAML file or the written files have changed since.
    """
    check_exists(paper)
    formats = _formats(figures)
    from tunekit.commands.analyse import check_paper, write_paper

    return (check_paper if check else write_paper)(paper, out, formats)


def published(out: Path, format: Format = "text") -> int:
    """Write the study's Tables 1 to 4 from the register of published numbers, and its claims over them.

    For example:

    tunekit published --out published

    Args:
        out: The folder to write to.
        format: json prints the tables as one JSON object; the files are written in any case.
    """
    from tunekit.commands.published import write_published

    write_published(out, format)
    return 0


def audit(sweep: tyro.conf.Positional[str], format: Format = "text") -> int:
    """Print duplicates, conflicting labels, balance and trivial baselines of a sweep's datasets, and clean scores.

    Clean scores are those of the test items whose text is not in train.

    For example:

    tunekit audit ray_results/demo

    Args:
        sweep: The sweep's folder, such as ray_results/demo or s3://BUCKET/PREFIX/demo.
        format: json prints the clean and the full scores as one JSON object.
    """
    existing_sweep(sweep)
    from tunekit.commands.analyse import print_audit

    print_audit(sweep, format)
    return 0


def memory(
    model: str = "roberta", measured: Path | None = None, out: Path | None = None, format: Format = "text"
) -> int:
    """Print the memory that training needs: by the study's formulas, by the closed form, and as measured.

    For example:

    tunekit memory --model bert

    tunekit memory --measured benchmarks/results/memory.json --out memory

    Args:
        model: A registered model, whose shape is taken.
        measured: The file that `python -m benchmarks memory --json FILE` wrote, as benchmarks/results/memory.json is.
        out: A folder to write a report with figures to; without it the text is printed.
        format: json prints one JSON object: a row for each method, batch and length, in bytes.
    """
    from tunekit.planning.model_names import check_registered

    check_registered(model)
    from tunekit.commands.analyse import show_memory

    show_memory(model, measured, out, format)
    return 0


def import_(
    place: tyro.conf.Positional[Path],
    out: Path,
    map: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
    kind: Literal["ray", "trainer", "mlflow", "wandb", "peft", "table"] | None = None,
    percent: bool = False,
) -> int:
    """Read the trials of another program as a store. Nothing is unpickled.

    It reads a Ray Tune experiment, output folders of transformers' Trainer, MLflow's mlruns or SQLite database, the
    table of runs that Weights & Biases exports as CSV, a CSV or Parquet file with a row a run or an epoch, and results
    of PEFT's method_comparison.

    For example:

    tunekit import ~/ray_results/my_experiment --map model=model_name dataset=task method:=full
    val_f1=eval/f1 test_f1=test/f1 --out imported

    tunekit import runs.csv --map seed=run split=part accuracy=acc --ignore 'time*' --out imported

    Args:
        place: The folder or file.
        out: The folder of the store; then: tunekit report STORE --out DIR.
        map: The meaning of keys, as NAME=KEY (nested keys: a/b), or NAME:=TEXT for one text for all trials. NAME is
            model, dataset, method, seed, a score with its split (test_accuracy, val_f1), train_loss, train_seconds,
            peak_memory_bytes and others. Keys that have such a name need no map; all other keys of a configuration are
            settings.
        ignore: Keys that are no settings, such as names and times; * stands for any characters, ? for one.
        kind: The kind of the folder or file (default: found from the files).
        percent: The scores are in percent.
    """
    from tunekit.commands.analyse import import_as_store

    import_as_store(place, map, ignore, kind, percent, out)
    return 0
