"""The floor of a step: it grows with what must be done, and sums over parts."""

import numpy as np
import pytest

from benchmarks.support.floor import OPTIMIZER_BYTES, Device, floor_seconds
from tests.support.configs import METHODS, SMALL, config_of
from tests.support.trials import specify
from tunekit.models.shapes import Shape
from tunekit.planning.sizes import texts_of
from tunekit.planning.work import Part, training_parts

SHAPE = Shape.from_config(config_of("bert", SMALL))
TEXTS = texts_of(np.array([6, 9, 4]))


def floor(parts: list[Part], device: Device, *, trials: int = 1, steps: int = 1, precision: str = "fp32") -> float:
    return floor_seconds(
        parts, SHAPE, steps=steps, tokens=0, trained=0, trials=trials, precision=precision, device=device
    )


def test_a_part_takes_the_longer_of_its_products_and_its_numbers():
    part = Part(flops=1000, vectors=10, own=5, shared=2)
    assert floor([part], Device(flops=10, bandwidth=1e9)) == 100
    assert floor([part], Device(flops=1e9, bandwidth=4)) == 17
    assert floor([part], Device(flops=1e9, bandwidth=4), precision="bf16") == 8.5
    assert floor([part, part], Device(flops=1e9, bandwidth=4)) == 34


def test_a_pack_reads_frozen_weights_once_a_step():
    part = Part(flops=0, vectors=10, own=5, shared=2)
    assert floor([part], Device(flops=1, bandwidth=4), trials=3, steps=2) == 3 * (10 + 2 * 5) + 2 * 2


def test_the_optimizer_moves_every_trained_number():
    found = floor_seconds(
        [], SHAPE, steps=2, tokens=0, trained=7, trials=3, precision="bf16", device=Device(flops=1, bandwidth=1)
    )
    assert found == OPTIMIZER_BYTES * 2 * 3 * 7


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_only_full_fine_tuning_shares_no_weights(method, params):
    complete = specify(method=method, method_params=params).method_params
    parts = training_parts(SHAPE, method, complete, 3, TEXTS)
    assert all(part.vectors > 0 and part.flops > 0 for part in parts)
    assert (sum(part.shared for part in parts) == 0) == (method == "full")
