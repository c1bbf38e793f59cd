"""How many trials run at a time, from given numbers; and what a plan's cells cost."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import FINGERPRINT, summary
from tunekit.commands.costs import Earlier, peak_of, seconds_of
from tunekit.memory import how_many_fit
from tunekit.methods.base import METHODS
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef, resolve_model
from tunekit.planning import estimate
from tunekit.planning.resources import CUDA_PROCESS_BYTES, MOST_PER_GPU, Resources, limit_on_cpu, limit_on_gpu
from tunekit.store.result_store import ResultStore

GIB = 2**30
SIZE = estimate.DatasetSize(train=100, scored=50, tokens=20)


@given(peak=st.integers(1, 100 * GIB), device=st.integers(1, 200 * GIB), beside=st.integers(0, GIB))
def test_what_fits_leaves_a_tenth_and_no_room_for_one_more(peak, device, beside):
    count = how_many_fit(peak, device, beside)
    assert count * (peak + beside) <= 0.9 * device < (count + 1) * (peak + beside) + 1


def test_a_gpu_takes_as_many_as_fit_and_one_at_least():
    found, line = limit_on_gpu(Resources(), 3 * GIB, 80 * GIB)
    assert found.trials_per_device == int(0.9 * (80 * GIB - CUDA_PROCESS_BYTES) // (3 * GIB)) == 23
    assert "23 trials a GPU" in line
    assert limit_on_gpu(Resources(), 100 * GIB, 80 * GIB)[0].trials_per_device == 1
    assert limit_on_gpu(Resources(), 1, 80 * GIB)[0].trials_per_device == MOST_PER_GPU


@pytest.mark.parametrize(
    ("peak", "device", "why"),
    [(None, GIB, "no closed form"), (GIB, None, "of the cluster, if it has any, trains one trial")],
)
def test_what_is_not_known_gives_one_trial_a_gpu_and_says_why(peak, device, why):
    found, line = limit_on_gpu(Resources(), peak, device)
    assert found.trials_per_device == 1
    assert why in line


def test_a_cpu_is_limited_only_where_memory_is_short():
    assert limit_on_cpu(Resources(), GIB, GIB, 100 * GIB, at_a_time=8) == (Resources(), "")
    found, line = limit_on_cpu(Resources(), 2 * GIB, GIB, 10 * GIB, at_a_time=8)
    assert found == Resources(max_concurrent=3)
    assert "3 of 8 trials at a time" in line
    assert limit_on_cpu(Resources(), 20 * GIB, GIB, 10 * GIB, at_a_time=8)[0].max_concurrent == 1


def test_longer_texts_larger_batches_and_more_trained_weights_take_more(make_spec):
    def peak(size=SIZE, **changes):
        spec = make_spec(model="minilm", max_length=512, **changes)
        return peak_of(spec, resolve_model("minilm"), size, 3, gpu=False)

    found, note = peak()
    assert note == ""
    assert peak(replace(SIZE, tokens=40))[0] > found
    assert peak(batch_size=64)[0] > found
    assert peak(method="full", method_params={})[0] > found


def test_a_method_without_a_closed_form_is_measured_and_says_so(make_spec, monkeypatch):
    plain = peak_of(make_spec(method="full", method_params={}), resolve_model("tiny-bert"), SIZE, 3, gpu=False)[0]
    monkeypatch.setitem(METHODS._items, "own", METHODS["full"])
    found, note = peak_of(make_spec(method="own", method_params={}), resolve_model("tiny-bert"), SIZE, 3, gpu=False)
    assert note == "no closed form (method 'own'): measured by a step"
    assert found == pytest.approx(plain, rel=0.15)  # two layers: the closed form is made for more


def test_a_model_that_is_not_here_yet_says_so(make_spec):
    ref = ModelRef("nobody/nothing", "0" * 40)
    assert peak_of(make_spec(model="nobody/nothing"), ref, SIZE, 3, gpu=False) == (
        None,
        "its config.json is not here yet",
    )


def test_time_comes_from_the_cell_then_its_kind_then_the_processor(make_spec, tmp_path):
    store, sizes = ResultStore(tmp_path), {"demo": SIZE, "other": replace(SIZE, train=200, scored=100)}
    spec, elsewhere = make_spec(train_limit=None), make_spec(train_limit=None, dataset="other")
    work, nothing = estimate.flops(spec, sizes), Earlier(store.frames().trials, sizes)
    assert seconds_of(spec, nothing, sizes, None) == (None, "no earlier trial")
    assert seconds_of(spec, nothing, sizes, work / 7) == (pytest.approx(7), "a probe of the processor")
    store.write_summary(store.open_trial(make_spec(train_limit=None, seed=9), FINGERPRINT), summary())
    earlier = Earlier(store.frames().trials, sizes)
    assert seconds_of(spec, earlier, sizes, None) == (1.0, "1 earlier trial")
    assert seconds_of(elsewhere, earlier, sizes, None) == (pytest.approx(2.0), "1 earlier trial of its kind")


@pytest.mark.slow
def test_every_registered_model_has_a_peak(make_spec):
    for name in MODELS:
        assert peak_of(make_spec(model=name), ModelRef(name, "x"), SIZE, 3, gpu=False)[0] > 0
