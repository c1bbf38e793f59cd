"""A driver without Ray, killed before one of its writes: the same command goes on, and no bit is another's."""

import multiprocessing
import re
import signal
from pathlib import Path

import pytest

from tests.support.drivers import compared, logs, redone, summaries
from tests.support.serial_runs import train
from tests.support.trials import fingerprint, specify
from tunekit.planning.plan import PlannedTrial, PlanState
from tunekit.store.result_store import ResultStore

pytestmark = pytest.mark.slow

SPECS = [specify(seed=1, epochs=1), specify(seed=2, epochs=4, method="full")]
TRIALS = [PlannedTrial(spec, fingerprint(spec), PlanState.NEW, 0, None, True) for spec in SPECS]
ON_DEMAND = ("peft", "transformers.models.bert.modeling_bert")
"""What the trials import when they first need it, of which each fork would take seconds."""
QUICK = 3
"""Kills in the default tests, evenly spread over the writes."""


@pytest.fixture(scope="module")
def fork():
    """Run ``train`` in a fork of a process that has imported all of it; its exit code, negative for a signal."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tunekit.runner.preloaded", "tests.support.serial_runs", *ON_DEMAND])

    def run(sweep: Path, point: int | None, *, runs_ahead: bool = False) -> int:
        sweep.mkdir(parents=True, exist_ok=True)
        process = context.Process(target=train, args=(sweep, TRIALS, point, runs_ahead))
        process.start()
        process.join(60)
        return process.exitcode

    return run


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Where the trials lie without a break, once they have been compared with."""
    return tmp_path_factory.mktemp("unbroken")


def killed_at(points, fork, tmp_path, scratch, *, runs_ahead=False):
    """Kill at each point, go on once, and compare."""
    found = {"kills": 0, "missing": 0, "duplicate": 0, "differing": 0, "finished redone": 0, "epochs redone": 0}
    for point in points:
        store = ResultStore(tmp_path / f"kill-{point}")
        assert fork(store.root, point, runs_ahead=runs_ahead) == -signal.SIGKILL
        before = summaries(store)
        assert fork(store.root, None, runs_ahead=runs_ahead) == 0
        after = summaries(store)
        assert {name: after[name] for name in before} == before, (
            f"killed at {point}: a finished trial was trained again"
        )
        for name, value in compared(store, scratch, len(TRIALS)).items():
            found[name] = found.get(name, 0) + value
        attempts = len(re.findall("begins", logs(store)))
        said = len(re.findall("trained again", logs(store)))
        assert attempts <= len(TRIALS) + 1
        assert said <= 1
        found["kills"] += 1
        found["epochs redone"] = max(found["epochs redone"], *redone(store), 0)
    return found


def writes(fork, tmp_path, *, runs_ahead=False):
    assert fork(tmp_path / "whole", None, runs_ahead=runs_ahead) == 0
    return int((tmp_path / "whole" / "writes").read_text())


@pytest.mark.parametrize("runs_ahead", [False, True])
def test_killed_before_a_write_no_bit_is_lost(fork, tmp_path, scratch, runs_ahead):
    total = writes(fork, tmp_path, runs_ahead=runs_ahead)
    killed_at(range(total // QUICK, total, total // QUICK), fork, tmp_path, scratch, runs_ahead=runs_ahead)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("runs_ahead", [False, True])
def test_killed_before_every_third_write_no_bit_is_lost(fork, tmp_path, scratch, figures, runs_ahead):
    total = writes(fork, tmp_path, runs_ahead=runs_ahead)
    found = killed_at(range(1, total + 1, 3), fork, tmp_path, scratch, runs_ahead=runs_ahead)
    figures(f"SIGKILL before every third write of a trial{' that runs ahead' if runs_ahead else ''}", **found)
