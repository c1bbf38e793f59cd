"""Read from the store how far each trial of a sweep is. Any machine that sees the storage can do so at any time.

Do not confuse this with two other modules. ``tunekit.planning.plan`` decides, before a run, what is left to train.
``tunekit.commands.console`` counts the trials that its own driver runs, without reading the store.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tunekit.schema import Status, TrialSpec
from tunekit.storage.lease import current_start, driver_status
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place, snapshot, without_snapshot
from tunekit.store.ending import is_stopped_by_patience
from tunekit.store.eta import Pace, TrialKind, kind_of, remaining_seconds
from tunekit.store.existing import no_sweep
from tunekit.store.frames import stamp_of
from tunekit.store.records import DamagedRecord, ImportedSpec, StoredTrial
from tunekit.store.requests import cell_names, requested_specs
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import study_lines
from tunekit.store.trial_files import EPOCHS_FILE, LOG_FILE, SPEC_FILE
from tunekit.tasks import Metric, task_of

CLOCK_SECONDS = 60
"""How far the clock of a driver may be ahead of the clock of the storage."""


class ProgressState(StrEnum):
    """The state of one trial so far."""

    DONE = "done"
    """The trial has trained all its epochs."""
    RUNNING = "running"
    """A driver trains the trial now."""
    WAITING = "waiting"
    """The trial has not begun, or an earlier driver has begun it and the present one has not resumed it yet."""
    INTERRUPTED = "interrupted"
    """The trial has begun and not ended, and no driver runs."""
    STOPPED = "stopped"
    """A scheduler has stopped the trial."""
    DIVERGED = "diverged"
    """The loss has become infinite or not a number."""
    NO_MEMORY = "no memory"
    """The trial has run out of memory."""
    FAILED = "failed"
    """The trial has ended with another error."""
    STALE = "stale"
    """The store holds the trial only from other code, data or weights."""
    DAMAGED = "damaged"
    """The records of the trial can't be read."""


ENDS = {
    Status.COMPLETED: ProgressState.DONE,
    Status.STOPPED: ProgressState.STOPPED,
    Status.DIVERGED: ProgressState.DIVERGED,
    Status.OUT_OF_MEMORY: ProgressState.NO_MEMORY,
    Status.FAILED: ProgressState.FAILED,
}
"""The state of a trial whose summary has this status."""
BEGUN = (ProgressState.RUNNING, ProgressState.WAITING, ProgressState.INTERRUPTED)
"""The states in which some epochs may be on record while others are missing."""
OPEN = (*BEGUN, ProgressState.STALE)
"""The states in which epochs are left for a driver to train."""


@dataclass(frozen=True)
class TrialProgress:
    """How far one trial is."""

    spec: TrialSpec | ImportedSpec
    """The settings of the trial."""
    state: ProgressState
    """The state of the trial."""
    epochs: int = 0
    """The number of epochs on record."""
    score: float | None = None
    """The value of ``metric`` after the last epoch on record: on test, or on validation where test is not scored."""
    error: str | None = None
    """The first line of the error that ended the trial."""

    @property
    def metric(self) -> Metric:
        """The metric by which the trial's task chooses epochs."""
        return task_of(self.spec.dataset).chooses_by

    @property
    def by_patience(self) -> bool:
        """Whether patience has stopped the trial, which then is done in fewer epochs than it was to train at most."""
        done = Status.COMPLETED if self.state is ProgressState.DONE else None
        return is_stopped_by_patience(vars(self.spec), done, self.epochs)

    @property
    def text(self) -> str:
        """The progress as a short text: ``running 3/10 81.20`` is after epoch 3 of 10, with a score in its unit.

        ``done 3/10 (patience) 81.20`` is the text of a trial that patience has stopped.
        """
        parts = [self.state.value]
        if self.by_patience or (self.state in BEGUN and (self.epochs or self.state is ProgressState.RUNNING)):
            parts.append(f"{self.epochs}/{self.spec.epochs or '?'}")
        if self.by_patience:
            parts.append("(patience)")
        if self.score is not None:
            parts.append(self.metric.number(self.score))
        return " ".join(parts)


@dataclass(frozen=True)
class SweepProgress:
    """How far all trials of a sweep are."""

    name: str
    """The name of the sweep."""
    time: datetime
    """When the store was read, in UTC."""
    running: bool
    """Whether a driver runs."""
    driver: str
    """A line about the driver."""
    cells: dict[str, dict[int, TrialProgress]]
    """The trials that were asked for, by the name of the cell and the seed."""
    studies: tuple[str, ...]
    """A line for each study of a search."""
    notes: tuple[str, ...]
    """Lines about stale trials and damaged records."""
    eta_seconds: float | None
    """The estimated seconds until all trials are done; None where no driver runs or no epoch has ended."""

    @property
    def trials(self) -> list[TrialProgress]:
        """All trials, cell by cell."""
        return [trial for seeds in self.cells.values() for trial in seeds.values()]

    @property
    def seeds(self) -> list[int]:
        """The seeds of all trials, sorted, each once."""
        return sorted({seed for seeds in self.cells.values() for seed in seeds})

    @property
    def failures(self) -> list[str]:
        """A line for each trial that ended with an error."""
        return [f"{trial.spec.label}: {trial.state.value}: {trial.error}" for trial in self.trials if trial.error]

    @property
    def counts(self) -> dict[ProgressState, int]:
        """The number of trials in each state; states without a trial are left out."""
        states = [trial.state for trial in self.trials]
        return {state: states.count(state) for state in ProgressState if state in states}

    @property
    def is_over(self) -> bool:
        """Whether no driver runs and no epoch is left to train."""
        return not self.running and not any(trial.state in OPEN for trial in self.trials)


class ProgressReader:
    """Reads the progress of the sweep in the folder ``root``. A second reading reads only trials that have changed."""

    def __init__(self, root: Place) -> None:
        self.root, self.store = root, ResultStore(root)
        self._known: dict[str, tuple[int | None, StoredTrial | str]] = {}
        """The stamp of each trial, and its records or a line that says why they can't be read, by the folder's name."""

    def read(self) -> SweepProgress:
        """Return the progress at this moment. Raises UserError where the folder holds no sweep."""
        requests = self.store.requests()
        if not requests:
            raise no_sweep(self.root)
        specs = requested_specs(requests)
        running, driver = driver_status(self.root)
        driver_start = self._driver_start(requests) if running else None
        stored, damaged = self._trials()
        # The folder of a stale trial is named <folder>.<fingerprint>. Other names give names that no trial's folder
        # has.
        stale = {name.rpartition(".")[0] for name in stored if ".damaged" not in name}
        names = cell_names(specs)
        cells: dict[str, dict[int, TrialProgress]] = {name: {} for name in names.values()}
        for spec in specs:
            if spec.folder in stored:
                trial = _trial_progress(spec, stored[spec.folder], running, driver_start)
            elif spec.folder in damaged:
                trial = TrialProgress(spec, ProgressState.DAMAGED)
            elif spec.folder in stale:
                trial = TrialProgress(spec, ProgressState.STALE)
            else:
                trial = TrialProgress(spec, ProgressState.WAITING)
            cells[names[spec.cell]][spec.seed] = trial
        num_stale = sum(trial.folder.name != trial.spec.folder for trial in stored.values())
        notes = [f"damaged: {line}" for line in damaged.values()]
        if num_stale:
            notes.insert(0, f"{num_stale} stale trials of other code, data or weights are kept and left out")
        studies = self._studies(notes)
        eta = _eta(cells, list(stored.values())) if running else None
        return SweepProgress(
            self.root.resolve().name, datetime.now(UTC), running, driver, cells, studies, tuple(notes), eta
        )

    def _trials(self) -> tuple[dict[str, StoredTrial], dict[str, str]]:
        """Return the readable trials and a line for each damaged one, both by the names of their folders."""
        folders = {folder.name: folder for folder in self.store.folders()}
        stamps = {name: stamp_of(folder) for name, folder in folders.items()}
        known = {name: entry for name, entry in self._known.items() if name in stamps and entry[0] == stamps[name]}
        unread = [name for name in folders if name not in known]
        for name, trial in zip(unread, self.store.read_all(folders[name] for name in unread), strict=True):
            if isinstance(trial, StoredTrial):
                known[name] = (stamps[name], trial)
            elif without_snapshot(folders[name]).exists():  # if not, it was renamed after it was listed
                known[name] = (stamps[name], str(trial))
        self._known = known = {name: known[name] for name in folders if name in known}
        trials = {name: trial for name, (_, trial) in known.items() if isinstance(trial, StoredTrial)}
        return trials, {name: line for name, (_, line) in known.items() if isinstance(line, str)}

    def _driver_start(self, requests: Sequence[Mapping[str, Any]]) -> float | None:
        """Return when the driver of the newest start began to train, in seconds since 1970; None if it has not yet.

        This time is part of the name of Ray Tune's folder. A sweep in an object store has that folder on the driver's
        machine only. For such a sweep the time of the last request is returned, which the driver writes just before it
        begins to train.
        """
        if isinstance(self.root, ObjectPath):
            try:
                return datetime.fromisoformat(requests[-1]["time"]).timestamp()
            except (KeyError, TypeError, ValueError):
                return None
        start = current_start(self.root)
        times = []
        for folder in self.root.glob(f"ray/*-{start}"):
            try:
                time = datetime.strptime(folder.name.removesuffix(f"-{start}"), "%Y-%m-%dT%H-%M-%SZ")
            except ValueError:
                continue
            times.append(time.replace(tzinfo=UTC).timestamp())
        return min(times, default=None)

    def _studies(self, notes: list[str]) -> tuple[str, ...]:
        """Return a line for each study. If search.json is damaged, append a line to ``notes`` and return none."""
        try:
            return tuple(study_lines(self.store.search()))
        except DamagedRecord as error:
            notes.append(f"damaged: {error}")
            return ()


def _trial_progress(
    spec: TrialSpec | ImportedSpec, trial: StoredTrial, running: bool, driver_start: float | None
) -> TrialProgress:
    """Return how far a stored trial is.

    ``running`` says whether a driver runs, and ``driver_start`` when that driver began to train; None if it has not
    yet.
    """
    score = _watched_score(spec, trial) if trial.epochs else None
    if trial.summary:
        error = (trial.summary.error or "").splitlines()[:1]
        return TrialProgress(spec, ENDS[trial.summary.status], len(trial.epochs), score, error[0] if error else None)
    if not running:
        state = ProgressState.INTERRUPTED
    elif driver_start is not None and _last_write(trial.folder) >= driver_start - CLOCK_SECONDS:
        state = ProgressState.RUNNING
    else:
        state = ProgressState.WAITING
    return TrialProgress(spec, state, len(trial.epochs), score)


def _watched_score(spec: TrialSpec | ImportedSpec, trial: StoredTrial) -> float | None:
    """Return the last epoch's score by which people watch a trial; None where an imported trial lacks it."""
    return trial.epochs[-1].values().get(task_of(spec.dataset).watched(spec.score_test))


def _last_write(folder: Place) -> float:
    """Return when a trial last wrote its records or its log, in seconds since 1970 by the storage's clock."""
    times, folder = [], snapshot(folder)
    for name in (SPEC_FILE, EPOCHS_FILE, LOG_FILE):
        try:
            times.append((folder / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)


def _eta(cells: dict[str, dict[int, TrialProgress]], trials: Sequence[StoredTrial]) -> float | None:
    """Return the estimated seconds until the trials in ``cells`` are done, at the pace of all stored ``trials``."""
    paces: defaultdict[TrialKind, Pace] = defaultdict(Pace)
    for trial in trials:
        seconds = [record.epoch_seconds for record in trial.epochs if record.epoch_seconds is not None]
        pace = paces[kind_of(trial.spec)]
        pace.seconds += sum(seconds)
        pace.num_epochs += len(seconds)
    unfinished = [trial for seeds in cells.values() for trial in seeds.values() if trial.state in OPEN]
    for progress in unfinished:
        paces[kind_of(progress.spec)].epochs_left += (progress.spec.epochs or progress.epochs) - progress.epochs
    return remaining_seconds(paces, sum(progress.state is ProgressState.RUNNING for progress in unfinished))
