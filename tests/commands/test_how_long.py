"""What is said of the time before a run: on a processor, on GPUs, on a cluster."""

from dataclasses import replace

import pytest

from tests.support.stores import add
from tunekit.commands.dry_run import grid_as_json, grid_as_text
from tunekit.commands.how_long import PATIENCE, WHEN_KNOWN, device_of, epochs_left, say_estimate, timer_of
from tunekit.planning import machine
from tunekit.planning.args import GridArgs
from tunekit.planning.options import RunOptions
from tunekit.planning.plan import plan_sweep
from tunekit.planning.presets import GRID_PRESETS
from tunekit.planning.resolve import resolve_grid
from tunekit.planning.resources import MOST_PER_GPU
from tunekit.store.result_store import ResultStore

GIB = 2**30
OPTIONS = RunOptions()


@pytest.fixture
def here(monkeypatch):
    """Let this machine have two cores, and the GPUs that the function is given."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(machine, "cpu_flops_per_second", lambda: 1e11)
    monkeypatch.setattr(machine, "cores", lambda: 2)

    def has(*gpus: machine.Gpu, shown: bool = True) -> None:
        monkeypatch.setattr(machine, "has_accelerator", lambda: bool(gpus) or not shown)
        monkeypatch.setattr(machine, "gpus", lambda: list(gpus))

    has()
    return has


@pytest.fixture
def sweep():
    return resolve_grid(GridArgs(preset="demo"), GRID_PRESETS)


def said(sweep, store, options=OPTIONS):
    """The lines that are said of a run of ``sweep`` into ``store``, and its range."""
    lines = []
    plan = plan_sweep(sweep, store)
    device = device_of(sweep, options)
    timer = timer_of(sweep, plan.stored, device)
    timing = say_estimate(epochs_left(plan.pending(retry_failed=False)), timer, device, options, lines.append)
    return lines, timing


def test_a_processor_is_probed(here, sweep, tmp_path):
    (line,), timing = said(sweep, ResultStore(tmp_path))
    assert line == f"estimate: {timing} on 2 cores (2 trials at a time), from a probe of the processor"
    assert timing.low < 160 < timing.high


def test_an_estimate_of_trials_with_patience_says_that_it_counts_all_epochs(here, sweep, tmp_path):
    patient, store = resolve_grid(GridArgs(preset="demo", patience=1), GRID_PRESETS), ResultStore(tmp_path)
    (line,), whole = said(sweep, store)
    (same, more), timing = said(patient, store)
    assert (same, more, timing.seconds) == (line, PATIENCE, pytest.approx(whole.seconds))
    plan = plan_sweep(patient, store)
    assert PATIENCE in grid_as_text(patient, plan, store, OPTIONS)
    assert PATIENCE in grid_as_json(patient, plan, store, OPTIONS)["notes"]


def test_fewer_at_a_time_take_longer_and_more_cores_a_trial_are_used(here, sweep, tmp_path):
    store = ResultStore(tmp_path)
    two, one = (said(sweep, store, replace(OPTIONS, max_concurrent=number))[1].seconds for number in (None, 1))
    assert 1.5 * two < one < 2 * two
    (line,), both = said(sweep, store, replace(OPTIONS, cpus_per_trial=2))
    assert "(1 trial at a time)" in line
    assert two < both.seconds < one


def test_recorded_epochs_come_before_the_probe(here, sweep, tmp_path):
    store = ResultStore(tmp_path)
    for spec in sweep.specs:
        if spec.seed == 1:
            add(store, spec, scores=(0.5, 0.6, 0.7))
    (line,), timing = said(sweep, store)
    assert line.endswith("from recorded epochs")
    assert timing.seconds < 60
    assert said(replace(sweep, specs=[]), store) == ([], None)


def test_epochs_on_record_tell_how_long_a_gpu_takes(here, sweep, tmp_path):
    store = ResultStore(tmp_path)
    for gpus, name in (((machine.Gpu("NVIDIA L4", 24 * GIB),), "NVIDIA L4"), ((), "a GPU")):
        here(*gpus, shown=False)
        lines, timing = said(sweep, store)
        assert lines == [
            f"estimate: none, since no epoch of some of these models and methods on {name} is on record in this sweep; "
            f"{WHEN_KNOWN}"
        ]
        assert timing is None
    for spec in sweep.specs:
        if spec.seed == 1:
            add(store, spec, scores=(0.5, 0.6, 0.7), execution={"device": "NVIDIA H100 80GB HBM3"})
    here(machine.Gpu("NVIDIA H100 80GB HBM3", 80 * GIB))
    assert "on NVIDIA H100 80GB HBM3 (6 trials at a time), from recorded epochs" in said(sweep, store)[0][0]
    here(*[machine.Gpu("NVIDIA H100 80GB HBM3", 80 * GIB)] * 2)
    assert "on 2 x NVIDIA H100 80GB HBM3" in said(sweep, store)[0][0]
    assert "(2 trials at a time)" in said(sweep, store, replace(OPTIONS, trials_per_device="1"))[0][0]
    here(machine.Gpu("NVIDIA T4", 2 * GIB))
    assert "on NVIDIA T4 (1 trial at a time)" in said(sweep, store)[0][0]
    here()
    assert said(sweep, store)[0][0].endswith("from a probe of the processor"), "a GPU's epochs tell nothing of it"


def test_a_cluster_gets_no_estimate_and_the_reason(here, sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    lines, timing = said(sweep, ResultStore(tmp_path))
    assert lines == [f"estimate: none, since the machines of the cluster are not known here; {WHEN_KNOWN}"]
    assert timing is None
    store = ResultStore(tmp_path)
    notes = grid_as_json(sweep, plan_sweep(sweep, store), store, OPTIONS)["notes"]
    assert any("machines of the cluster" in note for note in notes)


def test_a_dry_run_says_that_the_run_will_probe_packs_and_probes_nothing(here, sweep, tmp_path):
    store = ResultStore(tmp_path)
    plan, line = plan_sweep(sweep, store), "a short probe at the start of the run chooses how many trials share a GPU"
    here(machine.Gpu("NVIDIA H100 80GB HBM3", 80 * GIB))
    assert f"\n{line}, at most {MOST_PER_GPU}\n" in grid_as_text(sweep, plan, store, OPTIONS)
    assert any(line in note for note in grid_as_json(sweep, plan, store, OPTIONS)["notes"])
    for given in (replace(OPTIONS, trials_per_device="4"), replace(OPTIONS, pack=2)):
        assert line not in grid_as_text(sweep, plan, store, given)
    here()
    assert line not in grid_as_text(sweep, plan, store, OPTIONS)
