"""python -m benchmarks NAME [--quick] [--json FILE]    one benchmark: ours against what users run today, as ratios"""

import importlib
import pkgutil
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

import benchmarks
from benchmarks.harness import Benchmark, record, write_record

BAD_INPUT = 2
NOT_BENCHMARKS = ("answers", "empty", "harness", "__main__", "peers", "small", "trial", "workers")


@dataclass(frozen=True)
class Arguments:
    """Run one benchmark and print its ratios."""

    name: Annotated[str, tyro.conf.Positional]
    """Which benchmark; a module of this folder with a function ``run``."""
    quick: bool = False
    """Small sizes: shows that it runs, and no more."""
    json: Path | None = None
    """File to write the ratios to, with hardware, versions and commit."""


def names() -> list[str]:
    """All benchmarks."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.ispkg)
    return sorted(name for name in found if name not in NOT_BENCHMARKS)


def main(arguments: list[str]) -> int:
    """Run one; 0 when done, 2 for a name that is none."""
    args = tyro.cli(Arguments, prog="python -m benchmarks", args=arguments)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if args.name not in names():
        near = get_close_matches(args.name, names(), n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(
            f"benchmarks: there is no benchmark {args.name!r}{hint} (there are {', '.join(names())})"
        )
        return BAD_INPUT
    run: Benchmark = importlib.import_module(f"benchmarks.{args.name}").run
    outcome = run(args.quick)
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
