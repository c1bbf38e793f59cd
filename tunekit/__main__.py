"""``python -m tunekit status SWEEP``: a sweep's cells x seeds as a grid of states."""

import sys
from pathlib import Path

import tyro
from rich.console import Console

from tunekit.errors import UserError
from tunekit.status import status_table


def status(sweep: tyro.conf.Positional[Path]) -> int:
    """Show where each trial of a sweep stands, from its store alone.

    Args:
        sweep: Folder of the sweep, as in ray_results/demo.
    """
    table, lines = status_table(sweep)
    console = Console()
    console.print(table)
    for line in lines:
        console.print(line, markup=False, highlight=False)
    return 0


def main(arguments: list[str]) -> int:
    """Run one subcommand. Returns the exit code; 2 where the input is wrong."""
    try:
        return tyro.extras.subcommand_cli_from_dict({"status": status}, prog="python -m tunekit", args=arguments)
    except UserError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
