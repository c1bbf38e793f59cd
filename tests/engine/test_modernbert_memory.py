"""The closed form of a ModernBERT's memory against what the engine's own loss path keeps and a step allocates."""

from dataclasses import replace

import pytest

from tests.support.configs import METHODS
from tests.support.trials import specify
from tunekit.engine.memory_probe import autograd_bytes, member_of, step_bytes
from tunekit.memory import NoClosedForm, Shape, Work, predict, saved_bytes
from tunekit.memory.length_groups import BatchSizes
from tunekit.memory.trial import shape_for, trial_peak
from tunekit.models.catalog import MODELS

SMALL = {
    "model_type": "modernbert", "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2,
    "intermediate_size": 40, "local_attention": 8, "max_position_embeddings": 512,
}  # fmt: skip
MIDDLE = {
    **SMALL, "vocab_size": 3000, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6,
    "intermediate_size": 576, "local_attention": 32,
}  # fmt: skip
BASE_WIDE = {
    **MIDDLE, "num_hidden_layers": 3, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 1152,
    "local_attention": 128,
}  # fmt: skip
HEADS = [("cls", "demo"), ("mean", "demo"), ("cls", "demo-tags")]
"""The pooling and the dataset of each kind of head: of first tokens, of means, and of words."""
SHORT = (4, 16, 5, 3, 12, 9, 9, 9, 30, 4, 4, 3)
"""Several groups, all with padding, longer and no longer than the small model's window."""
EVEN = (12, 12, 12, 12, 4, 4, 4, 4)
"""Two groups without padding, one of them longer than the window."""


def made(config, method, params, lengths, precision="fp32", dataset="demo"):
    """A member, and the work that the closed form is asked about."""
    spec = specify(method=method, method_params=params, batch_size=len(lengths), precision=precision, dataset=dataset)
    member = member_of(config, spec, lengths, num_labels=3)
    shape = shape_for(spec, Shape.from_config(member.model.config.to_dict()))
    work = Work(
        shape=shape, method=method, params=spec.method_params, num_labels=3, precision=precision,
        sizes=BatchSizes.from_lengths(lengths, window=shape.window),
    )  # fmt: skip
    return member, work


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "dataset"), HEADS)
@pytest.mark.parametrize(("method", "params"), METHODS)
def test_the_graph_keeps_what_the_closed_form_says_to_the_byte(method, params, pooling, dataset):
    """The last of four layers is a global one, that of three a local one."""
    for layers, lengths, precision in ((4, SHORT, "fp32"), (3, SHORT, "bf16"), (4, EVEN, "fp32")):
        config = {**SMALL, "num_hidden_layers": layers, "classifier_pooling": pooling}
        member, work = made(config, method, params, lengths, precision, dataset)
        assert autograd_bytes(member) == saved_bytes(work), (layers, lengths, precision)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "method", "pooling", "dataset"),
    [
        *((MIDDLE, method, *HEADS[1]) for method in ("full", "adapter", "pfeiffer", "lora", "head")),
        *((MIDDLE, "adapter", *head) for head in (HEADS[0], HEADS[2])),
        (BASE_WIDE, "lora", *HEADS[1]),
    ],
)
def test_a_step_is_not_under_predicted(shape, method, pooling, dataset):
    member, work = made({**shape, "classifier_pooling": pooling}, method, {}, (90, 70, 40, 24), dataset=dataset)
    found = predict(work)
    measured = found.weights + found.optimizer + step_bytes(member)
    assert -0.01 <= found.peak / measured - 1 <= 0.01


def test_a_model_that_drops_anything_has_no_closed_form_of_its_memory():
    work = made(SMALL, "lora", {}, SHORT)[1]
    for rate in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
        with pytest.raises(NoClosedForm, match="memory of model type modernbert with dropout"):
            predict(replace(work, shape=replace(work.shape, **{rate: 0.1})))
    shape = work.shape.to_config()
    others = {"embedding_dropout": 0.1, "global_attn_every_n_layers": 2, "classifier_activation": "relu"}
    for key, value in others.items():
        with pytest.raises(NoClosedForm, match=f"{key} is {value!r}"):
            Shape.from_config({**shape, key: value})


def test_long_texts_take_more_and_so_do_windows_that_they_exceed():
    """A local layer keeps what hides tokens outside its window, for each pair of slots where a group has padding."""
    shape, spec = MODELS["modernbert"].shape, specify(model="modernbert", batch_size=2)

    def peak(lengths, shape):
        return trial_peak(spec, shape, 3, [lengths], max(lengths), 8, gpu=True)

    assert peak((129, 65), shape) > peak((65, 65), shape)
    assert peak((1000, 999), shape) - peak((1000, 999), replace(shape, local_attention=4096)) == 14 * 4 * 2 * 1000**2
    assert peak((1000, 1000), shape) < peak((1000, 999), shape)
