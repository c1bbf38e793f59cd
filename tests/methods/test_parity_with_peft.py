"""Methods of ``peft``: the same initial weights as those of the library's own model, and the same losses."""

import re

import numpy as np
import pytest
import torch

from benchmarks.support.trial import without_dropout
from tests.support.trials import build, specify
from tunekit.engine.member import Member
from tunekit.engine.schedule import decayed_names, learning_rate_at
from tunekit.engine.train import Pack
from tunekit.errors import UserError
from tunekit.models.families import FAMILIES
from tunekit.models.loading import load_encoder, resolve_model
from tunekit.seeding import seeded, stream_seed

pytestmark = pytest.mark.slow

MODELS = ["tiny-bert", "tiny-distilbert"]
ALL = {
    "tiny-bert": ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                  "intermediate.dense", "output.dense"],
    "tiny-distilbert": ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin1",
                        "ffn.lin2"],
}  # fmt: skip
"""The linear modules of a layer."""
SOME = {"tiny-bert": ["query", "value"], "tiny-distilbert": ["q_lin", "v_lin"]}


def of_peft(spec, prepared, config):
    """The same trial's model, which ``peft`` has changed by ``config``, with its head trained."""
    from peft import get_peft_model

    labels = len(prepared.data.label_names)
    model = load_encoder(
        resolve_model(spec.model), num_labels=labels, seed=stream_seed(spec.seed, "head"), tokenizer=prepared.tokenizer
    )
    with seeded(stream_seed(spec.seed, "method")):
        library = get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        if name.startswith(FAMILIES[model.config.model_type].head):
            parameter.requires_grad = True
    return library


def trained(model):
    return {name.removeprefix("base_model.model."): p for name, p in model.named_parameters() if p.requires_grad}


def library_losses(model, spec, member, tokenizer, optimizer):
    """Losses of the library's own forward pass on padded batches, in PyTorch's own optimizer."""
    tokens, labels, losses = member.train.tokens, member.train.labels, []
    total = member.steps_per_epoch * spec.epochs
    rates = [group["lr"] / spec.learning_rate for group in optimizer.param_groups]
    for step, indices in enumerate(member.batches()):
        rows = [{"input_ids": tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()} for i in indices]
        batch = dict(tokenizer.pad(rows, return_tensors="pt"))
        loss = model(**batch, labels=torch.from_numpy(labels[indices])).loss
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        for group, factor in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = factor * learning_rate_at(step, total, spec)
        optimizer.step()
        optimizer.zero_grad()
    return losses


def adamw(model, spec):
    return torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=spec.learning_rate, weight_decay=0.0
    )


def compared(spec, config, optimizer=adamw):
    """Assert that one epoch of ours has the losses of the library's model, and return both models, trained."""
    prepared, ours = build(spec)
    theirs = of_peft(spec, prepared, config)
    first = trained(ours)
    # Of a module that it copies, peft trains the copy.
    second = {re.sub(r"\.ln_tuning_layers\.default\.", ".", name): p for name, p in trained(theirs).items()}
    assert {name: p.shape for name, p in first.items()} == {name: p.shape for name, p in second.items()}
    for name, parameter in first.items():
        assert torch.equal(parameter, second[name]), name
    member = Member(spec, without_dropout(ours), prepared.splits["train"], torch.device("cpu"))
    assert not spec.weight_decay
    assert decayed_names(member.model) <= set(first)
    expected = library_losses(without_dropout(theirs).eval(), spec, member, prepared.tokenizer, optimizer(theirs, spec))
    found = Pack([member]).train_epoch()[0].losses
    assert np.ptp(found) > 1e-2, "a loss that never moves would agree with anything"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    return ours, theirs


def spec_of(model, method, rate=5e-3, **params):
    return specify(
        model=model, method=method, method_params=params, learning_rate=rate, epochs=1, train_limit=48, batch_size=8
    )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("targets", ["query,value", "all-linear"])
def test_rslora(model, targets):
    from peft import LoraConfig

    spec = spec_of(model, "rslora", r=4, target_modules=targets)
    names = (ALL if targets == "all-linear" else SOME)[model]
    ours, theirs = compared(spec, LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules=names))
    layers = {name.rpartition(".lora_A.")[0] for name in trained(ours) if ".lora_A." in name}
    assert len(layers) == 2 * len(names)
    assert ours.get_submodule(min(layers)).scaling == {"default": 4.0}


def test_all_linear_is_lora_of_every_linear_module_of_the_layers_and_of_none_of_the_head():
    from peft import LoraConfig

    for model in MODELS:
        compared(spec_of(model, "lora", r=4, target_modules="all-linear"), LoraConfig(r=4, target_modules=ALL[model]))


@pytest.mark.parametrize("model", MODELS)
def test_ln_tuning(model):
    from peft import LNTuningConfig

    norms = {"tiny-bert": ["LayerNorm"], "tiny-distilbert": ["LayerNorm", "sa_layer_norm", "output_layer_norm"]}
    ours, _ = compared(spec_of(model, "ln_tuning", rate=2e-2), LNTuningConfig(target_modules=norms[model]))
    head = FAMILIES[ours.config.model_type].head
    assert len([name for name in trained(ours) if not name.startswith(head)]) == 2 * 5


@pytest.mark.parametrize("targets", ["query,value", "all-linear"])
@pytest.mark.parametrize("model", MODELS)
def test_vera(model, targets):
    from peft import VeraConfig

    spec = spec_of(model, "vera", rate=2e-2, r=6, target_modules=targets)
    names = (ALL if targets == "all-linear" else SOME)[model]
    _, ours = build(spec)
    key = ours.peft_config["default"].projection_prng_key
    ours, theirs = compared(spec, VeraConfig(r=6, target_modules=names, projection_prng_key=key))
    pairs = [[m for m in one.modules() if hasattr(m, "vera_lambda_b")] for one in (ours, theirs)]
    for first, second in zip(*pairs, strict=True):
        assert torch.equal(first.vera_A["default"], second.vera_A["default"])
        assert torch.equal(first.vera_B["default"], second.vera_B["default"])
        assert first.vera_A["default"] is pairs[0][0].vera_A["default"], "one A for all modules"
    assert not any(buffer.requires_grad for buffer in ours.buffers())


def test_another_seed_has_other_projections_of_vera():
    keys = {build(specify(method="vera", seed=seed))[1].peft_config["default"].projection_prng_key for seed in (1, 2)}
    assert len(keys) == 2


@pytest.mark.parametrize("targets", ["query,value", "all-linear"])
@pytest.mark.parametrize("model", MODELS)
def test_pissa(model, targets):
    from peft import LoraConfig

    spec = spec_of(model, "pissa", r=4, target_modules=targets)
    names = (ALL if targets == "all-linear" else SOME)[model]
    config = LoraConfig(r=4, lora_alpha=4, init_lora_weights="pissa", target_modules=names)
    ours, theirs = compared(spec, config)
    frozen = {name.removeprefix("base_model.model."): p for name, p in theirs.named_parameters() if not p.requires_grad}
    for name, parameter in ours.named_parameters():
        assert parameter.requires_grad or torch.equal(parameter, frozen[name]), name


def test_pissa_begins_at_the_pretrained_weights_and_its_rest_is_the_same_for_every_seed():
    models = [
        build(specify(method="pissa", seed=seed, method_params={"r": r}))[1] for seed, r in ((1, 4), (2, 4), (1, 8))
    ]
    _, plain = build(specify(method="full"))
    name = "bert.encoder.layer.1.attention.self.value"
    first, same, other = [model.get_submodule(name) for model in models]
    weight = plain.get_submodule(name).weight
    rest = first.base_layer.weight
    product = first.lora_B["default"].weight @ first.lora_A["default"].weight
    torch.testing.assert_close(rest + product, weight, rtol=0, atol=1e-6)
    assert torch.equal(rest, same.base_layer.weight)
    assert not torch.allclose(rest, other.base_layer.weight, atol=1e-4)
    values = torch.linalg.svdvals(weight)
    torch.testing.assert_close(torch.linalg.svdvals(product)[:4], values[:4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.linalg.svdvals(rest)[: len(values) - 4], values[4:], rtol=1e-3, atol=1e-5)


def test_pissa_refuses_a_rank_above_the_singular_values_of_a_target():
    spec = specify(method="pissa", method_params={"r": 4, "target_modules": "query,classifier"})
    with pytest.raises(UserError, match="r 4 exceeds the 3 singular values of classifier"):
        build(spec)


@pytest.mark.parametrize("ratio", [1.0, 16.0])
@pytest.mark.parametrize("model", MODELS)
def test_lora_plus_with_the_librarys_optimizer(model, ratio):
    from peft import LoraConfig
    from peft.optimizers import create_loraplus_optimizer

    def optimizer(library, spec):
        return create_loraplus_optimizer(library, torch.optim.AdamW, lr=spec.learning_rate, loraplus_lr_ratio=ratio)

    spec = spec_of(model, "lora_plus", rate=1e-3, r=4, lora_alpha=16, ratio=ratio)
    compared(spec, LoraConfig(r=4, lora_alpha=16, target_modules=SOME[model]), optimizer)
