"""Run one benchmark: tunekit against what users run today, as ratios.

``python -m benchmarks NAME [--quick] [--stores SWEEP ...] [--json FILE]``
"""

import importlib
import pkgutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

import benchmarks
from benchmarks.harness import record, write_record
from tunekit.parsing import did_you_mean

BAD_INPUT = 2
NOT_BENCHMARKS = (
    "answers",
    "empty",
    "first_epoch",
    "harness",
    "__main__",
    "peers",
    "small",
    "trial",
    "whole_trial",
    "workers",
)


TAKES_STORES = "estimate"


@dataclass(frozen=True)
class Arguments:
    """Run one benchmark and print its ratios."""

    name: Annotated[str, tyro.conf.Positional]
    """The benchmark: a module of this folder with a function ``run``."""
    quick: bool = False
    """Take small sizes, which show only that the benchmark runs."""
    stores: tuple[Path, ...] = ()
    """Folders of sweeps that the benchmark `estimate` compares with, too."""
    json: Path | None = None
    """The file that the ratios are written to, with hardware, versions and commit."""


def names() -> list[str]:
    """Return the names of all benchmarks, sorted."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.ispkg)
    return sorted(name for name in found if name not in NOT_BENCHMARKS)


def main(arguments: list[str]) -> int:
    """Run one benchmark and return the exit code: 0 when it is done, 2 where there is no benchmark of that name."""
    args = tyro.cli(Arguments, prog="python -m benchmarks", args=arguments)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if args.name not in names():
        hint = did_you_mean(args.name, names())
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(
            f"benchmarks: there is no benchmark {args.name!r}{hint} (there are {', '.join(names())})"
        )
        return BAD_INPUT
    run = importlib.import_module(f"benchmarks.{args.name}").run
    outcome = run(args.quick, args.stores) if args.name == TAKES_STORES else run(args.quick)
    content = record(args.name, outcome)
    for key, ratio in outcome.ratios.items():
        console.print(f"{key}: {ratio.median:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})")
    for key, value in outcome.figures.items():
        console.print(f"{key}: {value}")
    if args.json is not None:
        write_record(args.json, content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
