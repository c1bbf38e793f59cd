"""Run one benchmark: tunekit against what users run today, as ratios.

``python -m benchmarks NAME [--quick] [--json FILE] [--stores SWEEP ...] [--stages STAGE ...] [--model MODEL]``
"""

import importlib
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

import benchmarks
from benchmarks.support.harness import Outcome, read_record, record, write_record
from benchmarks.support.stages import ERROR, Setting, Stage, chosen, run_stages
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.planning.provenance import unstamped

FAILED, BAD_INPUT = 1, 2
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
    stages: tuple[str, ...] = ()
    """The stages to run, of a benchmark that has stages (default: all of them)."""
    model: str = "minilm"
    """The small encoder of a benchmark that has stages: a registered name, or a folder with its weights."""


def names() -> list[str]:
    """Return the names of all benchmarks, sorted."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.ispkg)
    return sorted(name for name in found if name != "__main__")


def main(arguments: list[str]) -> int:
    """Run one benchmark and return the exit code.

    It is 0 when the benchmark is done, 1 where a stage did not end well, and 2 where the command asks for what there is
    not.
    """
    args = tyro.cli(Arguments, prog="python -m benchmarks", args=arguments)
    try:
        outcome = _run(args)
    except UserError as error:
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(f"benchmarks: {error}")
        return BAD_INPUT
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for key, ratio in outcome.ratios.items():
        console.print(f"{key}: {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")
    for key, value in outcome.figures.items():
        console.print(f"{key}: {value}")
    if args.json is not None:
        write_record(args.json, record(args.name, outcome))
    return FAILED if any(key.endswith(ERROR) for key in outcome.figures) else 0


def _run(args: Arguments) -> Outcome:
    """Return what the benchmark found. Raises UserError where there is no such benchmark or stage, or no GPU for it."""
    if args.name not in names():
        hint = did_you_mean(args.name, names())
        raise UserError(f"there is no benchmark {args.name!r}{hint} (there are {', '.join(names())})")
    module = importlib.import_module(f"benchmarks.{args.name}")
    stages: Mapping[str, Stage] | None = getattr(module, "STAGES", None)
    if stages is None:
        found: Outcome = module.run(args.quick, args.stores) if args.name == TAKES_STORES else module.run(args.quick)
        return found
    if args.json is not None and (line := unstamped()):
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(f"benchmarks: {line}")
    # What other stages gave, in an earlier call on the same machine and code, stays in the file.
    earlier = read_record(args.json, record(args.name, Outcome())) if args.json is not None else Outcome()

    def keep(found: Outcome) -> None:
        if args.json is not None:
            write_record(args.json, record(args.name, found))

    return run_stages(chosen(stages, args.stages), Setting(args.quick, args.model), earlier, keep)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
