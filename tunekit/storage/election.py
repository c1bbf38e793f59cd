"""Which of several drivers that start at one moment gets a sweep on an object store, where no create is exclusive.

Each PUTs a candidate, ``<number>-<name>.json``, and then lists all. Who finds its own alone has won. Who finds another
with a smaller name, or of a higher number, removes its own and has lost; the smallest waits until the others have.

Safe without any clock, on a store whose lists show every finished PUT (S3, Google Cloud Storage, MinIO, Ceph): say two
have won. Both PUT before they listed, and a winner is not removed; so the one that listed later has seen the other.
"""

import os
import time

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


def stand(starts: ObjectPath, number: int, content: bytes) -> ObjectPath | None:
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
