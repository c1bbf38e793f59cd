"""What must hold for every registered method alone: where it starts, what its seed decides, its parameters."""

import numpy as np
import pytest
import torch

from tests.support.contracts import spec_of
from tests.support.packs import member_of, train
from tests.support.trials import build, specify
from tunekit.engine.member import Member
from tunekit.engine.train import Pack
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params

every_method = pytest.mark.parametrize("method", list(METHODS))
FAR = {"adapter": 0.05, "pfeiffer": 0.05, "prefix": 5.0, "pissa": 1e-5, "compacter": 0.05, "mam": 5.0}
"""How far from the pretrained model's logits a method may start, where it does not start at them."""


def first_logits(method):
    """The logits of a few texts before the first step."""
    spec = spec_of("minilm", method, "classification")
    prepared, model = build(spec)
    pack = Pack([Member(spec, model, prepared.splits["train"], torch.device("cpu"))])
    return pack.predict(prepared.splits["test"].subset(np.arange(4)))[0]


@pytest.fixture(scope="module")
def pretrained():
    return first_logits("full")


@pytest.mark.model
@every_method
def test_method_starts_where_the_pretrained_model_is(method, pretrained):
    """LoRA's B is zero, so its logits are the base model's; an adapter's are near; a prefix is drawn."""
    np.testing.assert_allclose(first_logits(method), pretrained, atol=FAR.get(method, 1e-6), rtol=0)


@pytest.mark.slow
@every_method
def test_same_spec_same_bits_and_other_seed_other_bits(method):
    losses = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)  # what the process drew before must not matter
        losses.append(train([member_of(specify(method=method, seed=seed))], epochs=2))
    assert np.array_equal(losses[0], losses[1])
    assert not np.array_equal(losses[0], losses[2])


@every_method
def test_parameters_are_complete_scalars_with_the_types_of_the_fields(method):
    values = complete_params(method, {})
    assert complete_params(method, values) == values
    assert complete_params(method, {name: str(value) for name, value in values.items()}) == values
    assert METHODS[method].learning_rate > 0
    assert METHODS[method].display_name
