"""Check the trackers that ``--track`` names, and make them."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.trackers.tracker import Tracker

PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
"""The module that each tracker needs, by the name of the tracker."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise UserError on a name that is not the name of a tracker, and on a tracker whose package is missing."""
    for name in names:
        if name not in PACKAGES:
            raise UserError(f"unknown tracker {name!r}{did_you_mean(name, PACKAGES)} (there are {', '.join(PACKAGES)})")
        if find_spec(PACKAGES[name]) is None:
            raise UserError(
                f"--track {name} needs the package {PACKAGES[name]}, which is not installed: "
                'pip install -c constraints.txt -e ".[tracking]"'
            )


def maker_of(name: str, sweep: Path) -> Callable[[], Tracker]:
    """Return a function that makes the tracker ``name`` for the sweep in the folder ``sweep``.

    The function imports the tracker's package, which takes seconds, so the thread of the tracker calls it.
    """

    def make() -> Tracker:
        if name == "tensorboard":
            from tunekit.trackers.tensorboard import TensorBoardTracker

            return TensorBoardTracker(sweep)
        if name == "mlflow":
            from tunekit.trackers.mlflow import MLflowTracker

            return MLflowTracker(sweep)
        from tunekit.trackers.wandb import WandbTracker

        return WandbTracker(sweep)

    return make
