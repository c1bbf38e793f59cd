"""The feeds that send the records in the store to trackers. A tracker that is down neither fails nor slows a trial.

Each tracker has a thread of its own. Its queue holds trials, not events: it is never longer than the sweep, and one
call of ``sync`` sends everything that the tracker lacks of a trial.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tunekit.parsing import how_many
from tunekit.schema import TrialSpec
from tunekit.storage.paths import Place, local_folder
from tunekit.store.records import DamagedRecord, ImportedSpec
from tunekit.store.result_store import ResultStore
from tunekit.trackers.available import maker_of
from tunekit.trackers.tracker import Tracker

R = TypeVar("R")
Spec = TrialSpec | ImportedSpec
CLOSE_SECONDS = 60.0
"""The longest silence of a tracker that is waited for at the end of a run."""
STOP_SECONDS = 1.0
"""The same where the run was interrupted, since a user who pressed Ctrl-C should not wait for a server."""
SECRET_NAMES = re.compile(r"(?i)key|token|password|secret")
"""The names of environment variables whose values are never shown."""


class TrackerFailed(Exception):
    """A tracker has raised an error; the message is one line."""


def _attempt(work: Callable[[], R]) -> R:
    """Return ``work()``, which is code of another library. Raises TrackerFailed where it raises any error."""
    try:
        return work()
    except Exception as error:
        raise TrackerFailed(reason_of(error)) from error


class Feed:
    """The thread that feeds one tracker. It begins with all trials in the store.

    ``make`` makes the tracker. ``note`` is given a line when the tracker fails for the first time, and at the end a
    line about trials that it lacks.
    """

    def __init__(self, name: str, store: ResultStore, make: Callable[[], Tracker], note: Callable[[str], None]) -> None:
        self.name, self.store, self.make, self.note = name, store, make, note
        self._waiting: dict[str, Spec] = {}
        """The trials whose records have changed, by trial id."""
        self._unsent: dict[str, Spec] = {}
        """The trials that are being sent or could not be sent."""
        self._changed = threading.Condition()
        self._closing = self._done = self._warned = False
        self._last_answer = time.monotonic()
        threading.Thread(target=self._work, name=f"tunekit-{name}", daemon=True).start()

    def add(self, specs: Iterable[Spec]) -> None:
        """Queue trials whose records have changed. Returns at once."""
        with self._changed:
            self._waiting |= {spec.trial_id: spec for spec in specs}
            self._changed.notify_all()

    def finish(self) -> None:
        """Let the thread end after it has sent the queue, with the trials that failed before. Returns at once."""
        with self._changed:
            self._waiting |= self._unsent
            self._closing, self._last_answer = True, time.monotonic()
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait for the end of the thread, or until the tracker was silent for ``seconds``. Say what it lacks."""
        with self._changed:
            while not self._done and (left := self._last_answer + seconds - time.monotonic()) > 0:
                self._changed.wait(left)
            missing = len(self._waiting | self._unsent)
        if missing or not self._done:
            trials = how_many(max(1, missing), "trial")
            self.note(f"{self.name}: {trials} not tracked in full; the same command sends the rest")

    def _work(self) -> None:
        """Send trials until the run is over; this is the thread."""
        tracker: Tracker | None = None
        try:
            self.add(trial.spec for trial in self.store.trials()[0] if trial.folder.name == trial.spec.folder)
        except OSError as error:
            self._warn(error)  # the trials of this run are added while it lasts
        while (spec := self._next()) is not None:
            try:
                if tracker is None:
                    tracker = _attempt(self.make)
                    self._last_answer = time.monotonic()
                trial = self.store.read(self.store.folder(spec))
                _attempt(partial(tracker.sync, trial))
            except DamagedRecord:
                self._done_with(spec)  # it has no records yet, or damaged ones, which readers of the store report
            except (TrackerFailed, OSError) as error:
                self._warn(error)
                self._note_time()
            else:
                self._done_with(spec)
        try:
            if tracker is not None:
                _attempt(tracker.close)
        except TrackerFailed as error:
            self._warn(error)
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def _next(self) -> Spec | None:
        """Return the trial that has waited longest. Wait for one; return None once the run is over and none waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            trial_id, spec = next(iter(self._waiting.items()))
            del self._waiting[trial_id]
            self._unsent[trial_id] = spec
            return spec

    def _done_with(self, spec: Spec) -> None:
        """Note that the tracker has all records of a trial."""
        with self._changed:
            self._unsent.pop(spec.trial_id, None)
        self._note_time()

    def _note_time(self) -> None:
        """Note that the tracker has answered just now, so that ``wait`` goes on waiting."""
        with self._changed:
            self._last_answer = time.monotonic()
            self._changed.notify_all()

    def _warn(self, error: TrackerFailed | OSError) -> None:
        """Give ``note`` a line about the first error."""
        if not self._warned:
            self._warned = True
            self.note(f"{self.name}: {error}; trials go on, and what is missing is tried again")


def reason_of(error: Exception) -> str:
    """Return the type and the first line of ``error``, without secrets of the environment and logins in URLs."""
    text = (str(error).strip().splitlines() or [""])[0]
    for name, value in os.environ.items():
        if len(value) >= 4 and SECRET_NAMES.search(name):
            text = text.replace(value, "***")
    text = re.sub(r"//[^/@\s]*@", "//***@", text)
    return f"{type(error).__name__}: {text}"[:300]


def _folder_of(sweep: Place) -> Path:
    """Return the folder that trackers write to; for a sweep in an object store it is one on this machine."""
    if isinstance(sweep, Path):
        return sweep
    folder = local_folder(sweep) / sweep.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Feeds:
    """The feeds of all trackers of a run, as a context manager around the run."""

    def __init__(self, names: Sequence[str], store: ResultStore, note: Callable[[str], None]) -> None:
        folder = _folder_of(store.root.resolve())
        if names and folder != store.root.resolve():
            note(f"trackers write to this machine, since they can't write to an object store: {folder}")
        self._feeds = [Feed(name, store, maker_of(name, folder), note) for name in dict.fromkeys(names)]
        self._added: dict[str, Spec] = {}

    def __enter__(self) -> "Feeds":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # All trials are queued once more: a summary may have been written after the last change that was reported.
        self.add(list(self._added.values()))
        for feed in self._feeds:
            feed.finish()
        for feed in self._feeds:
            feed.wait(CLOSE_SECONDS if kind is None else STOP_SECONDS)

    def add(self, specs: Iterable[Spec]) -> None:
        """Queue trials whose records have changed, for all trackers."""
        specs = list(specs)
        self._added |= {spec.trial_id: spec for spec in specs}
        for feed in self._feeds:
            feed.add(specs)
