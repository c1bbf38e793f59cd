"""One driver a sweep."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from tunekit.errors import UserError
from tunekit.storage.lease import Superseded, acquire, check_current, current_start, driver_status


def test_a_held_lease_refuses_a_second_driver_and_a_released_one_does_not(place):
    lease = acquire(place)
    with pytest.raises(UserError, match="another driver"):
        acquire(place)
    assert driver_status(place)[0]
    lease.release()
    second = acquire(place)
    assert (second.start, second.taken_over) == (2, None)
    second.release()


KILLED = """
import os, sys
from tunekit.storage.lease import acquire
from tunekit.storage.paths import location
acquire(location(sys.argv[1]))
os._exit(9)
"""


@pytest.mark.slow
def test_a_killed_drivers_lease_is_taken_over_at_once(place):
    subprocess.run([sys.executable, "-c", KILLED, str(place)], check=False)
    lease = acquire(place)
    assert "died without ending its sweep" in lease.taken_over
    lease.release()


def test_a_killed_driver_that_nobody_reaped_is_dead_too(tmp_path):
    zombie = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)
    lease = acquire(tmp_path)
    assert "died without ending its sweep" in lease.taken_over
    lease.release()
    zombie.wait()


@pytest.mark.parametrize(
    ("age", "said"), [(90, "90 s"), (125, "2 minutes"), (3 * 3600, "3 hours"), (50 * 3600, "2 days")]
)
def test_how_long_a_driver_has_been_gone_is_said_in_a_unit_for_people(tmp_path, age, said):
    acquire(tmp_path).release()
    (path,) = (tmp_path / "starts").iterdir()
    os.utime(path, (time.time() - age,) * 2)
    running, line = driver_status(tmp_path)
    assert not running
    assert line.endswith(f", last seen {said} ago")


@pytest.mark.parametrize(("age", "alive"), [(5, True), (61, False)])
def test_another_hosts_lease_lives_for_a_minute(tmp_path, age, alive, monkeypatch):
    (tmp_path / "starts").mkdir()
    holder = {"host": "elsewhere", "pid": 1, "process_started": 0.0, "released": False}
    path = tmp_path / "starts" / "4.json"
    path.write_text(json.dumps(holder))
    os.utime(path, (time.time() - age,) * 2)
    monkeypatch.setattr("tunekit.storage.lease.time.time", lambda: 0.0)  # no host's own clock counts
    if alive:
        with pytest.raises(UserError, match="pid 1 on elsewhere"):
            acquire(tmp_path)
    else:
        lease = acquire(tmp_path)
        assert lease.start == 5
        lease.release()


def test_a_torn_lease_is_judged_by_its_age(tmp_path):
    (tmp_path / "starts").mkdir()
    (tmp_path / "starts" / "1.json").write_text("{")
    with pytest.raises(UserError, match="another driver"):
        acquire(tmp_path)


def test_an_older_start_is_told_to_stop(place):
    first = acquire(place)
    first.release()
    acquire(place).release()
    assert current_start(place) == 2
    check_current(place, 2)
    with pytest.raises(Superseded):
        check_current(place, first.start)
