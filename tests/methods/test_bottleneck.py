"""Our bottlenecks against the library ``adapters`` 1.3.0: weights, outputs, gradients, training, checkpoints."""

import pytest
import torch
import transformers

from tests.support.trials import build, specify
from tunekit.engine.member import Member
from tunekit.engine.train import Pack
from tunekit.methods._bottleneck import HOULSBY, PFEIFFER, add_bottlenecks, from_adapters, parallel, to_adapters
from tunekit.methods.base import count_parameters, freeze
from tunekit.models.families import FAMILIES
from tunekit.models.loading import load_encoder, resolve_model
from tunekit.seeding import seeded, stream_seed

CPU = torch.device("cpu")
DESIGNS = {"adapter": HOULSBY, "pfeiffer": PFEIFFER, "parallel": parallel(4.0)}
CONFIGS = {"adapter": "double_seq_bn", "pfeiffer": "seq_bn", "parallel": "par_bn"}
"""What ``adapters`` calls them."""
every_method = pytest.mark.parametrize("method", list(DESIGNS))
against_adapters = pytest.mark.skipif(
    int(transformers.__version__.partition(".")[0]) >= 5,
    reason="compares with the library adapters, whose 1.3.0 needs transformers 4",
)


def small(model, method, **changes):
    return specify(
        model=model, method=method, method_params={"reduction_factor": 4}, train_limit=12, batch_size=4, **changes
    )


def of_the_library(spec, prepared):
    """The same trial's model, with the adapter of ``adapters`` drawn from the same seed."""
    import adapters

    labels = len(prepared.data.label_names)
    model = load_encoder(
        resolve_model(spec.model), num_labels=labels, seed=stream_seed(spec.seed, "head"), tokenizer=prepared.tokenizer
    )
    config = adapters.AdapterConfig.load(CONFIGS[spec.method], reduction_factor=spec.method_params["reduction_factor"])
    with seeded(stream_seed(spec.seed, "method")):
        adapters.init(model)
        leave_out_random_biases(model)
        freeze(model)
        model.add_adapter("tunekit", config=config)
        model.set_active_adapters("tunekit")
    head = FAMILIES[model.config.model_type].head
    for key, parameter in model.named_parameters():
        if key.startswith(head):
            parameter.requires_grad = True
    return model


def leave_out_random_biases(model):
    """Take from ModernBERT's fused modules the biases that ``adapters`` 1.3.0 draws for them where they have none."""
    for module in model.modules():
        if type(module).__name__ == "LoRAMergedLinear":
            module.bias = None


def padded(spec, prepared):
    """Four training texts of unlike lengths, padded."""
    tokens = prepared.splits["train"].tokens
    rows = [{"input_ids": tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()} for i in range(4)]
    return dict(prepared.tokenizer.pad(rows, return_tensors="pt"))


@against_adapters
@every_method
@pytest.mark.parametrize(
    "model", ["tiny-bert", "tiny-roberta", "tiny-distilbert", pytest.param("minilm", marks=pytest.mark.model)]
)
def test_one_seed_gives_the_same_weights_outputs_and_gradients(model, method):
    spec = small(model, method)
    prepared, ours = build(spec)
    theirs = of_the_library(spec, prepared)
    assert count_parameters(ours) == count_parameters(theirs)
    named = dict(theirs.named_parameters())
    for key, parameter in to_adapters(dict(ours.named_parameters())).items():
        assert torch.equal(parameter, named[key]), key
        assert parameter.requires_grad == named[key].requires_grad, key
    batch = padded(spec, prepared)
    labels = torch.tensor([0, 1, 2, 0])
    outputs = [one(**batch, labels=labels) for one in (ours, theirs)]
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    for output in outputs:
        output.loss.backward()
    gradients = to_adapters({key: p.grad for key, p in ours.named_parameters() if p.requires_grad})
    assert len(gradients) > 8
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradient, named[key].grad, rtol=1e-6, atol=1e-8)


@against_adapters
@pytest.mark.parametrize("method", ["adapter", "pfeiffer"])
def test_the_same_weights_give_the_same_outputs_and_gradients_in_modernbert(method):
    """One seed gives other weights: the library draws other numbers before its bottlenecks."""
    spec = small("tiny-modernbert", method)
    prepared, ours = build(spec)
    theirs = of_the_library(spec, prepared)
    assert count_parameters(ours) == count_parameters(theirs)
    assert not theirs.load_state_dict(to_adapters(ours.state_dict()), strict=False).unexpected_keys
    batch, labels = padded(spec, prepared), torch.tensor([0, 1, 2, 0])
    outputs = [one(**batch, labels=labels) for one in (ours, theirs)]
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits, rtol=1e-6, atol=1e-7)
    for output in outputs:
        output.loss.backward()
    named = dict(theirs.named_parameters())
    gradients = to_adapters({key: p.grad for key, p in ours.named_parameters() if p.requires_grad})
    assert len(gradients) > 8
    for key, gradient in gradients.items():
        assert named[key].requires_grad
        torch.testing.assert_close(gradient, named[key].grad, rtol=1e-5, atol=1e-7)


@against_adapters
def test_adapters_draws_biases_for_modernberts_fused_modules():
    """Once it does no more, the model card's lines about them and this can go."""
    import adapters

    spec = small("tiny-modernbert", "adapter")
    prepared, _ = build(spec)
    model = load_encoder(resolve_model(spec.model), num_labels=3, seed=1, tokenizer=prepared.tokenizer)
    expected = model(**padded(spec, prepared)).logits
    adapters.init(model)
    assert (model(**padded(spec, prepared)).logits - expected).abs().max() > 1e-4
    leave_out_random_biases(model)
    assert torch.equal(model(**padded(spec, prepared)).logits, expected)


@against_adapters
@every_method
@pytest.mark.parametrize("model", ["tiny-bert", "tiny-roberta", "tiny-distilbert"])
def test_the_engine_trains_both_to_the_same_losses(model, method):
    """With dropout: results that were recorded with the library's module are still those of their seeds."""
    spec = small(model, method, learning_rate=1e-2)
    prepared, ours = build(spec)
    losses = [
        Pack([Member(spec, one, prepared.splits["train"], CPU)]).train_epoch()[0].losses
        for one in (ours, of_the_library(spec, prepared))
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-7)
    assert len(set(losses[0])) == 3


@against_adapters
@every_method
@pytest.mark.parametrize("model", ["tiny-roberta", "tiny-distilbert", "tiny-modernbert"])
def test_a_trained_checkpoint_goes_to_the_library_and_back(model, method, tmp_path):
    from safetensors.torch import load_file

    if (model, method) == ("tiny-modernbert", "parallel"):
        pytest.skip("parallel adapters have no place in ModernBERT here")
    spec = small(model, method, learning_rate=1e-2)
    prepared, trained = build(spec)
    Pack([Member(spec, trained, prepared.splits["train"], CPU)]).train_epoch()
    state = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    batch = padded(spec, prepared)
    theirs = of_the_library(spec, prepared)
    before = theirs(**batch).logits
    missing, unexpected = theirs.load_state_dict(to_adapters(state), strict=False)
    assert not unexpected
    assert all("prompt_tuning" in key for key in missing)
    logits = theirs(**batch).logits
    assert not torch.allclose(logits, before)

    theirs.save_adapter(str(tmp_path), "tunekit", with_head=False, use_safetensors=True)
    (file,) = tmp_path.glob("*adapter.safetensors")
    back = from_adapters(load_file(file))
    assert set(back) == {key for key in state if ".adapter." in key}
    assert all(torch.equal(tensor, state[key]) for key, tensor in back.items())
    _, ours = build(spec)
    head = FAMILIES[ours.config.model_type].head
    _, unexpected = ours.load_state_dict(
        back | {key: tensor for key, tensor in state.items() if key.startswith(head)}, strict=False
    )
    assert not unexpected
    assert torch.equal(ours(**batch).logits, logits)


@against_adapters
@every_method
def test_the_configuration_that_is_written_is_the_librarys(method):
    from adapters import AdapterConfig

    config = AdapterConfig.load(CONFIGS[method], reduction_factor=16).to_dict()
    assert DESIGNS[method].library_config(16) == {k: v for k, v in config.items() if k != "architecture"}


def test_names_go_both_ways():
    ours = {
        "bert.encoder.layer.0.output.adapter.down.weight": 1,
        "bert.encoder.layer.0.attention.output.adapter.up.bias": 2,
        "bert.encoder.layer.0.output.dense.weight": 3,
        "distilbert.transformer.layer.0.attention.out_lin.adapter.down.bias": 4,
        "distilbert.transformer.layer.0.attention.out_lin.weight": 5,
        "distilbert.transformer.layer.0.ffn.adapter.up.weight": 6,
    }
    theirs = to_adapters(ours, "my.own")
    assert list(theirs) == [
        "bert.encoder.layer.0.output.adapters.my.own.adapter_down.0.weight",
        "bert.encoder.layer.0.attention.output.adapters.my.own.adapter_up.bias",
        "bert.encoder.layer.0.output.dense.weight",
        "distilbert.transformer.layer.0.attention_adapters.adapters.my.own.adapter_down.0.bias",
        "distilbert.transformer.layer.0.attention.out_lin.weight",
        "distilbert.transformer.layer.0.output_adapters.adapters.my.own.adapter_up.weight",
    ]
    assert from_adapters(theirs, "my.own") == ours
    with pytest.raises(ValueError, match="no bottleneck of an adapter called 'other'"):
        from_adapters(theirs, "other")


def test_what_has_no_place_for_a_bottleneck_is_refused():
    sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.AlbertConfig(**sizes, embedding_size=8, intermediate_size=8)
    with pytest.raises(ValueError, match="not supported in model type 'albert'"):
        add_bottlenecks(transformers.AlbertForSequenceClassification(config), 2, HOULSBY)
    config = transformers.BertConfig(**sizes, intermediate_size=8)
    with pytest.raises(ValueError, match="reduction_factor 16 exceeds hidden size 8"):
        add_bottlenecks(transformers.BertForSequenceClassification(config), 16, HOULSBY)
