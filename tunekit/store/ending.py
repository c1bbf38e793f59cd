"""How a trial ended, in words: its status, and the epoch at which patience has stopped it."""

from collections.abc import Mapping
from typing import Any

from tunekit.schema import Status


def is_stopped_by_patience(settings: Mapping[str, Any], status: str | None, num_epochs: int | None) -> bool:
    """Return whether patience has stopped a trial: it has completed in fewer epochs than it was to train at most.

    ``settings`` are the fields of its spec by name, ``num_epochs`` is the number of epochs that it has trained.
    """
    if settings.get("patience") is None or status != Status.COMPLETED or num_epochs is None:
        return False
    return bool(num_epochs < settings["epochs"])


def ending(settings: Mapping[str, Any], status: str, num_epochs: int | None) -> str:
    """Return how a trial ended, such as ``completed, stopped by patience at epoch 3 of 10``."""
    if not is_stopped_by_patience(settings, status, num_epochs):
        return status
    return f"{status}, stopped by patience at epoch {num_epochs} of {settings['epochs']}"
