"""What a trial is given to run on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """None of this can change a number beyond its last digits."""

    cpus_per_trial: int = 1
    trials_per_device: int = 1
    """Trials that share one GPU."""
    max_concurrent: int | None = None
    pack: int | None = None
    """Trials that one process trains together, on a GPU or on the cores of one trial; None: those that share a GPU."""
    keep_models: str = "none"
    """Of which epochs a trial keeps weights for export: none, last, best or all."""
