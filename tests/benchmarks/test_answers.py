"""Processor seconds of commands: a wrong exit code gives no figure, and the probe is not in a dry run's seconds."""

import pytest

from benchmarks.support.answers import PROBE, measure, processor_seconds


def test_a_command_that_ends_otherwise_gives_no_figure():
    assert processor_seconds(["-c", "pass"]) > 0
    with pytest.raises(RuntimeError, match=r"ended with 3: no such plan"):
        processor_seconds(["-c", "import sys; sys.stderr.write('no such plan'); sys.exit(3)"])


def test_the_probe_is_not_in_the_dry_runs_seconds():
    asked = []

    def seconds_of(arguments, exit_code):
        asked.append((arguments, exit_code))
        return 1.5 if arguments == PROBE else 1.0

    found = measure(2, seconds_of)
    assert found["run --dry-run"] == [0.5, 0.5]
    assert found["status"] == found["--help"] == found["a typo"] == [1.0, 1.0]
    assert {arguments[2:3] for arguments, exit_code in asked if exit_code} == {("statsu",)}
