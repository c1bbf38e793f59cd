"""Padded batches: models and methods that need them, and what ELECTRA and prefixes ask for beside."""

import numpy as np
import pytest
import torch
from transformers import ElectraConfig, ElectraForSequenceClassification

from benchmarks.support.trial import without_dropout
from tests.support.trials import build, specify, start
from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.forward.patching import batch_of, logits, patch_model
from tunekit.engine.member import Member
from tunekit.engine.train import Pack
from tunekit.planning.batching import restrictions

pytestmark = pytest.mark.slow

PREFIXED = ["tiny-bert", "tiny-roberta", "tiny-electra", "tiny-deberta"]
"""The models that Mix-and-Match fits."""
CPU = torch.device("cpu")
TEXTS = [np.array([2, 7, 8, 9, 3]), np.array([2, 11, 3]), np.array([2, 5, 6, 12, 13, 14, 3])]


def sequences(texts) -> TokenisedSplit:
    ids, offsets = np.concatenate(texts).astype(np.int32), np.cumsum([0, *map(len, texts)])
    return TokenisedSplit(ids, np.zeros(len(ids), np.int8), offsets, 0)


def member_of(spec, *, dropout: bool = True, parts: int = 1) -> Member:
    prepared, model = build(spec)
    model = model if dropout else without_dropout(model)
    return Member(spec, model, prepared.splits["train"], CPU, micro_batches=parts)


def losses(member: Member) -> list[float]:
    return Pack([member]).train_epoch()[0].losses


@pytest.mark.parametrize("model", ["tiny-distilbert", "tiny-deberta"])
def test_dropout_is_the_trials_own(model):
    specs = [specify(model=model, method="lora", seed=seed, batch_size=8, epochs=1) for seed in (1, 1, 2)]
    found = []
    for number, spec in enumerate(specs):
        torch.manual_seed(number)
        state = torch.random.get_rng_state()
        found.append(losses(member_of(spec)))
        assert torch.equal(torch.random.get_rng_state(), state)
    assert found[0] == found[1] != found[2]
    assert found[0] != losses(member_of(specs[0], dropout=False))


@pytest.mark.parametrize("model", ["tiny-distilbert", "tiny-deberta"])
def test_a_trial_that_broke_off_goes_on_with_the_same_bits(model, tmp_path):
    spec = specify(model=model, method="lora", epochs=2)
    whole = start(spec, tmp_path / "whole")
    expected = [whole.train_epoch().train_loss for _ in range(2)]
    log: list[str] = []
    first = start(spec, tmp_path / "broken", log)
    assert first.train_epoch().train_loss == expected[0]
    assert start(spec, tmp_path / "broken").train_epoch().train_loss == expected[1]
    assert first.facts.execution["attention"] == "padded"
    assert restrictions(first.member.model.config.model_type, "lora")[0] in log
    assert first.facts.predicted_memory_bytes is None


def test_parts_of_a_padded_batch_add_up():
    spec = specify(model="tiny-distilbert", method="full", batch_size=10, train_limit=24, epochs=1)
    whole, parts = member_of(spec, dropout=False), member_of(spec, dropout=False, parts=3)
    np.testing.assert_allclose(losses(whole), losses(parts), rtol=0, atol=1e-6)


def test_padded_trials_are_no_pack():
    members = [member_of(specify(model="tiny-distilbert", seed=seed)) for seed in (1, 2)]
    with pytest.raises(ValueError, match="can't be one pack"):
        Pack(members)


@pytest.mark.parametrize(
    ("model", "method"),
    [("tiny-deberta", "ia3"), ("tiny-bert", "compacter"), *((model, "mam") for model in PREFIXED)],
)
def test_padding_changes_no_scores(model, method):
    member = member_of(specify(model=model, method=method), dropout=False)
    together = Pack([member]).predict(member.train)[0]
    alone = [Pack([member]).predict(member.train.subset(np.array([row])))[0][0] for row in range(5)]
    np.testing.assert_allclose(together[:5], alone, rtol=0, atol=1e-5)


def test_an_electra_with_narrow_embeddings_runs_without_padding():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = ElectraConfig(
        vocab_size=20, embedding_size=12, **sizes, num_labels=3, attn_implementation="eager", initializer_range=0.3
    )
    model = ElectraForSequenceClassification(config).eval()
    width = max(map(len, TEXTS))
    ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in TEXTS])
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
        patch_model(model)
        found = logits(model, batch_of(model, [(sequences(TEXTS), np.arange(len(TEXTS)))]))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.ptp(expected.numpy(), axis=0).min() > 1e-3


@pytest.mark.parametrize("model", ["tiny-bert", "tiny-roberta", "tiny-electra", "tiny-distilbert"])
def test_a_prefix_changes_the_output_and_learns_in_every_layer(model):
    member = member_of(specify(model=model, method="prefix", method_params={"length": 3}))
    part = member.train.subset(np.arange(6))
    before = Pack([member]).predict(part)[0]
    prefixes = {name: p for name, p in member.model.named_parameters() if name.endswith(".prefix")}
    assert len(prefixes) == 4
    Pack([member]).steps.backward([np.arange(4)])
    for name, prefix in prefixes.items():
        assert prefix.shape == (3, 32)
        assert (prefix.grad.abs().amax(dim=1) > 0).all(), name
        with torch.no_grad():
            prefix *= 32
        assert np.abs(Pack([member]).predict(part)[0] - before).max() > 1e-6, name
        with torch.no_grad():
            prefix /= 32


def test_a_prefix_is_seen_under_dropout_too():
    member = member_of(specify(method="prefix"))
    member.model.train()
    expected, again = (Pack([member]).steps.loss([np.arange(4)])[0].item() for _ in range(2))
    assert again == expected
    with torch.no_grad():
        for name, parameter in member.model.named_parameters():
            if name.endswith("key.prefix"):
                parameter.zero_()
    assert Pack([member]).steps.loss([np.arange(4)])[0].item() != expected
