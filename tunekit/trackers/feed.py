"""Feeds trackers from the store, each in a thread of its own, so that one that is down neither fails nor slows a trial.

What waits is a set of trials, not of events: it is as bounded as the sweep is, and one sync sends all that is missing.
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

from tunekit.schema import TrialSpec
from tunekit.storage.paths import Place, local_folder
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore
from tunekit.trackers.available import maker_of
from tunekit.trackers.tracker import Tracker

R = TypeVar("R")
CLOSE_SECONDS = 60.0
"""At the end of a run, a tracker that gets no trial done for so long is left behind."""
STOP_SECONDS = 1.0
"""The same where the run was broken off: who pressed Ctrl-C waits for no server."""
SECRET_NAMES = re.compile(r"(?i)key|token|password|secret")
"""Of environment variables whose values are never said."""


class TrackerFailed(Exception):
    """Whatever a tracker raised, as one line."""


def _attempt(work: Callable[[], R]) -> R:
    """Do ``work``, other people's code. Raises TrackerFailed where it raises anything."""
    try:
        return work()
    except Exception as error:
        raise TrackerFailed(reason_of(error)) from error


class Feed:
    """One tracker's thread, which begins with all that the store holds.

    ``note`` is told once that it fails, and at the end what it did not take.
    """

    def __init__(self, name: str, store: ResultStore, make: Callable[[], Tracker], note: Callable[[str], None]) -> None:
        self.name, self.store, self.make, self.note = name, store, make, note
        self._waiting: dict[str, TrialSpec] = {}
        self._failed: dict[str, TrialSpec] = {}
        self._changed = threading.Condition()
        self._closing = self._done = self._warned = False
        self._moved = time.monotonic()
        threading.Thread(target=self._work, name=f"tunekit-{name}", daemon=True).start()

    def touch(self, specs: Iterable[TrialSpec]) -> None:
        """The records of these trials have changed. Returns at once."""
        with self._changed:
            self._waiting |= {spec.trial_id: spec for spec in specs}
            self._changed.notify_all()

    def finish(self) -> None:
        """No more comes: it is to end when it has sent what waits, what failed before with it. Returns at once."""
        with self._changed:
            self._waiting |= self._failed
            self._closing, self._moved = True, time.monotonic()
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait for its end until it has got no trial done for ``seconds``; say what it did not send."""
        with self._changed:
            while not self._done and (left := self._moved + seconds - time.monotonic()) > 0:
                self._changed.wait(left)
            missing = len(self._waiting | self._failed)
        if missing or not self._done:
            self.note(f"{self.name}: {max(1, missing)} trials are not tracked in full; the same command sends the rest")

    def _work(self) -> None:
        tracker: Tracker | None = None
        try:
            self.touch(trial.spec for trial in self.store.trials()[0] if trial.folder.name == trial.spec.folder)
        except OSError as error:
            self._warn(error)  # of the trials that this run trains it is told
        while (spec := self._next()) is not None:
            try:
                if tracker is None:
                    tracker = _attempt(self.make)
                    self._moved = time.monotonic()
                trial = self.store.read(self.store.folder(spec))
                _attempt(partial(tracker.sync, trial))
            except DamagedRecord:
                self._settle(spec, failed=False)  # nothing is on record yet; of damage, readers of the store speak
            except (TrackerFailed, OSError) as error:
                self._warn(error)
                self._settle(spec, failed=True)
            else:
                self._settle(spec, failed=False)
        try:
            if tracker is not None:
                _attempt(tracker.close)
        except TrackerFailed as error:
            self._warn(error)
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def _next(self) -> TrialSpec | None:
        """The trial that has waited longest; None once the run is over and none waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            trial_id, spec = next(iter(self._waiting.items()))
            del self._waiting[trial_id]
            self._failed[trial_id] = spec  # until it is done
            return spec

    def _settle(self, spec: TrialSpec, *, failed: bool) -> None:
        with self._changed:
            if not failed:
                self._failed.pop(spec.trial_id, None)
            self._moved = time.monotonic()
            self._changed.notify_all()

    def _warn(self, error: TrackerFailed | OSError) -> None:
        if not self._warned:
            self._warned = True
            self.note(f"{self.name}: {error}; trials go on, and what is missing is tried again")


def reason_of(error: Exception) -> str:
    """The type and first line of ``error``, without what the environment keeps secret and without logins in URLs."""
    text = (str(error).strip().splitlines() or [""])[0]
    for name, value in os.environ.items():
        if len(value) >= 4 and SECRET_NAMES.search(name):
            text = text.replace(value, "***")
    text = re.sub(r"//[^/@\s]*@", "//***@", text)
    return f"{type(error).__name__}: {text}"[:300]


def _folder_of(sweep: Place) -> Path:
    """Where trackers write: the sweep's own folder, for an object store one of its name on this machine."""
    if isinstance(sweep, Path):
        return sweep
    folder = local_folder(sweep) / sweep.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Feeds:
    """The trackers of a run; a context manager around it."""

    def __init__(self, names: Sequence[str], store: ResultStore, note: Callable[[str], None]) -> None:
        folder = _folder_of(store.root.resolve())
        if names and folder != store.root.resolve():
            note(f"trackers' files go to this machine, as they can't to an object store: {folder}")
        self._feeds = [Feed(name, store, maker_of(name, folder), note) for name in dict.fromkeys(names)]
        self._seen: dict[str, TrialSpec] = {}

    def __enter__(self) -> "Feeds":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Once more: a summary may have been written after the driver's last word on its trial.
        self.touch(list(self._seen.values()))
        for feed in self._feeds:
            feed.finish()
        for feed in self._feeds:
            feed.wait(CLOSE_SECONDS if kind is None else STOP_SECONDS)

    def touch(self, specs: Iterable[TrialSpec]) -> None:
        """The records of these trials have changed."""
        specs = list(specs)
        self._seen |= {spec.trial_id: spec for spec in specs}
        for feed in self._feeds:
            feed.touch(specs)
