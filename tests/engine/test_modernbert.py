"""ModernBERT without padding against the library's own model: windows, rotations, pooling, dropout, fused modules."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import ModernBertConfig, ModernBertForSequenceClassification

from tests.support.packs import train
from tests.support.trials import build, specify
from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.build import adapt
from tunekit.engine.forward.dropout import MaskKind
from tunekit.engine.forward.patching import batch_of, logits, patch_model
from tunekit.engine.fused_linear import SplitLinear, fuse_blocks, split_fused
from tunekit.engine.member import LabelledSplit, Member
from tunekit.engine.train import Pack
from tunekit.errors import UserError
from tunekit.export import formats
from tunekit.models.shapes import NoClosedForm, Shape
from tunekit.planning.fitting import check_fit

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
LENGTHS = (30, 3, 17, 9, 30, 12, 2, 25, 5)
"""Longer and shorter than a window, in several groups, with padding and without."""
BIASES = {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True}


def model_of(**settings):
    """A model with large weights, so that no part of it is lost in rounding, and biases that are not 0."""
    values = {
        "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 20,
        "local_attention": 8, "pad_token_id": 0, "num_labels": 3, "initializer_range": 0.4,
        "attn_implementation": "eager", "max_position_embeddings": 64, **settings,
    }  # fmt: skip
    torch.manual_seed(3)
    model = ModernBertForSequenceClassification(ModernBertConfig(**values)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias") or "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def sequences(lengths=LENGTHS):
    draw = np.random.default_rng(5)
    ids = draw.integers(4, 50, sum(lengths)).astype(np.int32)
    return TokenisedSplit(ids, np.zeros(len(ids), np.int8), np.cumsum([0, *lengths]).astype(np.int64), 0)


def of_the_library(model, tokens):
    width = int(tokens.lengths.max())
    rows = [tokens.ids[begin : begin + size] for begin, size in zip(tokens.offsets, tokens.lengths, strict=False)]
    ids = torch.tensor(np.stack([np.pad(row, (0, width - len(row))) for row in rows]), dtype=torch.long)
    mask = torch.tensor(np.arange(width) < tokens.lengths[:, None], dtype=torch.long)
    return model(input_ids=ids, attention_mask=mask).logits


def flat(model, tokens):
    return logits(model, batch_of(model, [(tokens, np.arange(len(tokens.lengths)))]))


@pytest.mark.parametrize("biases", [{}, BIASES], ids=["plain", "biases"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("layers", [1, 3, 4], ids=lambda layers: f"{layers}-layers")
def test_logits_and_gradients_are_the_librarys(layers, pooling, biases):
    """Of three layers the last is a local one; of one or four it is a global one."""
    settings = {"num_hidden_layers": layers, "classifier_pooling": pooling, **biases}
    theirs, ours, tokens = model_of(**settings), model_of(**settings), sequences()
    expected = of_the_library(theirs, tokens)
    patch_model(ours)
    found = flat(ours, tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert np.ptp(expected.detach().numpy(), axis=0).min() > 0.1
    for result in (found, expected):
        result.square().sum().backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    assert len(gradients) > 5
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-3 * gradients[name].abs().max())


@pytest.mark.parametrize(
    "change",
    [
        {"local_attention": 4},
        {"local_rope_theta": 300.0},
        {"global_rope_theta": 300.0},
        {"global_attn_every_n_layers": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_config_says_of_attention_is_followed(change):
    tokens, before = sequences(), of_the_library(model_of(), sequences())
    ours = model_of(**change)
    expected = of_the_library(ours, tokens)
    assert (expected - before).abs().max() > 1e-3, "this setting changes nothing here"
    patch_model(ours)
    torch.testing.assert_close(flat(ours, tokens), expected, rtol=1e-4, atol=1e-4)


def test_a_rotation_that_is_scaled_is_refused():
    scaled = {"rope_type": "linear", "factor": 2.0}
    with pytest.raises(UserError, match="rope_scaling is .*linear"):
        patch_model(model_of(rope_scaling=scaled))


def member_of(spec, model, tokens=None):
    split = LabelledSplit(tokens or sequences(), np.arange(len(LENGTHS)) % 3)
    return Member(spec, model, split, CPU)


RATES = {"embedding_dropout": 0.1, "attention_dropout": 0.2, "mlp_dropout": 0.3, "classifier_dropout": 0.4}


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_every_rate_of_dropout_in_the_config_is_followed(pooling):
    member = member_of(specify(method="full"), model_of(num_hidden_layers=2, classifier_pooling=pooling, **RATES))
    sites = [(site.kind, site.width, round(site.dropping_levels / 65536, 2)) for site in member.context.sites.sites]
    last = MaskKind.SEQUENCE if pooling == "cls" else MaskKind.TOKEN
    assert sites == [
        (MaskKind.TOKEN, 24, 0.1),
        (MaskKind.PAIR, 2, 0.2), (MaskKind.TOKEN, 24, 0.2), (MaskKind.TOKEN, 20, 0.3),
        (MaskKind.TOKEN if pooling == "cls" else MaskKind.PAIR, 2, 0.2), (last, 24, 0.2), (last, 20, 0.3),
        (MaskKind.SEQUENCE, 24, 0.4),
    ]  # fmt: skip


@pytest.mark.parametrize("layers", [3, 4])
def test_attention_that_drops_next_to_nothing_is_attention(layers):
    """At a rate of 1 / 65536 probabilities are computed step by step, windows with them, and nearly none is dropped."""
    spec = specify(method="full", batch_size=len(LENGTHS), epochs=1)
    losses = []
    for rate in (0.0, 1 / 65536):
        member = member_of(spec, model_of(num_hidden_layers=layers, attention_dropout=rate))
        member.model.train()
        losses.append(Pack([member]).steps.loss([np.arange(len(LENGTHS))])[0].item())
        assert bool(member.context.sites.sites) == (rate > 0)
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


CASES = [("full", {}), ("lora", {"r": 3}), ("lora", {"r": 2, "target_modules": "Wqkv"}), ("adapter", {}),
         ("pfeiffer", {}), ("bitfit", {}), ("head", {})]  # fmt: skip


@pytest.mark.parametrize("rates", [{}, RATES], ids=["plain", "dropout"])
@pytest.mark.parametrize(("method", "params"), CASES)
def test_a_pack_trains_as_its_members_do_alone(method, params, rates):
    settings = {"initializer_range": 0.1, **BIASES, **rates, "classifier_pooling": "mean" if rates else "cls"}
    packed, alone = [], []
    for members in (packed, alone):
        for seed in (1, 2, 3):
            spec = specify(
                method=method, seed=seed, method_params=params | ({"reduction_factor": 4} if "p" in method[:2] or
                method == "adapter" else {}), batch_size=4, epochs=3, learning_rate=1e-2 / seed,
            )  # fmt: skip
            model = model_of(**settings)
            adapt(model, spec)
            members.append(member_of(spec, model))
    found = train(packed, 3)
    expected = np.concatenate([train([member], 3) for member in alone])
    assert np.ptp(found, axis=1).min() > 1e-3, "losses that never move would agree with anything"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def lora(targets, **params):
    return specify(method="lora", method_params={"r": 3, "lora_alpha": 6, "target_modules": targets, **params})


def moved(model):
    """``model`` with updates that are not 0."""
    torch.manual_seed(9)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("biases", [{}, BIASES], ids=["plain", "biases"])
def test_row_blocks_are_the_rows_of_the_fused_module(biases):
    model, tokens = model_of(**biases), sequences()
    expected = of_the_library(model, tokens)
    split_fused(model)
    torch.testing.assert_close(of_the_library(model, tokens), expected, rtol=1e-4, atol=1e-4)
    assert all(isinstance(layer.attn.Wqkv, SplitLinear) for layer in model.model.layers)


def test_lora_on_queries_changes_the_rows_of_queries_alone():
    """Against weights that are put together by hand: W + (alpha / r) B A in the rows of each block."""
    spec, tokens = lora("query,value"), sequences()
    model, by_hand = model_of(), model_of()
    adapt(model, spec)
    moved(model)
    with torch.no_grad():
        for ours, theirs in zip(model.model.layers, by_hand.model.layers, strict=True):
            for row, block in ((0, ours.attn.Wqkv.query), (2, ours.attn.Wqkv.value)):
                update = block.lora_B["default"].weight @ block.lora_A["default"].weight
                theirs.attn.Wqkv.weight[24 * row : 24 * (row + 1)] += 6 / 3 * update
            assert type(ours.attn.Wqkv.key) is nn.Linear
    expected = of_the_library(by_hand, tokens)
    torch.testing.assert_close(of_the_library(model, tokens), expected, rtol=1e-4, atol=1e-4)
    patch_model(model)
    torch.testing.assert_close(flat(model, tokens), expected, rtol=1e-4, atol=1e-4)


def test_lora_on_the_fused_module_is_pefts():
    from peft import LoraConfig, inject_adapter_in_model

    spec, tokens = lora("Wqkv"), sequences()
    ours, theirs = model_of(), model_of()
    adapt(ours, spec)
    inject_adapter_in_model(LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, target_modules=["Wqkv"]), theirs)
    theirs.load_state_dict(moved(ours).state_dict())  # the same names
    expected = of_the_library(theirs, tokens)
    patch_model(ours)
    torch.testing.assert_close(flat(ours, tokens), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("targets", ["query,value", "key", "query,key,value,attn.Wo", "model.layers.1.attn.Wqkv.query"])
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_fusing_the_blocks_again_changes_no_output_and_leaves_what_peft_knows(method, targets):
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    from peft.utils import get_peft_model_state_dict

    tokens, model = sequences(), model_of()
    adapt(model, specify(method=method, method_params={"r": 3, "lora_alpha": 6, "target_modules": targets}))
    expected = of_the_library(moved(model), tokens)
    assert (expected - of_the_library(model_of(), tokens)).abs().max() > 1e-3
    fuse_blocks(model)
    torch.testing.assert_close(of_the_library(model, tokens), expected, rtol=1e-4, atol=1e-4)
    again, config = model_of(), model.peft_config["default"]
    assert isinstance(config, LoraConfig)
    inject_adapter_in_model(config, again)
    set_peft_model_state_dict(again, get_peft_model_state_dict(model, save_embedding_layers=False))
    torch.testing.assert_close(of_the_library(again, tokens), expected, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_one_line_in_the_plan_and_in_the_engine():
    config = {**model_of().config.to_dict()}
    for spec, message in [
        (specify(method="bitfit"), "its encoder has no biases"),
        (specify(method="ia3"), "rows of one module"),
        (specify(method="prefix"), "rows of one module"),
        (lora("query,Wqkv"), "target_modules names 'Wqkv' and its rows 'query'; name one of them"),
    ]:
        with pytest.raises(UserError, match=f"^method '{spec.method}' on tiny-bert: .*{message}"):
            check_fit(spec, config)
        with pytest.raises(UserError, match=f"^method '{spec.method}' on tiny-bert: .*{message}"):
            adapt(model_of(), spec)
    check_fit(specify(method="bitfit"), {**config, "mlp_bias": True})


@pytest.mark.parametrize("change", [*BIASES, "hidden_activation"])
def test_a_config_with_biases_or_another_activation_has_no_closed_form(change):
    config = model_of().config.to_dict()
    assert Shape.from_config(config).local_attention == 8
    with pytest.raises(NoClosedForm, match=change):
        Shape.from_config({**config, change: "relu" if change == "hidden_activation" else True})


def test_a_layer_that_a_method_has_hooked_is_refused():
    model = model_of()
    model.model.layers[1].attn.register_forward_hook(lambda module, inputs, output: output)
    with pytest.raises(UserError, match="layer 1: a method has changed ModernBertAttention as a whole"):
        patch_model(model)


def test_a_flat_batch_moves_to_a_device_with_all_its_tensors():
    model = model_of()
    patch_model(model)
    batch = batch_of(model, [(sequences(), np.arange(len(LENGTHS)))]).to(torch.device("meta"))
    tensors = [value for part in (batch, *batch.groups) for value in vars(part).values()]
    found = [one for one in tensors if isinstance(one, torch.Tensor)]
    assert len(found) > 10
    assert all(one.device.type == "meta" for one in found)


def test_masks_move_to_a_device_and_begin_at_the_first_site():
    member = member_of(specify(method="full"), model_of(**RATES))
    steps = Pack([member]).steps
    masks = steps.draw_masks(steps.batch([(member.train, np.arange(4))], train=True), 0, 0)
    masks.next(MaskKind.TOKEN)
    moved_masks = masks.to(torch.device("meta"))
    assert {mask.device.type for mask in moved_masks.by_kind.values()} == {"meta"}
    assert moved_masks.next(MaskKind.TOKEN)[0].shape[-1] == 24


def test_trials_of_the_tiny_model_are_trained_and_scored():
    spec = specify(model="tiny-modernbert", method="lora", train_limit=16, batch_size=8, epochs=1)
    prepared, model = build(spec)
    member = Member(spec, model, prepared.splits["train"], CPU)
    assert len(Pack([member]).train_epoch()[0].losses) == 2
    assert {layer.attn.window for layer in model.model.layers} == {None, 4}


def test_pissa_on_rows_is_merged_and_not_written_as_an_update(tmp_path):
    tokens, model = sequences(), model_of()
    adapt(model, specify(method="pissa", method_params={"r": 2}))
    torch.testing.assert_close(of_the_library(model, tokens), of_the_library(model_of(), tokens), rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match="PiSSA on rows of a fused module .* export with --merged"):
        formats.write(model, tmp_path, None, None)
    expected = of_the_library(moved(model), tokens)
    formats.merge_all(model)
    torch.testing.assert_close(of_the_library(model, tokens), expected, rtol=1e-3, atol=1e-3)
