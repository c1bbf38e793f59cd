"""How many trials a GPU trains best together: the rule on any rates, and the probe of real packs by a clock of ours."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.attempts import job_for
from tests.support.device import eager_steps
from tests.support.trials import specify
from tunekit.engine import train as engine_train
from tunekit.engine.train import Pack
from tunekit.worker import pack_probe
from tunekit.worker.pack_probe import (
    LEAST_GAIN,
    PROBE_SECONDS,
    Rate,
    fastest,
    measure_growing_packs,
    probe,
    sizes_up_to,
)

MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def test_sizes_double_up_to_the_most():
    assert sizes_up_to(1) == [1]
    assert sizes_up_to(2) == [1, 2]
    assert sizes_up_to(5) == [1, 2, 4, 5]
    assert sizes_up_to(16) == [1, 2, 4, 8, 16]
    assert sizes_up_to(23) == [1, 2, 4, 8, 16, 23]


def test_the_most_trials_an_hour_win_and_a_tie_goes_to_the_smaller_pack():
    assert fastest([Rate(1, 10.0), Rate(2, 30.0), Rate(4, 20.0)]).pack_size == 2
    assert fastest([Rate(1, 10.0), Rate(2, 30.0), Rate(4, 30.0)]).pack_size == 2


RATES = st.lists(st.floats(1, 1e6), min_size=7, max_size=7)


@given(
    most=st.integers(1, 64), rates=RATES, seconds=st.lists(st.floats(0.1, 30), min_size=7, max_size=7),
    holds=st.integers(1, 64),
)  # fmt: skip
def test_the_climb_keeps_its_limits(most, rates, seconds, holds):
    """Packs of over ``holds`` trials find no memory."""
    now, tried = [0.0], []

    def measured(size):
        tried.append(size)
        if size > holds:
            raise MEMORY
        now[0] += seconds[len(tried) - 1]
        return rates[len(tried) - 1]

    found = measure_growing_packs(most, measured, lambda: now[0])
    assert [rate.pack_size for rate in found] == [size for size in tried if size <= holds]
    assert tried == sizes_up_to(most)[: len(tried)], "never more than there are"
    assert fastest(found).pack_size <= min(most, holds)
    assert now[0] <= max(PROBE_SECONDS, seconds[0]) + 30, "one pack may take longer than the one before"
    for before, after in zip(found[:-1], found[1:-1], strict=False):
        assert after.trials_per_hour >= LEAST_GAIN * before.trials_per_hour, "it stops where there is little to gain"
    if len(found) < len(sizes_up_to(most)):
        little = len(found) > 1 and found[-1].trials_per_hour < LEAST_GAIN * found[-2].trials_per_hour
        late = now[0] + seconds[len(found) - 1] > PROBE_SECONDS
        assert little or late or tried[-1] > holds, "and not without a reason"


def test_one_trial_without_memory_is_an_error():
    def short(size):
        raise MEMORY

    with pytest.raises(torch.OutOfMemoryError):
        measure_growing_packs(4, short)


@pytest.fixture
def stand_in(monkeypatch):
    """A clock that stands still but for steps of packs: a step of K trials takes as long as the function says."""
    now, sizes, train = [0.0], [], Pack.train_epoch

    def timed(seconds_of):
        def timed_epoch(self):
            sizes.append(len(self.members))
            now[0] += seconds_of(len(self.members)) * self.members[0].steps_per_epoch
            return train(self)

        monkeypatch.setattr(Pack, "train_epoch", timed_epoch)
        return lambda: now[0]

    monkeypatch.setattr(pack_probe, "STEPS", 2)
    timed.sizes = sizes
    return timed


def jobs(sweep, count, **changes):
    return [job_for(specify(seed=seed, **changes), sweep) for seed in range(1, count + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("on_device", [False, True])
def test_real_packs_are_trained_for_some_steps_until_a_larger_one_gains_little(
    on_device, tmp_path, stand_in, monkeypatch
):
    """A step takes 1 ms and 0.5 ms a trial up to 4 trials, and 1 ms for each trial above them."""
    if on_device:
        monkeypatch.setattr(engine_train, "steps_for", eager_steps)
    clock = stand_in(lambda size: 1e-3 * (1 + 0.5 * min(size, 4) + 1.0 * max(0, size - 4)))
    rates = probe(jobs(tmp_path, 8, batch_size=4, epochs=10), clock)
    steps = 10 * 64 / 4  # of a trial, of which the probe trains a few alone
    expected = [(1, 1.5e-3), (2, 2e-3), (4, 3e-3), (8, 7e-3)]
    assert [rate.pack_size for rate in rates] == [size for size, _ in expected]
    for rate, (size, seconds) in zip(rates, expected, strict=True):
        assert rate.trials_per_hour == pytest.approx(3600 * size / (steps * seconds))
    assert fastest(rates).pack_size == 4
    passes = pack_probe.UNTIMED + pack_probe.TIMED
    assert stand_in.sizes == [1] * passes + [2] * passes + [4] * passes + [8] * passes
    assert list(tmp_path.iterdir()) == [], "nothing is recorded"


@pytest.mark.slow
def test_a_pack_never_has_more_trials_than_there_are(tmp_path, stand_in):
    rates = probe(jobs(tmp_path, 3), stand_in(lambda size: 1e-3))
    assert fastest(rates).pack_size == 3 == max(stand_in.sizes)


@pytest.mark.slow
def test_models_that_train_alone_are_tried_alone(tmp_path, stand_in):
    rates = probe(jobs(tmp_path, 3, method="prefix"), stand_in(lambda size: 1e-3))
    assert [rate.pack_size for rate in rates] == [1]
