"""A disk that is full, odd paths, another locale, a clock that jumps."""

import os
import subprocess
import sys
import time
from itertools import count

import psutil
import pytest

from tests.conftest import ROOT
from tests.support.drivers import GRID, begin, compared, said, wait_for
from tests.support.runs import finish, numbers, plain_lines
from tests.support.trials import specify, start
from tunekit.errors import UserError
from tunekit.storage import lease
from tunekit.storage.lease import acquire
from tunekit.store.result_store import ResultStore

pytestmark = pytest.mark.slow

ONE = (*GRID, "--methods", "full", "--seeds", "1", "--epochs", "12", "--train-limit", "96")
PLAIN = {"LC_ALL": "C", "LANG": "C"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MB, where this user may mount one."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk):
    """Take all room that is left."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@pytest.mark.ray
@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_disk_that_is_full_for_a_while(small_disk, tmp_path, figures):
    store = ResultStore(small_disk / "demo")
    driver = begin(small_disk, *ONE)
    wait_for(lambda: '"event": "epoch"' in said(small_disk), driver)
    fill(small_disk)
    time.sleep(4)
    (small_disk / "ballast").unlink()
    code = driver.wait(timeout=240)
    if code:  # Tune's own writes met the full disk too; the same command goes on
        assert code == 1, said(small_disk)[-2000:]
        assert begin(small_disk, *ONE, "--retry-failed").wait(timeout=240) == 0, said(small_disk)[-2000:]
    assert "Traceback" not in said(small_disk)
    figures("full disk for 4 s", faults=1, **compared(store, tmp_path / "unbroken", 1))


def test_a_disk_that_is_full_from_the_start_is_refused(small_disk):
    fill(small_disk)
    left = subprocess.run(
        [sys.executable, *ONE, "--storage", str(small_disk / "x")], cwd=ROOT, capture_output=True, text=True
    )
    assert (left.returncode, len(plain_lines(left.stderr))) == (2, 1)
    assert "small disk" in left.stderr


@pytest.mark.ray
@pytest.mark.faults
@pytest.mark.timeout(600)
def test_spaces_unicode_and_a_plain_locale(tmp_path, figures):
    storage = tmp_path / "mes résultats 試験 $HOME;'x"
    assert begin(storage, *ONE, **PLAIN).wait(timeout=240) == 0, said(storage)[-2000:]
    compared(ResultStore(storage / "demo"), tmp_path / "unbroken", 1)
    for arguments in (["tunekit", "status"], ["analysis"]):
        out = ["--out", str(tmp_path / "out é")] if arguments == ["analysis"] else []
        command = [sys.executable, "-m", *arguments, str(storage / "demo"), *out]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, env=os.environ | PLAIN)
        assert (run.returncode, b"Traceback" in run.stderr) == (0, False), run.stderr
    figures("spaces, unicode, LC_ALL=C", faults=1, missing=0, duplicate=0, differing=0)


def test_a_clock_that_jumps_moves_no_record(tmp_path, monkeypatch):
    whole = start(specify(), tmp_path / "unbroken")
    finish(whole)
    jumps = count()
    monkeypatch.setattr(time, "time", lambda: (-1) ** next(jumps) * 1e9)
    run = start(specify(), tmp_path / "jumps")
    finish(run)
    assert numbers(run.records) == numbers(whole.records)
    assert all(record.epoch_seconds > 0 for record in run.records)


def test_a_clock_that_jumps_kills_no_live_driver(tmp_path, monkeypatch):
    held = acquire(tmp_path)
    boot = psutil.boot_time
    # Linux reckons both the time of boot and a process's start from the clock at hand.
    monkeypatch.setattr(psutil, "boot_time", lambda: boot() + 3600)
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 3600)
    with pytest.raises(UserError, match="another driver"):
        lease.acquire(tmp_path)
    held.release()
