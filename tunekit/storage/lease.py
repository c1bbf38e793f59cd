"""The lease that lets one driver at a time run a sweep.

A *driver* is the process that runs a sweep. Each start of a driver is a file ``starts/<number>.json``, which is created
exclusively. The start with the highest number owns the sweep, and its driver renews the time of the file. Workers of an
earlier start see the higher number and stop, even if their driver was killed.

An object store has no exclusive create, so drivers that start at the same moment hold an election. Each driver writes a
candidate, ``starts/<number>-<name>.json``, and then lists all candidates. A driver that finds its own candidate alone
has won. A driver that finds a candidate with a smaller name, or of a higher number, removes its own candidate and has
lost. The driver with the smallest name waits until the other candidates are gone.

The election is safe without a clock, on a store whose lists show every finished write (S3, Google Cloud Storage, MinIO,
Ceph). Suppose that two drivers have won. Both wrote their candidates before they listed, and a winner's candidate is
not removed, so the driver that listed later has seen the other candidate and can't have won.
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

RENEW_SECONDS = 10
"""A driver renews its lease this often."""
DEAD_SECONDS = 60
"""A lease that was not renewed for so long is that of a dead driver."""
WAIT_SECONDS = 0.2
"""The time between two lists of the candidates in an election."""
WAITS = 50
"""A driver gives up when another candidate is still there after so many lists. The driver of that candidate was killed,
and the sweep is free again after ``DEAD_SECONDS``."""


class Superseded(RuntimeError):
    """A later start owns the sweep; the process that sees this must stop writing."""


def start_number(path: Place) -> int:
    """Return the number of the start that ``path`` is the file of; 0 for any other file."""
    number = path.stem.partition("-")[0]
    return int(number) if number.isdigit() else 0


def newest_start(starts: Place) -> Place | None:
    """Return the file of the start or candidate with the highest number in the folder ``starts``; None without any."""
    found: list[Place] = [path for path in starts.glob("*.json") if start_number(path)]
    return max(found, key=lambda path: (start_number(path), path.name), default=None)


def elect(starts: ObjectPath, number: int, content: bytes) -> ObjectPath | None:
    """Be a candidate for start ``number``. Return the candidate's file, which then is the lease; None when it has lost.

    ``content`` is what the file holds. Raises OSError where the server can't be asked.
    """
    own = starts / f"{number}-{os.urandom(8).hex()}.json"
    try:
        own.write_bytes(content)
        for _ in range(WAITS):
            rivals = [path for path in starts.glob("*.json") if start_number(path) >= number and path != own]
            if not rivals:
                return own
            if any(start_number(path) > number or path.name < own.name for path in rivals):
                break
            time.sleep(WAIT_SECONDS)
    except OSError:
        own.unlink(missing_ok=True)
        raise
    own.unlink(missing_ok=True)
    return None


def current_start(sweep: Place) -> int:
    """Return the number of the newest start of ``sweep``, 0 where there was none."""
    newest = newest_start(sweep / "starts")
    return start_number(newest) if newest else 0


def check_current(sweep: Place, start: int) -> None:
    """Raise Superseded if a start later than ``start`` owns ``sweep``."""
    newest = current_start(sweep)
    if newest > start:
        raise Superseded(f"start {newest} has taken over this sweep from start {start}")


@dataclass
class Lease:
    """A lease that this process holds. A thread renews it until ``release``."""

    sweep: Place
    """The folder of the sweep."""
    start: int
    """The number of this start, from 1."""
    path: Place
    """The file of this start."""
    taken_over: str | None
    """A line on the dead driver that held the sweep before; None where the sweep was free."""

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="tunekit-lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                write_atomic(self.path, _lease_content())
            except OSError:
                continue  # a full disk may have room at the next try; the lease stays valid over five misses

    def release(self) -> None:
        """Stop the renewals and mark the lease as released, so that another driver can start at once."""
        self._stop.set()
        self._thread.join()
        write_atomic(self.path, _lease_content(released=True))


def acquire(sweep: Place) -> Lease:
    """Return the lease on ``sweep``, which is renewed from now on.

    Raises UserError while another driver holds it, and OSError where the disk or the server fails.
    """
    folder = sweep / "starts"
    folder.mkdir(parents=True, exist_ok=True)
    newest = newest_start(folder)
    taken_over = None
    if newest:
        holder = _read_lease(newest)
        if not holder.get("released"):
            try:
                age = _seconds_since_renewal(newest)
            except FileNotFoundError as error:  # it was a candidate, which has lost since it was listed
                raise _just_taken(sweep) from error
            who = _described(holder, age)
            if _is_alive(holder, age):
                raise UserError(f"sweep {sweep.name!r} is being run by another driver ({who}); stop it, or wait for it")
            taken_over = f"taking over the lease of a dead driver ({who})"
    start = start_number(newest) + 1 if newest else 1
    path: Place | None
    if isinstance(folder, ObjectPath):
        path = elect(folder, start, _lease_content())
    else:
        path = _create(folder / f"{start}.json")
    if path is None:
        raise _just_taken(sweep)
    return Lease(sweep, start, path, taken_over)


def _just_taken(sweep: Place) -> UserError:
    return UserError(f"another driver has started sweep {sweep.name!r} at this moment; wait for it")


def _create(path: Path) -> Path | None:
    """Create the file of a start and return its path; None where another driver has created it."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return None
    with os.fdopen(descriptor, "wb") as file:
        file.write(_lease_content())
    return path


def driver_status(sweep: Place) -> tuple[bool, str]:
    """Return whether a driver runs ``sweep``, and a line about the driver for people. Nothing is written."""
    path = newest_start(sweep / "starts")
    if path is None:
        return False, "none is recorded"
    try:
        holder, age = _read_lease(path), time.time() - path.stat().st_mtime
    except FileNotFoundError:  # it was a candidate, which has lost since it was listed
        return driver_status(sweep)
    who = _described(holder, age)
    if holder.get("released"):
        return False, f"not running; last was {who}"
    running = _is_alive(holder, age)
    return running, f"{'running' if running else 'died'}, {who}"


def _lease_content(*, released: bool = False) -> bytes:
    """Return the content of a lease of this process."""
    process = psutil.Process()
    holder = {
        "host": platform.node(),
        "pid": process.pid,
        "process_started": _started(process),
        "released": released,
    }
    return json.dumps(holder).encode()


def _started(process: psutil.Process) -> float:
    """Return the seconds from the machine's boot to the start of the process, which stay when the clock is set."""
    boot: float = psutil.boot_time()  # first, since create_time() adds the boot time that was read last
    return float(process.create_time()) - boot


def _read_lease(path: Place) -> dict[str, Any]:
    """Return the content of a lease; {} where a crash has left half of one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _seconds_since_renewal(path: Place) -> float:
    """Return the seconds since the lease was renewed, by the clock of its disk or server.

    The clocks of hosts may differ or jump, so a file is written to read the storage's clock.
    """
    if isinstance(path, ObjectPath):
        probe = path.parent / f".clock-{os.urandom(8).hex()}"
        write_atomic(probe, b"")
        now = float(probe.stat().st_mtime)
        probe.unlink()
        return now - float(path.stat().st_mtime)
    with tempfile.TemporaryFile(dir=path.parent) as file:
        return os.fstat(file.fileno()).st_mtime - path.stat().st_mtime


def _is_alive(holder: dict[str, Any], age: float) -> bool:
    """Return whether the driver still runs: by its process on this host, by the age of its lease on another host."""
    if holder.get("host") == platform.node():
        try:
            process = psutil.Process(holder["pid"])
            same = abs(_started(process) - float(holder["process_started"])) < 1
            return same and bool(process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
    return age < DEAD_SECONDS


def _described(holder: dict[str, Any], age: float) -> str:
    """Return the process, the host and the time of the last renewal, for people."""
    return f"pid {holder.get('pid')} on {holder.get('host')}, last seen {max(0, age):.0f} s ago"
