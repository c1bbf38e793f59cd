"""The closed form of useful work against the products that a step without padding really does."""

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.roofline import step_flops
from tests.support.configs import METHODS, SMALL, config_of
from tests.support.trials import specify
from tunekit.engine.memory_probe import member_of
from tunekit.engine.train import Pack
from tunekit.models.shapes import Shape

LENGTHS = (6, 6, 6)
"""Each fills a row, so that nothing is padded and no row holds two."""


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_a_step_without_padding_does_exactly_the_useful_products(method, params):
    spec = specify(method=method, method_params=params, batch_size=len(LENGTHS))
    member = member_of(config_of("roberta", SMALL), spec, LENGTHS, num_labels=3)
    with FlopCounterMode(display=False) as counter:
        Pack([member]).steps.backward([np.arange(len(LENGTHS))])
    shape = Shape.from_config(member.model.config.to_dict())
    assert step_flops(shape, method, spec.method_params, LENGTHS, 3) == counter.get_total_flops()


def test_attention_is_counted_within_sequences_only():
    config = Shape.from_config(config_of("bert", SMALL))
    short, long = (step_flops(config, "full", {}, lengths, 3) for lengths in ((6, 6), (12,)))
    h, inner = config.hidden_size, config.intermediate_size
    # Two halves attend to half as much as one whole, and have one more first token, which alone passes the last layer.
    first = 6 * h * (2 * h + 2 * inner) + 6 * h * (h + 3)
    assert long - short == (config.num_hidden_layers - 1) * 6 * 2 * h * (12**2 - 2 * 6**2) - first
