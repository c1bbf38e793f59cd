"""The options of running a sweep. None of them changes a trial's numbers beyond their last digits."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, get_args

import tyro

from tunekit.errors import UserError
from tunekit.parsing import coerced, did_you_mean

KeepModels = Literal["none", "last", "best", "all"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a sweep is run, on one machine or on a cluster."""

    max_concurrent: int | None = None
    """The number of trials that train at a time (default: as many as there is room for)."""
    cpus_per_trial: int = 1
    """Processor cores, and torch threads, of a trial."""
    trials_per_device: Annotated[str, tyro.conf.arg(metavar="INT|auto")] = "auto"
    """The number of trials that share a GPU as one pack; auto takes, of those that memory has room for, the number that
    trains most trials an hour, which a probe of some seconds finds."""
    pack: int | None = None
    """Train packs of this many trials in one process, on any device (default: only where trials share a GPU)."""
    track: tuple[str, ...] = ()
    """Show trials in tensorboard, mlflow or wandb too; several may be named (default: none)."""
    keep_models: KeepModels | None = None
    """Keep a trial's weights for `tunekit export`: those of its last epoch, of its best epoch on validation, or of all
    epochs (default: the preset's; best for the preset demo, else none)."""
    retry_failed: bool = False
    """Run failed trials again too (of a search: failed confirming trials)."""

    def run_options(self, keep_models: KeepModels = "none") -> "RunOptions":
        """Return these options alone. ``keep_models`` is the value where none was given."""
        options = RunOptions(**{item.name: getattr(self, item.name) for item in fields(RunOptions)})
        return replace(options, keep_models=options.keep_models or keep_models)

    @property
    def kept(self) -> KeepModels:
        """The epochs whose weights a trial keeps."""
        return self.keep_models or "none"


_KINDS = {"max_concurrent": "int | None", "cpus_per_trial": "int", "pack": "int | None", "retry_failed": "bool"}
"""The types of the options that are plain numbers or truth values, as ``coerced`` takes them."""


def options_from(values: Mapping[str, Any]) -> RunOptions:
    """Return the options that a Python caller gives by name.

    ``track`` may be one name, and ``trials_per_device`` a whole number. Raises UserError on a name that is no option,
    and on a value of another type.
    """
    known = [item.name for item in fields(RunOptions)]
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known) or "."
            raise UserError(f"unknown option {name!r}{hint} The options are {', '.join(known)}")
    try:
        checked = {
            name: coerced(name, _KINDS[name], value) if name in _KINDS else value for name, value in values.items()
        }
    except ValueError as error:
        raise UserError(str(error)) from error
    track = checked.get("track", ())
    checked["track"] = (track,) if isinstance(track, str) else track
    if not isinstance(checked["track"], list | tuple) or not all(isinstance(one, str) for one in checked["track"]):
        raise UserError(f"track must be the name of a tracker or a tuple of names, got {track!r}")
    share = checked.get("trials_per_device", "auto")
    if not isinstance(share, int | str) or isinstance(share, bool):
        raise UserError(f"trials_per_device must be a whole number from 1 or 'auto', got {share!r}")
    keep = checked.get("keep_models")
    if keep not in (None, *get_args(KeepModels)):
        raise UserError(f"keep_models must be one of {', '.join(get_args(KeepModels))}, got {keep!r}")
    return RunOptions(**{**checked, "track": tuple(checked["track"]), "trials_per_device": str(share)})
