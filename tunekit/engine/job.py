"""A trial as it is handed to the process that trains it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tunekit.models.loading import ModelRef
from tunekit.planning.plugins import Plugin
from tunekit.schema import Fingerprint, TrialSpec
from tunekit.storage.paths import Place


@dataclass(frozen=True)
class Job:
    """A spec with all else that its training needs.

    Nothing but the spec can change the trial's numbers, apart from rounding and, with ``micro_batches``, dropout.
    """

    spec: TrialSpec
    fingerprint: Fingerprint
    model: ModelRef
    """Where the spec's model is loaded from."""
    sweep: Place
    """The sweep's folder."""
    start: int
    """The number of the driver's start. A later start stops this run."""
    threads: int
    """The CPU threads that the trial may use."""
    device: str = "cpu"
    """The torch device that it trains on, cpu or cuda."""
    plugins: tuple[Plugin, ...] = ()
    """The plugins whose methods, datasets and models the spec may name; active before the trial is built."""
    micro_batches: int = 1
    """The number of parts in which a batch is trained, one after another, where memory can't hold it whole. The
    optimizer takes one step for all parts."""
    keep_models: str = "none"
    """The epochs whose weights the trial keeps for export: none, last, best or all."""
    runs_ahead: bool = False
    """Whether the next epoch trains while the last one is recorded. An epoch's result then can't end the trial."""


def jobs_of(trial: Mapping[str, Any], bases: Mapping[str, Job]) -> list[Job]:
    """Return the jobs of a search's configuration ``trial``, one for each search seed.

    ``bases`` holds, by a study's name, a job from which all fields but the spec are taken.
    """
    return [replace(bases[trial["study"]], spec=TrialSpec.from_dict(values)) for values in trial["specs"]]
