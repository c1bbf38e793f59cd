"""One driver a sweep: a lease with host and pid, and a number for each start.

Each start of a driver is a file ``starts/<number>.json``, which is created exclusively. The start with the highest number
owns the sweep, and its driver renews the time of the file. Workers of an earlier start see the higher number and stop,
even if their driver was killed.

An object store has no exclusive create, so drivers that start at one moment hold an election. Each driver PUTs a
candidate, ``starts/<number>-<name>.json``, and then lists all candidates. A driver that finds its own candidate alone has
won. A driver that finds a candidate with a smaller name, or of a higher number, removes its own candidate and has lost.
The driver with the smallest name waits until the other candidates are gone.

The election is safe without a clock, on a store whose lists show every finished PUT (S3, Google Cloud Storage, MinIO,
Ceph). Suppose that two drivers have won. Both made their PUT before they listed, and a winner's candidate is not removed,
so the driver that listed later has seen the other one's candidate and can't have won.
"""

import json
import os
import platform
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tunekit.errors import UserError
from tunekit.storage.files import write_atomic
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place

WAIT_SECONDS = 0.2
WAITS = 50
"""A candidate that stays this many waits is a killed driver's: it becomes free when it is as old as a dead lease."""


def number_of(path: Place) -> int:
    """The start's number; 0 for another file."""
    number = path.stem.partition("-")[0]
    return int(number) if number.isdigit() else 0


def newest_start(starts: Place) -> Place | None:
    """The file of the start, or the candidate, with the highest number; None where there is none."""
    found = [path for path in starts.glob("*.json") if number_of(path)]
    return max(found, key=lambda path: (number_of(path), path.name), default=None)


def elect(starts: ObjectPath, number: int, content: bytes) -> ObjectPath | None:
    """Stand for start ``number``; returns the object that then holds the lease, None where another has won.

    Raises OSError where the server can't be asked.
    """
    own = starts / f"{number}-{os.urandom(8).hex()}.json"
    try:
        own.write_bytes(content)
        for _ in range(WAITS):
            rivals = [path for path in starts.glob("*.json") if number_of(path) >= number and path != own]
            if not rivals:
                return own
            if any(number_of(path) > number or path.name < own.name for path in rivals):
                break
            time.sleep(WAIT_SECONDS)
    except OSError:
        own.unlink(missing_ok=True)
        raise
    own.unlink(missing_ok=True)
    return None


RENEW_SECONDS = 10
DEAD_SECONDS = 60


class Superseded(RuntimeError):
    """A later start owns the sweep; whoever sees this stops writing."""


def current_start(sweep: Place) -> int:
    """Number of the newest start of ``sweep``, 0 if there was none."""
    newest = newest_start(sweep / "starts")
    return number_of(newest) if newest else 0


def check_current(sweep: Place, start: int) -> None:
    """Raise Superseded if a start later than ``start`` owns ``sweep``."""
    newest = current_start(sweep)
    if newest > start:
        raise Superseded(f"start {newest} has taken over this sweep from start {start}")


@dataclass
class Lease:
    """A held lease; renews itself from a thread until ``release``."""

    sweep: Place
    start: int
    path: Place
    """The start's file."""
    taken_over: str | None
    """One line on the dead driver whose lease this one follows, if there was one."""

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="tunekit-lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                write_atomic(self.path, _content())
            except OSError:
                continue  # a full disk now may have room in 10 s; the lease outlives five misses

    def release(self) -> None:
        """Stop renewing and mark the lease as given back."""
        self._stop.set()
        self._thread.join()
        write_atomic(self.path, _content(released=True))


def acquire(sweep: Place) -> Lease:
    """Take the lease on ``sweep``. Raises UserError while another driver holds it, OSError on a bad disk or server."""
    folder = sweep / "starts"
    folder.mkdir(parents=True, exist_ok=True)
    newest = newest_start(folder)
    taken_over = None
    if newest:
        holder = _holder(newest)
        if not holder.get("released"):
            try:
                age = _age(newest)
            except FileNotFoundError as error:  # a candidate that has lost meanwhile
                raise _just_taken(sweep) from error
            who = _who(holder, age)
            if _alive(holder, age):
                raise UserError(f"sweep {sweep.name!r} is being run by another driver ({who}); stop it, or wait for it")
            taken_over = f"taking over the lease of a dead driver ({who})"
    start = number_of(newest) + 1 if newest else 1
    path = elect(folder, start, _content()) if isinstance(folder, ObjectPath) else _create(folder / f"{start}.json")
    if path is None:
        raise _just_taken(sweep)
    return Lease(sweep, start, path, taken_over)


def _just_taken(sweep: Place) -> UserError:
    return UserError(f"sweep {sweep.name!r} was taken by another driver this very moment; wait for it")


def _create(path: Path) -> Path | None:
    """Make the start's file; None where another driver has."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return None
    with os.fdopen(descriptor, "wb") as file:
        file.write(_content())
    return path


def holder_of(sweep: Place) -> tuple[bool, str]:
    """Whether a driver runs ``sweep``, and one line on it for people. Writes nothing."""
    path = newest_start(sweep / "starts")
    if path is None:
        return False, "none has run"
    try:
        holder, age = _holder(path), time.time() - path.stat().st_mtime
    except FileNotFoundError:  # a candidate that has lost since it was listed
        return holder_of(sweep)
    who = _who(holder, age)
    if holder.get("released"):
        return False, f"not running; last was {who}"
    running = _alive(holder, age)
    return running, f"{'running' if running else 'died'}, {who}"


def _content(*, released: bool = False) -> bytes:
    process = psutil.Process()
    holder = {
        "host": platform.node(),
        "pid": process.pid,
        "process_started": _started(process),
        "released": released,
    }
    return json.dumps(holder).encode()


def _started(process: psutil.Process) -> float:
    """Seconds from boot to the process's start: unlike a time of day, the same when the clock is set."""
    boot = psutil.boot_time()  # first: the process's own time is reckoned from what this has read last
    return process.create_time() - boot


def _holder(path: Place) -> dict[str, Any]:
    """What a lease says; nothing for one torn by a crash."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _age(path: Place) -> float:
    """Seconds since the lease was renewed, by its disk's or server's clock: those of hosts may differ or jump."""
    if isinstance(path, ObjectPath):
        probe = path.parent / f".clock-{os.urandom(8).hex()}"
        write_atomic(probe, b"")
        now = probe.stat().st_mtime
        probe.unlink()
        return now - path.stat().st_mtime
    with tempfile.TemporaryFile(dir=path.parent) as probe:
        return os.fstat(probe.fileno()).st_mtime - path.stat().st_mtime


def _alive(holder: dict[str, Any], age: float) -> bool:
    """Whether the driver still runs: by its process on this host, by its last renewal elsewhere."""
    if holder.get("host") == platform.node():
        try:
            process = psutil.Process(holder["pid"])
            same = abs(_started(process) - holder["process_started"]) < 1
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
    return age < DEAD_SECONDS


def _who(holder: dict[str, Any], age: float) -> str:
    return f"pid {holder.get('pid')} on {holder.get('host')}, last seen {max(0, age):.0f} s ago"
