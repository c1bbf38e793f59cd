"""Drivers that start at one moment: never two hold a start, and one does."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tunekit.errors import UserError
from tunekit.storage.lease import Lease, acquire, newest_start
from tunekit.storage.paths import Place, location

pytestmark = pytest.mark.slow

DRIVERS = 5


def stand_at_once(sweep: Place, turns: int) -> None:
    gate = threading.Barrier(DRIVERS)

    def drive(sweep: Place) -> Lease | None:
        gate.wait()
        try:
            return acquire(sweep)
        except UserError:
            return None

    with ThreadPoolExecutor(DRIVERS) as drivers:
        for turn in range(turns):
            one = sweep / str(turn)
            (held,) = [lease for lease in drivers.map(drive, [one] * DRIVERS) if lease]
            assert (held.start, newest_start(one / "starts")) == (1, held.path)
            assert list((one / "starts").glob("*.json")) == [held.path], "losers leave nothing behind"
            held.release()


def test_never_two_drivers_hold_a_start_of_a_sweep_on_a_server(bucket):
    stand_at_once(location(bucket), 20)


def test_never_two_drivers_hold_one_of_many_starts(tmp_path):
    stand_at_once(tmp_path, 100)


@pytest.mark.parametrize("age", [5, 3600])
def test_a_killed_driver_of_an_earlier_release_is_one_of_a_dead_lease(age, bucket, monkeypatch):
    sweep = location(f"{bucket}/sweep")
    (sweep / "starts" / "1-0123456789abcdef.json").write_bytes(b'{"host": "elsewhere", "pid": 1}')
    stat = type(sweep).stat
    later = {True: age, False: 0}  # the server's clock, which is read off a new object
    monkeypatch.setattr(
        type(sweep),
        "stat",
        lambda path: SimpleNamespace(st_mtime=stat(path).st_mtime + later[path.name.startswith(".clock")]),
    )
    if age < 60:
        with pytest.raises(UserError, match="pid 1 on elsewhere"):
            acquire(sweep)
        return
    lease = acquire(sweep)
    assert (lease.start, "died without ending its sweep" in lease.taken_over) == (2, True)
    lease.release()
