"""The trackers that can be asked for: TensorBoard, MLflow and Weights & Biases. None is used unless it is asked for."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from tunekit.errors import UserError
from tunekit.trackers.tracker import Tracker

PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
"""The module that each tracker needs, by the name that --track takes."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise UserError on a name that is no tracker's, or whose package is missing."""
    for name in names:
        if name not in PACKAGES:
            raise UserError(f"unknown tracker {name!r}; there are {', '.join(PACKAGES)}")
        if find_spec(PACKAGES[name]) is None:
            raise UserError(
                f"--track {name} needs the package {PACKAGES[name]}, which is not installed: "
                'pip install -c constraints.txt -e ".[tracking]"'
            )


def maker_of(name: str, sweep: Path) -> Callable[[], Tracker]:
    """What makes the tracker ``name`` of the sweep in folder ``sweep``; called in its thread, for it imports."""

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
