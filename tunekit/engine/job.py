"""A trial as it is handed to whoever runs it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tunekit.models.loading import ModelRef
from tunekit.planning.plugins import Plugin
from tunekit.schema import Fingerprint, TrialSpec
from tunekit.storage.paths import Place


@dataclass(frozen=True)
class Job:
    """A spec with what its run needs beside it; none of this can change a number but by rounding and dropout draws."""

    spec: TrialSpec
    fingerprint: Fingerprint
    model: ModelRef
    sweep: Place
    start: int
    """Number of the driver's start; a later one stops this run."""
    threads: int
    device: str = "cpu"
    plugins: tuple[Plugin, ...] = ()
    """Whose methods, datasets and models the spec may name; active before it is built."""
    micro_batches: int = 1
    """Parts that a batch is trained in, one after another, where memory does not hold it; the step is of the whole."""
    keep_models: str = "none"
    """Of which epochs the trial keeps weights for export: none, last, best or all."""


def jobs_of(trial: Mapping[str, Any], bases: Mapping[str, Job]) -> list[Job]:
    """The jobs of a search's configuration, one a search seed; ``bases`` are by study, and their spec gives way."""
    return [replace(bases[trial["study"]], spec=TrialSpec.from_dict(values)) for values in trial["specs"]]
