"""The count of operations against the products that steps without padding really do."""

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from tests.support.configs import METHODS, SMALL, config_of
from tests.support.trials import specify
from tunekit.engine.memory_probe import member_of
from tunekit.engine.train import Pack
from tunekit.methods import METHODS as ALL_METHODS
from tunekit.models.catalog import MODELS
from tunekit.models.shapes import Shape
from tunekit.planning.work import Texts, scoring_flops, training_flops

LENGTHS = (6, 6, 6)
"""Each fills a row, so that nothing is padded and no row holds two."""


def texts(lengths):
    return Texts(len(lengths), sum(lengths), sum(one**2 for one in lengths))


@pytest.mark.parametrize(("method", "params"), [*METHODS, ("vera", {"r": 6}), ("parallel", {"reduction_factor": 4})])
def test_a_step_without_padding_does_exactly_the_useful_products(method, params):
    spec = specify(method=method, method_params=params, batch_size=len(LENGTHS))
    member = member_of(config_of("roberta", SMALL), spec, LENGTHS, num_labels=3)
    with FlopCounterMode(display=False) as counter:
        Pack([member]).steps.backward([np.arange(len(LENGTHS))])
    shape = Shape.from_config(member.model.config.to_dict())
    assert training_flops(shape, method, spec.method_params, 3, texts(LENGTHS)) == counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        Pack([member]).predict(member.train)
    assert scoring_flops(shape, method, spec.method_params, 3, texts(LENGTHS)) == pytest.approx(
        counter.get_total_flops(), rel=0.1
    )  # scoring adds LoRA's products to the weights


OF_A_FUSED_MODULE = [("lora", {"r": 3, "target_modules": "Wqkv"}), ("lora", {"r": 3, "target_modules": "key,attn.Wo"})]


@pytest.mark.parametrize(
    ("method", "params"), [*(pair for pair in METHODS if "dense" not in str(pair)), *OF_A_FUSED_MODULE]
)
def test_a_step_of_a_modernbert_does_exactly_the_useful_products(method, params):
    spec = specify(method=method, method_params=params, batch_size=len(LENGTHS))
    sizes = {
        **SMALL,
        "num_hidden_layers": 3,
        "attention_probs_dropout_prob": 0.1,
    }  # so that no product is hidden in SDPA
    shape = Shape(**{**vars(MODELS["tiny-modernbert"].shape), **sizes})
    member = member_of(shape.to_config(), spec, LENGTHS, num_labels=3)
    with FlopCounterMode(display=False) as counter:
        Pack([member]).steps.backward([np.arange(len(LENGTHS))])
    assert training_flops(shape, method, spec.method_params, 3, texts(LENGTHS)) == counter.get_total_flops()


def test_attention_is_counted_within_sequences_only():
    config = Shape.from_config(config_of("bert", SMALL))
    short, long = (training_flops(config, "full", {}, 3, texts(lengths)) for lengths in ((6, 6), (12,)))
    h, inner = config.hidden_size, config.intermediate_size
    # Two halves attend to half as much as one whole, and have one more first token, which alone passes the last layer.
    first = 6 * h * (2 * h + 2 * inner) + 6 * h * (h + 3)
    assert long - short == (config.num_hidden_layers - 1) * 6 * 2 * h * (12**2 - 2 * 6**2) - first


@pytest.mark.parametrize("method", sorted(ALL_METHODS))
def test_a_frozen_backbone_saves_the_products_of_its_weights_gradients(method):
    config = Shape.from_config(config_of("bert", SMALL))
    params = specify(method=method).method_params
    forward, training = (count(config, method, params, 3, texts(LENGTHS)) for count in (scoring_flops, training_flops))
    low, high = {"full": (2.9, 3.0), "head": (1.0, 1.1)}.get(method, (1.2, 2.3))
    assert low * forward < training <= high * forward
