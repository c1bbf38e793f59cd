"""How a sweep is run. No option here can change a trial's numbers beyond their last digits."""

from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

import tyro

KeepModels = Literal["none", "last", "best", "all"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a sweep is run, on one machine or on a cluster."""

    max_concurrent: int | None = None
    """The number of trials that run at a time (default: as many as there is room for)."""
    cpus_per_trial: int = 1
    """Processor cores, and torch threads, of a trial."""
    trials_per_device: str = "auto"
    """The number of trials that share a GPU as one pack; auto takes as many as the predicted memory leaves room for."""
    pack: int | None = None
    """Train packs of this many trials in one process, on any device (default: only where trials share a GPU)."""
    track: tuple[str, ...] = ()
    """Show trials in tensorboard, mlflow or wandb too; several may be named (default: none)."""
    keep_models: Annotated[KeepModels | None, tyro.conf.arg(metavar="none|last|best|all")] = None
    """Keep a trial's weights for `tunekit export`: those of its last epoch, of its best epoch on validation, or of all
    epochs (default: the preset's; best for the preset demo, else none)."""
    retry_failed: bool = False
    """Run failed trials again too (of a search: failed confirming trials)."""

    def run_options(self, keep_models: KeepModels = "none") -> "RunOptions":
        """Return these options alone; ``keep_models`` is taken where none was given."""
        options = RunOptions(**{item.name: getattr(self, item.name) for item in fields(RunOptions)})
        return replace(options, keep_models=options.keep_models or keep_models)

    @property
    def kept(self) -> KeepModels:
        """Of which epochs a trial keeps weights."""
        return self.keep_models or "none"
