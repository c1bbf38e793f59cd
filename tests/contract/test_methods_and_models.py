"""What must hold for every registered method on every model that is here without a network."""

from itertools import product

import numpy as np
import pytest
import torch

from tests.support.trials import build, specify, start
from tunekit.engine.member import Member, packable
from tunekit.engine.stacking import is_stackable
from tunekit.engine.train import Pack
from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params, count_parameters
from tunekit.models.catalog import MODELS
from tunekit.models.families import FAMILIES
from tunekit.models.loading import load_encoder, resolve_model
from tunekit.models.shapes import Shape, parameters
from tunekit.planning.batching import restrictions, why_single
from tunekit.seeding import stream_seed

OFFLINE_MODELS = [name for name in MODELS if MODELS[name].hub_id is None]
every_method = pytest.mark.parametrize("method", list(METHODS))
REFUSED = [
    ("tiny-deberta", "prefix"), ("tiny-distilbert", "mam"),
    *(("tiny-modernbert", method) for method in ("bitfit", "ia3", "prefix", "parallel", "compacter", "mam", "vera")),
]  # fmt: skip
"""Methods that can't work on a model, and say so."""
every_pair = pytest.mark.parametrize(
    ("model", "method"), [pair for pair in product(OFFLINE_MODELS, METHODS) if pair not in REFUSED]
)
UNMOVED = ("position_embeddings", "token_type", "key.bias", "k_lin.bias")
"""What may have no gradient: rows that no text uses, and what a softmax over keys can't see."""
FAR = {"adapter": 0.05, "pfeiffer": 0.05, "prefix": 5.0, "pissa": 1e-5, "compacter": 0.05, "mam": 5.0}
"""How far from the pretrained model's logits a method may start, where it does not start at them."""


def spec_for(model, method, **changes):
    return specify(model=model, method=method, train_limit=8, batch_size=4, epochs=1, **changes)


@every_pair
def test_counts_equal_closed_forms(model, method):
    spec = spec_for(model, method)
    prepared, built = build(spec)
    shape = Shape.from_config(built.config.to_dict())
    assert shape == MODELS[model].shape
    closed = parameters(shape, method, spec.method_params, len(prepared.data.label_names))
    assert count_parameters(built) == (closed.trainable, closed.total)


@every_pair
def test_nothing_is_frozen_that_was_never_pretrained(model, method):
    spec = spec_for(model, method)
    prepared, built = build(spec)
    ref = resolve_model(model)
    plain = load_encoder(
        ref, num_labels=len(prepared.data.label_names), seed=stream_seed(1, "head"), tokenizer=prepared.tokenizer
    )
    pretrained = {name for name, _ in plain.named_parameters()} - plain.tunekit_never_pretrained
    family = FAMILIES[built.config.model_type]
    rows = {family.module(name): family.module(name).rpartition(".")[0] for name in family.row_blocks}
    frozen = {name.replace(".base_layer.", ".") for name, p in built.named_parameters() if not p.requires_grad}
    for block, fused in rows.items():
        frozen = {name.replace(f".{block}.", f".{fused}.") for name in frozen}
    assert frozen <= pretrained
    head = family.head
    heads = [p for name, p in built.named_parameters() if name.startswith(head)]
    assert heads
    assert all(p.requires_grad for p in heads)


@every_pair
def test_training_moves_all_that_is_trainable_and_no_bit_of_the_rest(model, method):
    spec = spec_for(model, method)
    prepared, built = build(spec)
    before = {name: p.detach().clone() for name, p in built.named_parameters()}
    # Two steps: LoRA's A has no gradient while B is zero.
    Pack([Member(spec, built, prepared.splits["train"], torch.device("cpu"))]).train_epoch()
    for name, parameter in built.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, before[name]), name
        elif not any(part in name for part in UNMOVED):
            assert not torch.equal(parameter, before[name]), name


@pytest.mark.model
@every_method
def test_method_starts_where_the_pretrained_model_is(method):
    """LoRA's B is zero, so its logits are the base model's; an adapter's are near; a prefix is drawn."""
    spec = spec_for("minilm", method)
    prepared, built = build(spec)
    _, base = build(spec_for("minilm", "full"))
    outputs = []
    for model in (built, base):
        pack = Pack([Member(spec, model, prepared.splits["train"], torch.device("cpu"))])
        outputs.append(pack.predict(prepared.splits["test"].subset(np.arange(4)))[0])
    np.testing.assert_allclose(outputs[0], outputs[1], atol=FAR.get(method, 1e-6), rtol=0)


@every_pair
def test_what_a_model_and_a_method_say_of_packs_is_so(model, method):
    spec = spec_for(model, method)
    prepared, built = build(spec)
    kind, stackable = built.config.model_type, is_stackable(built)
    member = Member(spec, built, prepared.splits["train"], torch.device("cpu"))
    assert packable([member]) == (why_single(kind, method) is None) == (not restrictions(kind, method))
    assert (getattr(METHODS[method], "single", None) is None) == stackable


@pytest.mark.parametrize(("model", "method"), REFUSED)
def test_what_does_not_fit_is_one_line(model, method):
    with pytest.raises(UserError, match=rf"^method '{method}' on {model}: .*$"):
        build(spec_for(model, method))


@every_method
def test_same_spec_same_bits_and_other_seed_other_bits(method, tmp_path):
    runs = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)  # what the process drew before must not matter
        run = start(specify(method=method, seed=seed), tmp_path / str(number))
        runs.append([run.train_epoch().train_loss, run.train_epoch().train_loss])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@every_method
def test_a_trial_that_broke_off_goes_on_with_the_same_bits(method, tmp_path):
    spec = specify(method=method)
    whole = start(spec, tmp_path / "whole")
    expected = [whole.train_epoch().train_loss for _ in range(2)]
    broken = start(spec, tmp_path / "broken")
    broken.last_checkpoint = -float("inf")  # a checkpoint is due, however short the epoch was
    assert broken.train_epoch().train_loss == expected[0]
    resumed = start(spec, tmp_path / "broken")
    assert resumed.member.step
    assert resumed.train_epoch().train_loss == expected[1]
    weights = [dict(run.member.model.named_parameters()) for run in (whole, resumed)]
    assert all(torch.equal(parameter, weights[1][name]) for name, parameter in weights[0].items())


@every_method
def test_parameters_are_complete_scalars_with_the_types_of_the_fields(method):
    values = complete_params(method, {})
    assert complete_params(method, values) == values
    assert complete_params(method, {name: str(value) for name, value in values.items()}) == values
    assert METHODS[method].learning_rate > 0
    assert METHODS[method].display_name
