"""The lease that lets one driver at a time run a sweep.

A *driver* is the process that runs a sweep. Each start of a driver is a file ``starts/<number>.json``, which is created
exclusively: the file system or the object store's server lets one of many drivers create it. The start with the highest
number owns the sweep, and its driver renews the time of the file. Workers of an earlier start see the higher number and
stop, even if their driver was killed.
"""

import json
import os
import platform
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Any

import psutil

from tunekit.errors import UserError
from tunekit.parsing import how_many
from tunekit.storage.files import create, write_atomic
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place

RENEW_SECONDS = 10
"""A driver renews its lease this often."""
DEAD_SECONDS = 60
"""A driver on another host counts as dead once its lease was not renewed for this long."""


class Superseded(RuntimeError):
    """A later start owns the sweep; the process that sees this must stop writing."""


def start_number(path: Place) -> int:
    """Return the number of the start that ``path`` is the file of; 0 for any other file.

    In object stores, tunekit 0.1 called the file ``<number>-<name>.json``.
    """
    number = path.stem.partition("-")[0]
    return int(number) if number.isdigit() else 0


def newest_start(starts: Place) -> Place | None:
    """Return the file of the start with the highest number in the folder ``starts``; None without any."""
    found: list[Place] = [path for path in starts.glob("*.json") if start_number(path)]
    return max(found, key=lambda path: (start_number(path), path.name), default=None)


def current_start(sweep: Place) -> int:
    """Return the number of the newest start of ``sweep``, 0 where there was none."""
    newest = newest_start(sweep / "starts")
    return start_number(newest) if newest else 0


def check_current(sweep: Place, start: int) -> None:
    """Raise Superseded if a start later than ``start`` owns ``sweep``."""
    newest = current_start(sweep)
    if newest > start:
        raise Superseded(f"a later run of the command has taken over this sweep (start {newest}, this is {start})")


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
            age = _seconds_since_renewal(newest)
            who = _described(holder, age)
            if _is_alive(holder, age):
                raise UserError(f"sweep {sweep.name!r} is being run by another driver ({who}); stop it, or wait for it")
            taken_over = f"the last run of the command died without ending its sweep; this one takes over ({who})"
    start = start_number(newest) + 1 if newest else 1
    path = folder / f"{start}.json"
    if not create(path, _lease_content()):
        raise UserError(f"another driver has started sweep {sweep.name!r} at this moment; wait for it")
    return Lease(sweep, start, path, taken_over)


def driver_status(sweep: Place) -> tuple[bool, str]:
    """Return whether a driver runs ``sweep``, and a line about the driver for people. Nothing is written."""
    path = newest_start(sweep / "starts")
    if path is None:
        return False, "none was recorded, as in a copy or an import"
    holder, age = _read_lease(path), time.time() - path.stat().st_mtime
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
    return f"pid {holder.get('pid')} on {holder.get('host')}, last seen {_for_people(age)} ago"


def _for_people(seconds: float) -> str:
    """Return an age in the largest unit of which it has at least two: ``90 s``, ``2 minutes``, ``47 hours``."""
    for unit, noun in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * unit:
            return how_many(int(seconds // unit), noun)
    return f"{max(0.0, seconds):.0f} s"
