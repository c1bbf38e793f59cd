"""``python -m tunekit COMMAND``: a sweep's state; whether a machine is fit; trials checked again; space freed."""

import sys
from pathlib import Path

import tyro
from rich.console import Console

from tunekit.command import guarded
from tunekit.status import status_table
from tunekit.storage import location
from tunekit.strict import plain

STORAGE = "ray_results"


def status(sweep: tyro.conf.Positional[str]) -> int:
    """Show where each trial of a sweep stands, from its store alone.

    Args:
        sweep: Folder of the sweep, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
    """
    table, lines = status_table(location(sweep))
    Console().print(table)
    for line in lines:
        _say(line)
    return 0


def doctor(config: tyro.conf.Positional[Path | None] = None, storage: str = STORAGE) -> int:
    """Check storage, disk, versions, Ray, GPU, data and models; exit code 1 where there is a problem.

    Args:
        config: YAML file of a grid; then its trials, data and models are what is checked.
        storage: Folder of sweeps, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX.
    """
    from tunekit.doctor import examine

    sound = True
    for finding in examine(location(storage), config):
        _say(str(finding))
        sound &= finding.ok
    return 0 if sound else 1


def verify(sweep: tyro.conf.Positional[str], fraction: float = 0.05, seed: int = 0) -> int:
    """Train a random part of the completed trials again and compare; exit code 1 where one differs.

    Args:
        sweep: Folder of the sweep, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
        fraction: Share of the trials to train again; at least one is.
        seed: Draws them.
    """
    from tunekit.verify import verify as train_again  # torch: seconds that the other commands need not wait

    return 0 if train_again(location(sweep), fraction, seed, _say) else 1


def gc(sweep: tyro.conf.Positional[str]) -> int:
    """Remove checkpoints of ended trials and what killed processes left half written.

    Args:
        sweep: Folder of the sweep, as in ray_results/demo or s3://BUCKET/PREFIX/demo.
    """
    from tunekit.gc import collect

    collect(location(sweep), _say)
    return 0


def _say(line: str) -> None:
    Console(soft_wrap=True).print(plain(line), markup=False, highlight=False)


def main(arguments: list[str]) -> int:
    """Run one subcommand. Returns the exit code; 2 where the input is wrong."""
    commands = {"status": status, "doctor": doctor, "verify": verify, "gc": gc}
    return guarded(lambda: tyro.extras.subcommand_cli_from_dict(commands, prog="python -m tunekit", args=arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
