"""Ctrl-C and SIGTERM, twice if need be; and a process that hangs."""

import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

WAITING = """
import sys, time
from tunekit.commands.exit_codes import exit_code_of
from tunekit.errors import UserError

def command():
    try:
        print("ready", flush=True)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            if sys.argv[1] == "replaced":
                raise KeyboardInterrupt from None
            raise
    finally:
        print("stopping", flush=True)
        if sys.argv[1] == "slow":
            time.sleep(60)

sys.exit(exit_code_of(command))
"""
HANGING = """
import pathlib, sys, time
from tunekit.engine import watchdog

watchdog.SILENT_SECONDS, watchdog.NOTE_SECONDS = 1, 0
log = pathlib.Path(sys.argv[1])
with watchdog.watchdog(log):
    for _ in range(8):
        time.sleep(0.25)
        watchdog.note_batch()
time.sleep(1.5)
print("no watch, no end", flush=True)
with watchdog.watchdog(log):
    time.sleep(60)
"""


def started(*arguments):
    process = subprocess.Popen([sys.executable, "-c", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_ends_a_command_in_order_a_second_one_at_once(number, code):
    process = started(WAITING, "quick")
    process.send_signal(number)
    assert process.wait(60) == code
    assert process.stdout.read() == "stopping\n"
    process = started(WAITING, "slow")
    process.send_signal(number)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_library_that_raises_an_interrupt_of_its_own_does_not_change_how_a_command_ends(number, code):
    process = started(WAITING, "replaced")
    process.send_signal(number)
    assert process.wait(60) == code


def test_a_process_that_hangs_is_ended_and_its_log_tells_where(tmp_path):
    log = tmp_path / "log.txt"
    process = subprocess.run([sys.executable, "-c", HANGING, str(log)], cwd=ROOT, capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (1, "no watch, no end\n")
    assert "Timeout" in log.read_text()
    assert 'File "<string>", line' in log.read_text()
