"""How long trials are said to take: by epochs on record, by the work and a device's speed, and in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stores import add
from tests.support.trials import specify
from tunekit.models.catalog import MODELS
from tunekit.planning import machine
from tunekit.planning.estimate import BUILD_SECONDS, START_SECONDS, Timer, makespan, span
from tunekit.planning.sizes import declared_size
from tunekit.planning.speed import ProcessorSpeed, epoch_work
from tunekit.store.result_store import ResultStore

SIZES = {name: declared_size(name) for name in ("demo", "acl_arc")}
SHAPES = {name: MODELS[name].shape for name in ("tiny-bert", "minilm", "tiny-deberta")}
SPEED = ProcessorSpeed(1e11)


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path)


def timer(store, speed=None, on_gpu=None):
    return Timer(SIZES, SHAPES, store.frames(), speed, on_gpu=on_gpu)


def work(**changes):
    spec = specify(**{"model": "minilm", "method": "full", "train_limit": None, **changes})
    return epoch_work(spec, SHAPES[spec.model], SIZES[spec.dataset])


def test_time_comes_from_the_cell_then_its_kind_then_the_device(store):
    spec, elsewhere, other = specify(), specify(dataset="acl_arc", train_limit=None), specify(method="full")
    assert timer(store).epoch(spec) is None
    assert timer(store, SPEED).epoch(spec).source == "a probe of the processor"
    add(store, specify(seed=9), scores=(0.5, 0.6))  # half a second an epoch
    found = timer(store, SPEED)
    same, alike, probed = (found.epoch(one) for one in (spec, elsewhere, other))
    assert (same.seconds, same.source) == (0.5, "2 recorded epochs")
    ratio = SPEED.seconds(epoch_work(elsewhere, SHAPES["tiny-bert"], SIZES["acl_arc"])) / SPEED.seconds(
        epoch_work(spec, SHAPES["tiny-bert"], SIZES["demo"])
    )
    assert (alike.seconds, alike.source) == (pytest.approx(0.5 * ratio), "2 recorded epochs of its model and method")
    assert probed.source == "a probe of the processor"
    assert same.margin < alike.margin < probed.margin
    assert timer(store).epoch(elsewhere).seconds > 1, "without a speed, steps tell the proportion"


def test_epochs_of_a_gpu_tell_nothing_of_a_processor(store):
    add(store, specify(seed=9), execution={"device": "NVIDIA H100 80GB HBM3"})
    assert timer(store, on_gpu=False).epoch(specify()) is None
    assert timer(store, on_gpu=True).epoch(specify()).seconds == 0.5
    assert timer(store).epoch(specify()).seconds == 0.5


def test_imported_trials_have_no_kind(store):
    golden = ResultStore(store.root / "x")
    add(golden, specify(seed=9))
    frames = golden.frames()
    frames.trials["cell"] = '{"settings": {}}'
    assert Timer(SIZES, SHAPES, frames, None).epoch(specify()) is None


def test_a_run_is_as_long_as_its_longest_place_and_only_the_epochs_left_count(store):
    add(store, specify(seed=9, epochs=100))
    trials = [(specify(seed=seed, epochs=100), 100.0) for seed in (1, 2, 3)]
    found = timer(store)
    assert found.run(trials, 1).seconds == pytest.approx(START_SECONDS + 3 * (BUILD_SECONDS + 50))
    assert found.run(trials, 2).seconds == pytest.approx(START_SECONDS + 2 * (BUILD_SECONDS + 50))
    assert found.run([(trials[0][0], 10.0)], 2).seconds == pytest.approx(START_SECONDS + BUILD_SECONDS + 5)
    assert found.run(trials, 2).source == "recorded epochs"
    assert found.run([*trials, (specify(method="full"), 1.0)], 2) is None


@given(st.lists(st.floats(0, 100), max_size=8), st.integers(1, 4))
def test_no_place_is_idle_while_a_trial_waits(seconds, places):
    found = makespan(seconds, places)
    assert found >= max([0.0, *seconds, sum(seconds) / places]) - 1e-6
    assert found <= sum(seconds) / places + max([0.0, *seconds]) + 1e-6


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (1, 59, "under a minute"),
        (20, 70, "up to 1 minute"),
        (31, 62, "about 1 minute"),
        (65, 170, "1 to 3 minutes"),
        (1500, 3600, "25 to 60 minutes"),
        (1100, 5400, "18 to 90 minutes"),
        (3700, 7000, "1 to 1.9 hours"),
        (19 * 3600, 48 * 3600, "19 to 50 hours"),
        (24 * 3600, 60 * 3600, "1 to 2.5 days"),
        (100 * 24 * 3600, 1000 * 24 * 3600, "100 to 1,000 days"),
    ],
)
def test_a_range_is_said_in_the_unit_of_its_upper_end(low, high, text):
    assert span(low, high) == text


def test_more_of_anything_takes_longer():
    base = SPEED.seconds(work())
    assert SPEED.seconds(work(train_limit=100)) < base
    assert SPEED.seconds(work(dataset="acl_arc")) > base
    assert SPEED.seconds(work(score_test=False)) < base
    assert SPEED.seconds(work(batch_size=2)) > base
    assert SPEED.seconds(work(method="lora")) < base
    assert SPEED.seconds(work(method="head")) < SPEED.seconds(work(method="lora"))
    assert ProcessorSpeed(2e11).seconds(work()) == pytest.approx(base / 2)
    assert base / 2 < ProcessorSpeed(1e11, threads=2).seconds(work()) < base
    assert ProcessorSpeed(1e11, pack=4).seconds(work()) == pytest.approx(4 * base)


def test_padding_counts_where_batches_are_padded():
    padded = work(model="tiny-deberta", dataset="acl_arc")
    assert padded.tokens > 1.5 * work(model="tiny-bert", dataset="acl_arc").tokens


def test_the_probe_is_the_best_of_several_by_the_thread_s_own_time(monkeypatch):
    clock = iter([0.0, 0.01, 0.04, *([0.0, 0.05] * 20)])
    monkeypatch.setattr(machine.time, "thread_time", lambda: next(clock))
    # The first probe multiplies once in 0.04 s of its thread, each other one not at all in 0.05 s.
    assert machine.cpu_flops_per_second.__wrapped__() == pytest.approx(2 * 512**3 / 0.04)


def test_the_driver_lists_the_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559'\necho 'Odd, name, 16'\necho 'No memory, [N/A]'\n")
    tool.chmod(0o755)
    assert machine.gpus() == [machine.Gpu("NVIDIA H100 80GB HBM3", 81559 * 2**20), machine.Gpu("Odd, name", 16 * 2**20)]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert machine.gpus() == []
