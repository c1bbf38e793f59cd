"""Processor seconds up to the first epoch: which process counts as what, and that a failed command gives no figure."""

import os
import subprocess

import pytest

from benchmarks.support import first_epoch
from benchmarks.support.first_epoch import _processes, measure, role_of


def test_processes_are_told_apart_by_their_titles():
    titles = {
        "ray::TrialTrainable": "training",
        "ray::ResourceTrainable.train": "training",
        "ray::IDLE": "training",
        "ray::DashboardAgent": "Ray",
        "ray::RuntimeEnvAgent": "Ray",
        "/ray/core/src/ray/raylet/raylet --x": "Ray",
    }
    assert {title: role_of(title) for title in titles} == titles


def test_a_driver_counts_with_what_it_has_started():
    child = subprocess.Popen(["sleep", "60"])
    try:
        found = list(_processes(os.getpid()))
    finally:
        child.kill()
        child.wait()
    assert found[0][0] == "driver"
    assert found[0][1] > 0
    assert ("Ray", 0.0) in found


@pytest.mark.slow
def test_a_command_that_ends_before_its_first_epoch_gives_no_figure(monkeypatch):
    monkeypatch.setattr(first_epoch, "SWEEP", ("--models", "bertt"))
    with pytest.raises(RuntimeError, match="ended with 2 before its first epoch"):
        measure(1)
