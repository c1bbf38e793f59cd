"""How many trials run at a time, from given numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.memory import how_many_fit
from tunekit.memory.trial import PROCESS_BYTES, together_bytes
from tunekit.planning.resources import CUDA_PROCESS_BYTES, MOST_PER_GPU, Resources, limit_on_cpu, limit_on_gpu

GIB = 2**30


@given(peak=st.integers(1, 100 * GIB), device=st.integers(1, 200 * GIB))
def test_what_fits_leaves_a_tenth_and_no_room_for_one_more(peak, device):
    count = how_many_fit(peak, device)
    assert count * peak <= 0.9 * device < (count + 1) * peak + 1


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
    assert limit_on_cpu(Resources(), 2 * GIB, 100 * GIB, at_a_time=8) == (Resources(), "")
    found, line = limit_on_cpu(Resources(), 3 * GIB, 10 * GIB, at_a_time=8)
    assert found == Resources(max_concurrent=3)
    assert "3 of 8 trials at a time: a trial may take 3.0 GiB" in line
    assert limit_on_cpu(Resources(), 21 * GIB, 10 * GIB, at_a_time=8)[0].max_concurrent == 1


def test_trials_in_one_process_on_a_cpu_share_its_libraries():
    alone = PROCESS_BYTES + GIB
    assert together_bytes(alone, 1, gpu=False) == alone
    assert together_bytes(alone, 3, gpu=False) == PROCESS_BYTES + 3 * GIB
    assert together_bytes(alone, 3, gpu=True) == 3 * alone
