"""The interfaces by which a run tells its progress. Commands pass in objects that show it."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tunekit.schema import Scalar, Status
from tunekit.search.outcome import ConfigurationOutcome
from tunekit.storage.paths import Place


class Progress(Protocol):
    """Shows a run; it is entered while Ray Tune runs."""

    def __enter__(self) -> Any:
        """Begin to show the run."""

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop showing the run."""

    def wait(self, what: str) -> None:
        """Say what the run waits for, as in "starting Ray", until it waits for something else or a trial begins."""

    def begin(self, *, at_a_time: int, dashboard: str | None, storage: Place, experiment: Path) -> None:
        """Ray runs, and ``at_a_time`` trials train at a time.

        ``dashboard`` is the address of Ray's dashboard, and ``experiment`` the folder of Ray Tune's own records.
        """

    def note(self, line: str) -> None:
        """Show a line that a person should read."""


class GridProgress(Progress, Protocol):
    """Shows the trials of a grid, each by its trial id."""

    def started(self, trial_id: str) -> None:
        """A trial has begun, or begun again, in an actor."""

    def epoch(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """A trial has trained an epoch; ``result`` has the fields of its record."""

    def ended(self, trial_id: str, status: Status) -> None:
        """A trial has ended."""


class SearchProgress(Progress, Protocol):
    """Shows the configurations of a search, each by its study's key and its number in the study."""

    def started(self, key: str, number: int, params: Mapping[str, Scalar]) -> None:
        """A configuration was suggested."""

    def epoch(self, key: str, number: int, result: Mapping[str, Any]) -> None:
        """All search seeds of a configuration have trained an epoch; ``result`` has their means."""

    def ended(self, key: str, number: int, outcome: ConfigurationOutcome, *, trained: bool) -> None:
        """A configuration has ended; ``trained`` is False if the store held its outcome already."""
