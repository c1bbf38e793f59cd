"""Where a sweep stands, from its store alone: read by any machine that sees the storage, while others write it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tunekit.errors import UserError
from tunekit.schema import Status, TrialSpec, shown_metric
from tunekit.storage.lease import current_start, holder_of
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place, live, snapshot
from tunekit.store.eta import Pace, TrialKind, kind_of, remaining_seconds
from tunekit.store.frames import stamp_of
from tunekit.store.records import DamagedRecord, ImportedSpec, StoredTrial
from tunekit.store.requests import cell_names, requested_specs
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import Search, TrialState

CLOCK_SECONDS = 60
"""What a driver's clock may be ahead of the storage's."""


class ProgressState(StrEnum):
    """Where one trial stands."""

    DONE = "done"
    RUNNING = "running"
    WAITING = "waiting"
    """Not begun, or begun by a former start and not yet taken up again."""
    INTERRUPTED = "interrupted"
    """Begun and not ended, and no driver runs."""
    STOPPED = "stopped"
    DIVERGED = "diverged"
    NO_MEMORY = "no memory"
    FAILED = "failed"
    STALE = "stale"
    """On record only by other code, data or weights."""
    DAMAGED = "damaged"


ENDS = {
    Status.COMPLETED: ProgressState.DONE,
    Status.STOPPED: ProgressState.STOPPED,
    Status.DIVERGED: ProgressState.DIVERGED,
    Status.OUT_OF_MEMORY: ProgressState.NO_MEMORY,
    Status.FAILED: ProgressState.FAILED,
}
BEGUN = (ProgressState.RUNNING, ProgressState.WAITING, ProgressState.INTERRUPTED)
"""States in which epochs may be on record and others missing."""
OPEN = (*BEGUN, ProgressState.STALE)
"""States in which a driver has work to do."""


@dataclass(frozen=True)
class TrialProgress:
    """One trial."""

    spec: TrialSpec | ImportedSpec
    state: ProgressState
    epochs: int = 0
    """On record."""
    score: float | None = None
    """Macro-F1 in [0, 1] after its last epoch, on test, or on validation where test is sealed."""
    error: str | None = None

    @property
    def text(self) -> str:
        """For a cell of the grid: ``running 3/10 81.20``."""
        parts = [self.state.value]
        if self.state in BEGUN and (self.epochs or self.state is ProgressState.RUNNING):
            parts.append(f"{self.epochs}/{self.spec.epochs}")
        if self.score is not None:
            parts.append(f"{100 * self.score:.2f}")
        return " ".join(parts)


@dataclass(frozen=True)
class SweepProgress:
    """A whole sweep."""

    name: str
    time: datetime
    """When it was read, UTC."""
    running: bool
    """Whether a driver runs."""
    driver: str
    """One line on the driver."""
    cells: dict[str, dict[int, TrialProgress]]
    """By the cell's name and the seed."""
    studies: tuple[str, ...]
    """A line a study of a search."""
    notes: tuple[str, ...]
    """What is stale or damaged."""
    eta_seconds: float | None

    @property
    def trials(self) -> list[TrialProgress]:
        """All of them."""
        return [trial for seeds in self.cells.values() for trial in seeds.values()]

    @property
    def seeds(self) -> list[int]:
        """All of them, sorted."""
        return sorted({seed for seeds in self.cells.values() for seed in seeds})

    @property
    def failures(self) -> list[str]:
        """A line a trial that did not complete, with the first line of its error."""
        return [f"{one.spec.label}: {one.state.value}: {one.error}" for one in self.trials if one.error]

    @property
    def counts(self) -> dict[ProgressState, int]:
        """Trials by state, of the states that there are."""
        states = [trial.state for trial in self.trials]
        return {state: states.count(state) for state in ProgressState if state in states}

    @property
    def is_over(self) -> bool:
        """Whether no driver runs and none is needed."""
        return not self.running and not any(trial.state in OPEN for trial in self.trials)


class ProgressReader:
    """Reads the sweep at ``root`` again and again; what has not changed is read once."""

    def __init__(self, root: Place) -> None:
        self.root, self.store = root, ResultStore(root)
        self._known: dict[str, tuple[int | None, StoredTrial | str]] = {}

    def read(self) -> SweepProgress:
        """Where it stands now. Raises UserError where there is none."""
        requests = self.store.requests()
        if not requests:
            raise UserError(
                f"{self.root} holds no sweep (no sweep.json); give the folder that holds it, as in ray_results/demo"
            )
        specs = requested_specs(requests)
        running, driver = holder_of(self.root)
        since = self._driver_began(requests) if running else None
        found, damaged = self._trials()
        aside = {name.rpartition(".")[0] for name in found if ".damaged" not in name}
        names = cell_names(specs)
        cells: dict[str, dict[int, TrialProgress]] = {name: {} for name in names.values()}
        for spec in specs:
            if spec.folder in found:
                standing = self._standing(spec, found[spec.folder], running, since)
            else:
                lost = spec.folder in damaged
                state = (
                    ProgressState.DAMAGED
                    if lost
                    else ProgressState.STALE
                    if spec.folder in aside
                    else ProgressState.WAITING
                )
                standing = TrialProgress(spec, state)
            cells[names[spec.cell]][spec.seed] = standing
        own = sum(trial.folder.name == trial.spec.folder for trial in found.values())
        notes = [f"damaged: {line}" for line in damaged.values()]
        if len(found) > own:
            notes.insert(0, f"{len(found) - own} stale trials of other code, data or weights are kept and left out")
        studies = self._studies(notes)
        eta = _eta(cells, list(found.values())) if running else None
        return SweepProgress(
            self.root.resolve().name, datetime.now(UTC), running, driver, cells, studies, tuple(notes), eta
        )

    def _trials(self) -> tuple[dict[str, StoredTrial], dict[str, str]]:
        """Readable trials, and a line for each that is not, by the names of their folders."""
        folders = {folder.name: folder for folder in self.store.folders()}
        stamps = {name: stamp_of(folder) for name, folder in folders.items()}
        known = {name: one for name, one in self._known.items() if name in stamps and one[0] == stamps[name]}
        unread = [name for name in folders if name not in known]
        for name, trial in zip(unread, self.store.read_all(folders[name] for name in unread), strict=True):
            if isinstance(trial, StoredTrial):
                known[name] = (stamps[name], trial)
            elif live(folders[name]).exists():  # else it was set aside this very moment
                known[name] = (stamps[name], str(trial))
        self._known = known = {name: known[name] for name in folders if name in known}
        trials = {name: one for name, (_, one) in known.items() if isinstance(one, StoredTrial)}
        return trials, {name: one for name, (_, one) in known.items() if isinstance(one, str)}

    def _driver_began(self, requests: Sequence[Mapping[str, Any]]) -> float | None:
        """When the newest start's driver began to train, seconds since 1970; None before it did.

        Of a sweep on an object store, whose ray folder is its driver's own, when it wrote its request just before.
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

    def _standing(
        self, spec: TrialSpec | ImportedSpec, trial: StoredTrial, running: bool, since: float | None
    ) -> TrialProgress:
        score = None
        if trial.epochs:
            score = getattr(trial.epochs[-1], shown_metric(spec.score_test))
        if trial.summary:
            error = (trial.summary.error or "").splitlines()[:1]
            return TrialProgress(
                spec, ENDS[trial.summary.status], len(trial.epochs), score, error[0] if error else None
            )
        if not running:
            state = ProgressState.INTERRUPTED
        else:
            touched = since is not None and _touched(trial.folder) >= since - CLOCK_SECONDS
            state = ProgressState.RUNNING if touched else ProgressState.WAITING
        return TrialProgress(spec, state, len(trial.epochs), score)

    def _studies(self, notes: list[str]) -> tuple[str, ...]:
        try:
            return tuple(study_lines(self.store.search()))
        except DamagedRecord as error:
            notes.append(f"damaged: {error}")
            return ()


def _touched(folder: Place) -> float:
    """When a trial last wrote its records or its log, by the storage's clock."""
    times, folder = [], snapshot(folder)
    for name in ("spec.json", "epochs.jsonl", "log.txt"):
        try:
            times.append((folder / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)


def _eta(cells: dict[str, dict[int, TrialProgress]], trials: Sequence[StoredTrial]) -> float | None:
    paces: defaultdict[TrialKind, Pace] = defaultdict(Pace)
    for trial in trials:
        seconds = [record.epoch_seconds for record in trial.epochs if record.epoch_seconds is not None]
        pace = paces[kind_of(trial.spec)]
        pace.seconds += sum(seconds)
        pace.num_epochs += len(seconds)
    left = [one for seeds in cells.values() for one in seeds.values() if one.state in OPEN]
    for one in left:
        paces[kind_of(one.spec)].epochs_left += one.spec.epochs - one.epochs
    return remaining_seconds(paces, sum(one.state is ProgressState.RUNNING for one in left))


def study_lines(search: Search | None) -> list[str]:
    """A line a study of a search: its trials, and the best score so far."""
    lines = []
    for study in search.studies if search else ():
        best = max((one.values[0] for one in study.trials if one.values), default=None)
        score = "" if best is None else f", best {study.objectives[0]} on validation {100 * best:.2f} %"
        states = [one.state for one in study.trials]
        counts = [f"{states.count(state)} {state.value}" for state in TrialState if state in states]
        ended = f" ({', '.join(counts)})" if counts else ""
        where = f"{study.model} · {study.dataset} · {study.method}"
        lines.append(f"study {where}: {len(study.trials)} of {study.planned} trials ended{ended}{score}")
    return lines
