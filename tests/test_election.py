"""Drivers that start at one moment on an object store: never two hold, and one does unless they disturb each other."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pytest

from tunekit.election import newest_start, number_of, stand
from tunekit.lease import acquire
from tunekit.storage import location

DRIVERS, TURNS = 5, 25


def test_never_two_drivers_hold_one_start(bucket):
    starts = location(f"{bucket}/sweep/starts")
    gate = threading.Barrier(DRIVERS)

    def drive(number: int):
        gate.wait()
        return stand(starts, number, b"{}")

    with ThreadPoolExecutor(DRIVERS) as drivers:
        for number in range(1, TURNS + 1):
            held = [one for one in drivers.map(lambda _, turn=number: drive(turn), range(DRIVERS)) if one]
            assert len(held) == 1
            assert newest_start(starts) == held[0]
            assert number_of(held[0]) == number
    assert len([path for path in starts.glob("*.json")]) == TURNS, "losers leave nothing behind"


class Scheduled:
    """One candidate's requests to a store that shows every finished PUT, each when ``turn`` says."""

    def __init__(self, objects: set[str], turn) -> None:
        self.objects, self.turn, self.key = objects, turn, PurePosixPath("starts")


@pytest.mark.parametrize("age", [5, 3600])
def test_a_candidate_that_a_killed_driver_left_is_no_winner_before_it_is_old(bucket, age, monkeypatch):
    sweep = location(f"{bucket}/sweep")
    (sweep / "starts" / f"1-{os.urandom(8).hex()}.json").write_bytes(b'{"host": "elsewhere", "pid": 1}')
    stat = type(sweep).stat
    if age > 60:
        import types

        def aged(path):
            found = stat(path)
            late = age if path.name.startswith(".clock") else 0
            return types.SimpleNamespace(st_mtime=found.st_mtime + late)

        monkeypatch.setattr(type(sweep), "stat", aged)
        lease = acquire(sweep)
        assert (lease.start, "dead driver" in lease.taken_over) == (2, True)
        lease.release()
    else:
        with pytest.raises(Exception, match="run by another driver"):
            acquire(sweep)
