"""A model's weights: whole, of the shapes that config.json says, finite, in one file or in shards; heads are drawn."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import normalizers
from transformers import ModernBertForMaskedLM

from tests.support.model_folders import (
    ROBERTA_SPECIALS,
    byte_level,
    change_json,
    change_weights,
    named,
    wordpiece,
    write_model,
)
from tunekit.errors import UserError
from tunekit.models.families import FAMILIES
from tunekit.models.loading import checked_model, load_encoder, load_tokenizer, resolve_model
from tunekit.models.weights import INDEX, WEIGHTS, stored_tensors

WORDS = "embeddings.word_embeddings.weight"
TYPES = list(FAMILIES)


def make(folder, model_type="bert", **options):
    tokenizer = byte_level() if model_type == "roberta" else wordpiece(normalizers.BertNormalizer())
    # Version 5 makes DeBERTa's own class of unigram pieces alone.
    values = {"tokenizer_class": "PreTrainedTokenizerFast"} if model_type == "deberta-v2" else {}
    return write_model(folder, tokenizer, values, model_type=model_type, **options)


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "model")


@pytest.fixture
def sharded(tmp_path):
    return make(tmp_path / "sharded", max_shard_size="3KB")


def load(folder, seed=1, num_labels=2):
    ref = resolve_model(str(folder))
    return load_encoder(ref, num_labels=num_labels, seed=seed, tokenizer=load_tokenizer(ref, None))


def refusal(folder):
    with pytest.raises(UserError) as caught:
        checked_model(resolve_model(str(folder)))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("model '")
    return str(caught.value)


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("num_labels", [2, 3])
def test_heads_are_drawn_from_the_seed_whatever_the_weights_hold(model_type, num_labels, tmp_path):
    family = FAMILIES[model_type]
    kept = make(tmp_path / "kept", model_type, num_labels=num_labels)
    bare = shutil.copytree(kept, tmp_path / "bare")

    def cut(tensors):
        for name in [name for name in tensors if name.startswith(family.drawn)]:
            del tensors[name]

    change_weights(bare, cut)
    assert stored_tensors(kept, "").keys() > stored_tensors(bare, "").keys()
    one, same, other = load(kept), load(bare), load(kept, seed=2)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, same.get_parameter(name)), name
        drawn = name.startswith(family.drawn)
        assert drawn == (name in one.tunekit_never_pretrained)
        if drawn and name.endswith("weight"):
            assert not torch.equal(parameter, other.get_parameter(name)), name
        if not drawn:
            assert torch.equal(parameter, load_file(kept / WEIGHTS)[name]), name
    assert len([line for line in checked_model(resolve_model(str(kept))).notes if "drawn from the seed" in line]) == 1
    assert checked_model(resolve_model(str(bare))).notes == ()
    assert resolve_model(str(kept)).name.partition("-")[2] != resolve_model(str(bare)).name.partition("-")[2]


def test_shards_are_the_same_model(folder, sharded):
    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    assert checked_model(resolve_model(str(sharded)))
    whole, parts = load(folder), load(sharded)
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, parts.get_parameter(name)), name
    revision = resolve_model(str(sharded)).revision
    shard = next(sharded.glob("model-00002-*"))
    tensors = load_file(shard)
    save_file({name: one + 1 for name, one in tensors.items()}, shard, metadata={"format": "pt"})
    assert resolve_model(str(sharded)).revision != revision, "each shard is part of the model's identity"


@pytest.mark.parametrize("name", ["../stolen.safetensors", "/etc/passwd", "sub/x.safetensors", "pytorch_model.bin", ""])
def test_an_index_names_shards_of_its_own_folder_only(sharded, name):
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"][next(iter(index["weight_map"]))] = name
    (sharded / INDEX).write_text(json.dumps(index))
    assert "is no shard in the model's own folder" in refusal(sharded)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', '{"weight_map": [1]}'])
def test_an_index_that_is_none_is_refused(sharded, text):
    (sharded / INDEX).write_text(text)
    assert INDEX in refusal(sharded)


def test_shards_and_index_that_disagree_are_refused(sharded):
    shard = next(sharded.glob("model-00002-*"))
    content = shard.read_bytes()
    shard.unlink()
    assert f"names {shard.name}, which sharded does not hold" in refusal(sharded)
    shard.write_bytes(content)
    stray = sharded / "model-00099-of-00099.safetensors"
    stray.write_bytes(content)
    assert f"does not name the shard {stray.name}" in refusal(sharded)
    stray.unlink()
    tensors = load_file(shard)
    name = sorted(tensors)[0]
    save_file({key: one for key, one in tensors.items() if key != name}, shard)
    assert f"{shard.name} lacks {name}" in refusal(sharded)
    save_file({**tensors, "more": torch.zeros(1)}, shard)
    assert f"{shard.name} holds more" in refusal(sharded)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_in_every_type(folder, dtype, value):
    def plain(tensors):
        for name in tensors:
            tensors[name] = tensors[name].to(dtype)

    change_weights(folder, plain)
    assert checked_model(resolve_model(str(folder)))
    assert load(folder).dtype is torch.float32
    change_weights(folder, lambda tensors: tensors[f"bert.{WORDS}"].view(-1)[-1:].fill_(value))
    assert f"bert.{WORDS} of its weights holds NaN or infinity" in refusal(folder)


@pytest.mark.parametrize("model_type", TYPES)
def test_fewer_embeddings_than_tokens_are_refused_with_both_numbers(model_type, tmp_path):
    folder = make(tmp_path / "model", model_type)
    tokens = len(load_tokenizer(resolve_model(str(folder)), None))
    small = make(tmp_path / "small", model_type, rows=tokens - 2)
    assert f"its tokenizer has {tokens} tokens, its weights have {tokens - 2} embeddings" in refusal(small)
    large = make(tmp_path / "large", model_type, rows=tokens + 2)
    assert checked_model(resolve_model(str(large)))


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TYPES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_sizes_and_weights_that_disagree_are_refused(model_type, data, tmp_path_factory):
    folder, family = make(tmp_path_factory.mktemp("a") / "model", model_type), FAMILIES[model_type]
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")
    positions = not (family.rotary or model_type == "deberta-v2")
    key = data.draw(st.sampled_from(keys if positions else keys[:-1]))
    own = family.config_keys.get(key, key)
    config = json.loads((folder / "config.json").read_text())
    more = data.draw(st.sampled_from([2, 4, 10]))
    change_json(folder / "config.json", **{own: config[own] + more})
    assert "weights" in refusal(folder)
    for value in ("many", -1, 2.5, None, True):
        change_json(folder / "config.json", **{own: value})
        assert f"config.json says {own} {value!r}" in refusal(folder)


@pytest.mark.parametrize("model_type", TYPES)
def test_a_missing_or_a_wrong_tensor_is_named(model_type, tmp_path):
    folder = make(tmp_path / "model", model_type)
    ref = resolve_model(str(folder))
    assert checked_model(ref)
    backbone, inner = FAMILIES[model_type].backbone, FAMILIES[model_type].layers.partition(".")[2]
    name = f"{inner}.1.{FAMILIES[model_type].module('attention.output.dense')}.weight"
    whole = load_file(folder / WEIGHTS)
    change_weights(folder, lambda tensors: tensors.pop(f"{backbone}.{name}"))
    assert f"its weights lack {name}" in refusal(folder)
    save_file({**whole, f"{backbone}.{name}": torch.zeros(8, 9)}, folder / WEIGHTS, metadata={"format": "pt"})
    assert f"{name} is 8 x 9 in its weights, and 8 x 8 by its config.json" in refusal(folder)
    # Weights of the encoder alone, which have no prefix.
    bare = {key.removeprefix(f"{backbone}."): one for key, one in whole.items() if key.startswith(f"{backbone}.")}
    save_file(bare, folder / WEIGHTS, metadata={"format": "pt"})
    assert checked_model(resolve_model(str(folder))).notes == ()
    assert torch.equal(load(folder).get_parameter(f"{backbone}.{name}"), whole[f"{backbone}.{name}"])


def test_the_head_of_a_pretrained_modernbert_is_kept_and_its_classifier_is_drawn(tmp_path):
    """Pretraining on masked tokens has trained the head's dense layer and norm; its decoder has no place here."""
    folder = make(tmp_path / "model", "modernbert")
    classifier = load(folder)
    pretrained = ModernBertForMaskedLM(classifier.config)
    with torch.no_grad():
        pretrained.head.norm.weight.fill_(3)
    (folder / WEIGHTS).unlink()
    pretrained.save_pretrained(folder)
    found, again = load(folder, seed=1), load(folder, seed=2)
    for model in (found, again):
        assert torch.equal(model.head.dense.weight, pretrained.head.dense.weight)
        assert torch.equal(model.head.norm.weight, pretrained.head.norm.weight)
        assert torch.equal(model.model.layers[1].attn.Wqkv.weight, pretrained.model.layers[1].attn.Wqkv.weight)
        assert model.tunekit_never_pretrained == {"classifier.weight", "classifier.bias"}
    assert not torch.equal(found.classifier.weight, again.classifier.weight)


def test_layers_that_config_leaves_out_are_said(folder):
    change_json(folder / "config.json", num_hidden_layers=1)
    notes = checked_model(resolve_model(str(folder))).notes
    assert any("have 2 layers, of which its config.json takes the first 1" in line for line in notes)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_of_weights_is_refused_or_still_whole(data, folder):
    path = folder / WEIGHTS
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    place = data.draw(st.integers(0, 8 + length - 1))
    torn = data.draw(
        st.sampled_from([whole[:place], whole[:-1], whole[:place] + b"\x00" + whole[place + 1 :], b"", whole + whole])
    )
    path.write_bytes(torn)
    try:
        checked_model(resolve_model(str(folder)))
        load(folder)
        message = ""
    except UserError as error:  # anything else fails the test
        message = str(error)
    path.write_bytes(whole)
    assert not message or message.startswith("model '")


def test_roberta_positions_begin_behind_the_padding_token(tmp_path):
    folder = make(tmp_path / "model", "roberta")
    config = json.loads((folder / "config.json").read_text())
    assert config["pad_token_id"] == 1
    assert checked_model(resolve_model(str(folder))).max_length == config["max_position_embeddings"] - 2
    change_json(folder / "config.json", pad_token_id=0)
    ref = resolve_model(str(folder))
    assert load_tokenizer(ref, None).model_max_length == config["max_position_embeddings"] - 1
    model = load(folder)
    ids = torch.full((1, 47), 7)
    assert model(input_ids=ids).logits.isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, 48), 7))


def test_a_model_without_room_for_a_text_is_refused(tmp_path):
    folder = make(tmp_path / "model", config={"max_position_embeddings": 2})
    with pytest.raises(UserError, match="a text has no room in its 2 positions"):
        load_tokenizer(resolve_model(str(folder)), None)


def test_token_types_of_pairs_without_an_embedding_are_known(tmp_path):
    make_one = {"tokenizer_class": "BertTokenizer"}
    folder = write_model(
        tmp_path / "model", wordpiece(normalizers.BertNormalizer()), make_one, config={"type_vocab_size": 1}
    )
    checked = checked_model(resolve_model(str(folder)))
    assert (checked.type_ids, checked.num_types) == ((0, 1), 1)
    roberta = write_model(
        tmp_path / "roberta", byte_level(), {"tokenizer_class": "RobertaTokenizer", **named(ROBERTA_SPECIALS)},
        model_type="roberta",
    )  # fmt: skip
    assert checked_model(resolve_model(str(roberta))).type_ids is None


@pytest.mark.slow
def test_the_checks_load_neither_torch_nor_transformers(folder):
    code = (
        "import sys; from tunekit.models.loading import checked_model, resolve_model\n"
        f"assert checked_model(resolve_model({str(folder)!r}))\n"
        "print(sorted({'torch', 'transformers', 'ray'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
