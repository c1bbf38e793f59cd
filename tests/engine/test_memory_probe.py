"""The closed forms of memory against what the engine's own loss path keeps and allocates."""

from itertools import product

import pytest

from tests.support.combinations import covering, usually
from tests.support.configs import METHODS, SMALL, TYPES, config_of
from tests.support.trials import specify
from tunekit.engine.memory_probe import (
    autograd_bytes,
    make_weights_fake,
    measure_peak,
    member_of,
    step_bytes,
    with_lengths,
)
from tunekit.memory import Shape, Work, predict, saved_bytes
from tunekit.memory.length_groups import BatchSizes
from tunekit.memory.trial import shape_for
from tunekit.methods.base import count_parameters
from tunekit.models.catalog import MODELS
from tunekit.models.shapes import NoClosedForm, parameters

BERT_WIDE = {**SMALL, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
MINILM_WIDE = {**SMALL, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
WIDTHS = {"BERT's": (BERT_WIDE, 0.1), "MiniLM's": (MINILM_WIDE, 0.0)}
"""Shapes of real widths, each with its rate of dropout."""
WIDE_METHODS = ("full", "adapter", "pfeiffer", "lora")
WIDE_CASES = [*product(WIDTHS, WIDE_METHODS, ("demo", "demo-tags"))]
RATES = [(0.1, 0.1), (0.0, 0.0), (0.1, 0.0), (0.0, 0.1)]
LENGTHS = (5, 16, 9, 3, 12)


def made(config, method, params, lengths, precision="fp32", dataset="demo"):
    """A member, and the work that the closed forms are asked about."""
    spec = specify(method=method, method_params=params, batch_size=len(lengths), precision=precision, dataset=dataset)
    member = member_of(config, spec, lengths, num_labels=3)
    work = Work(
        shape=shape_for(spec, Shape.from_config(member.model.config.to_dict())), method=method,
        params=spec.method_params, num_labels=3, sizes=BatchSizes.from_lengths(lengths), precision=precision,
    )  # fmt: skip
    return member, work


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("method", "params"), METHODS)
@pytest.mark.parametrize("dataset", ["demo", "demo-tags"])
def test_the_graph_keeps_what_the_closed_form_says_to_the_byte(kind, method, params, precision, dataset):
    # The two rates are independent of task and precision: one of the cases has each alone, too.
    for hidden, attention in RATES if (precision, dataset) == ("fp32", "demo") else RATES[:2]:
        config = config_of(kind, SMALL, hidden, attention)
        member, work = made(config, method, params, LENGTHS, precision, dataset)
        assert autograd_bytes(member) == saved_bytes(work), (hidden, attention)
        count = parameters(work.shape, method, work.params, 3)
        assert count_parameters(member.model) == (count.trainable, count.total)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "method", "dataset"), usually(covering(WIDE_CASES), WIDE_CASES))
def test_real_widths_agree_and_a_step_is_not_under_predicted(width, method, dataset):
    shape, rate = WIDTHS[width]
    wide, lengths = {**shape, "num_hidden_layers": 4}, (40, 31, 24, 24, 20, 9, 9, 8)
    member, work = made(config_of("bert", wide, rate, rate), method, {}, lengths, dataset=dataset)
    assert autograd_bytes(member) == pytest.approx(saved_bytes(work), rel=0.005)
    found = predict(work)
    measured = found.weights + found.optimizer + step_bytes(member)
    assert -0.03 <= found.peak / measured - 1 <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "rate"),
    usually([*zip(WIDE_METHODS, (0.1, 0.0, 0.1, 0.0), strict=True)], product(WIDE_METHODS, (0.1, 0.0))),
)
def test_what_is_measured_without_data_is_what_is_measured_with_it(method, rate):
    member, _ = made(config_of("roberta", SMALL, rate, rate), method, {}, LENGTHS)
    real = autograd_bytes(member)
    with make_weights_fake(member):
        assert autograd_bytes(member) == real
        assert autograd_bytes(with_lengths(member, (512,) * 64)) > 300 * real


@pytest.mark.parametrize("method", ["full", "adapter", "pfeiffer", "lora"])
def test_a_gpu_keeps_what_sdpa_keeps_and_no_masks(method):
    """Sequences of one length fill a row of 128 tokens, so that a CPU's slots are the tokens, too."""

    def work(lengths, rate, *, gpu):
        config = {**config_of("bert", SMALL, rate, rate), "classifier_dropout": 0.0}
        shape, params = Shape.from_config(config), specify(method=method).method_params
        sizes = BatchSizes.from_lengths(lengths, gpu=gpu)
        return Work(shape=shape, method=method, params=params, num_labels=3, sizes=sizes, gpu=gpu)

    on_gpu = work((16,) * 8, 0.1, gpu=True)
    assert (
        saved_bytes(on_gpu)
        == saved_bytes(work((16,) * 8, 0.0, gpu=False))
        < saved_bytes(work((16,) * 8, 0.1, gpu=False))
    )
    assert saved_bytes(work((16,) * 7 + (3,), 0.1, gpu=True)) == saved_bytes(on_gpu), "filler is kept, too"
    assert saved_bytes(work((16,) * 8 + (3,), 0.1, gpu=True)) > 1.8 * saved_bytes(on_gpu)
    memory, cpu = predict(on_gpu), predict(work((16,) * 8, 0.1, gpu=False))
    assert memory.needed == memory.peak + memory.graphs > memory.peak
    assert cpu.needed == cpu.peak


def test_a_probe_finds_the_closed_form_where_there_is_one():
    config = config_of("roberta", MINILM_WIDE)
    spec = specify(method="lora", batch_size=3)
    _, work = made(config, "lora", {}, (20, 20, 20))
    assert measure_peak(config, spec, (20, 20, 20), 3, gpu=True) == pytest.approx(predict(work).peak, rel=0.02)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "albert"}, "model_type is 'albert'"),
        ({"model_type": "deberta-v2"}, "position_biased_input is None"),
        ({"embedding_size": 12}, "embedding_size is 12"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
    ],
)
def test_what_has_no_closed_form_says_why(change, reason):
    with pytest.raises(NoClosedForm, match=reason):
        Shape.from_config({**config_of("bert", SMALL), **change})


def test_a_method_or_target_without_a_closed_form_says_which():
    shape = Shape.from_config(config_of("bert", SMALL))
    with pytest.raises(NoClosedForm, match="method 'ours'"):
        parameters(shape, "ours", {}, 3)
    with pytest.raises(NoClosedForm, match="LoRA on 'word_embeddings'"):
        parameters(shape, "lora", {"r": 2, "lora_dropout": 0.0, "target_modules": "query,word_embeddings"}, 3)
    with pytest.raises(NoClosedForm, match="leaves out a size"):
        Shape.from_config({"model_type": "bert", "hidden_size": 24})


@pytest.mark.parametrize("method", ["bitfit", "ia3", "prefix", "dora", "vera", "parallel", "compacter", "mam"])
def test_a_method_whose_memory_is_not_followed_is_measured(method):
    config = config_of("bert", SMALL)
    spec = specify(method=method, batch_size=3)
    work = Work(
        shape=Shape.from_config(config), method=method, params=spec.method_params, num_labels=3,
        sizes=BatchSizes.from_lengths((9, 5, 4)),
    )  # fmt: skip
    with pytest.raises(NoClosedForm, match=f"memory of method '{method}'"):
        predict(work)
    assert measure_peak(config, spec, (9, 5, 4), 3, gpu=True) > 4 * parameters(work.shape, method, work.params, 3).total


@pytest.mark.parametrize("model", ["tiny-distilbert", "tiny-deberta"])
def test_a_model_that_is_not_followed_is_measured(model):
    shape, spec = MODELS[model].shape, specify(model=model, batch_size=3)
    sizes = BatchSizes.from_lengths((9, 5, 4))
    work = Work(shape=shape, method="lora", params=spec.method_params, num_labels=3, sizes=sizes)
    with pytest.raises(NoClosedForm, match="memory of model type"):
        predict(work)
    assert Shape.from_config(shape.to_config()) == shape
    assert (
        measure_peak(shape.to_config(), spec, (9, 5, 4), 3, gpu=True)
        > 4 * parameters(shape, "lora", work.params, 3).total
    )
