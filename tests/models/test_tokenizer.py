"""The tokens of a model are those of AutoTokenizer for the folder, or the model is refused by name."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

from tests.support.model_folders import (
    ROBERTA_SPECIALS,
    SPECIALS,
    byte_level,
    change_json,
    named,
    unigram,
    wordpiece,
    write_model,
)
from tunekit.data.tokens import tokenise
from tunekit.errors import UserError
from tunekit.models.loading import checked_model, load_tokenizer, resolve_model
from tunekit.models.tokenizer import FAST_CLASSES, knows_version_5

PLAIN = [
    "Great Caf\u00e9, great cafe!", "the QUICK brown fox [MASK] jumps</s> dog number 7",
    "  two  spaces\tand\u00a0more ",
    "na\u00efve NA\u00cfVE \u00c5ngstr\u00f6m \u4e2d\u6587 \U0001f600 zzz", "the lazy dog " * 40, "a",
]  # fmt: skip
PAIRS = ["good", "Bad Polish", "polish [SEP] phone", "number 3", "over the lazy dog " * 40, "the"]
ODD = {"pad": "<0>", "unk": "??", "cls": "@begin", "sep": "@end", "mask": "@gap"}


def bert(**options: object) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(**options)


def with_added(tokenizer, *tokens):
    tokenizer.add_tokens(list(tokens))
    return tokenizer


def cut_and_padded(tokenizer, **options: object):
    tokenizer.enable_truncation(7, **options)
    tokenizer.enable_padding(length=9)
    return tokenizer


KINDS = {
    # The tokenizer, its special tokens and the type of its model.
    "uncased": (lambda: wordpiece(bert()), SPECIALS, "bert"),
    "cased": (lambda: wordpiece(bert(lowercase=False)), SPECIALS, "bert"),
    "accents": (lambda: wordpiece(bert(strip_accents=False)), SPECIALS, "bert"),
    "no normalizer": (lambda: wordpiece(None), SPECIALS, "bert"),
    "other normalizer": (lambda: wordpiece(normalizers.Sequence([normalizers.NFD(), bert()])), SPECIALS, "electra"),
    "odd specials": (lambda: wordpiece(bert(), ODD), ODD, "bert"),
    "added": (
        lambda: with_added(
            wordpiece(bert()), "dog number", AddedToken("Great", normalized=False), AddedToken("fox", single_word=True)
        ),
        SPECIALS, "distilbert",
    ),
    "cut": (lambda: cut_and_padded(wordpiece(bert())), SPECIALS, "bert"),
    "cut left": (lambda: cut_and_padded(wordpiece(bert()), direction="left", stride=2), SPECIALS, "bert"),
    "bytes": (byte_level, ROBERTA_SPECIALS, "roberta"),
    "bytes with a space": (lambda: byte_level(add_prefix_space=True), ROBERTA_SPECIALS, "roberta"),
    "unigram": (unigram, ROBERTA_SPECIALS, "bert"),
    "unigram of DeBERTa": (lambda: unigram(SPECIALS), SPECIALS, "deberta-v2"),
}  # fmt: skip
CLASSES = {
    "bert": ["BertTokenizer", "BertTokenizerFast", "PreTrainedTokenizerFast", None],
    "electra": ["ElectraTokenizer", "PreTrainedTokenizerFast"],
    "distilbert": ["DistilBertTokenizer", "PreTrainedTokenizerFast", "BertTokenizer"],
    "roberta": ["RobertaTokenizer", "PreTrainedTokenizerFast", "GPT2TokenizerFast", None],
    "deberta-v2": ["DebertaV2Tokenizer", "PreTrainedTokenizerFast", "XLMRobertaTokenizer"],
}
OPTIONS = [
    {}, {"do_lower_case": False}, {"do_lower_case": True}, {"strip_accents": True}, {"strip_accents": False},
    {"tokenize_chinese_chars": False}, {"truncation_side": "left"}, {"padding_side": "left"},
    {"additional_special_tokens": ["[ITEM]"]}, {"add_prefix_space": True}, {"split_special_tokens": True},
    {"model_max_length": 11}, {"model_max_length": int(1e30)}, {"clean_up_tokenization_spaces": False},
    {"model_input_names": ["input_ids", "attention_mask"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind, made when it is first asked for."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            make, _, model_type = KINDS[kind]
            made[kind] = tmp_path_factory.mktemp("models") / kind.replace(" ", "-")
            tokenizer = make()
            write_model(made[kind], tokenizer, {}, model_type=model_type, rows=tokenizer.get_vocab_size() + 8)
        return made[kind]

    return folder


def data_of(texts, pairs):
    frame = pd.DataFrame({"text": texts, "pair": pd.Series(pairs or [None] * len(texts), dtype="object")})
    return SimpleNamespace(splits={"train": frame}, pair_as="pair")


def assert_as_auto(folder: Path, tmp_path: Path, texts=PLAIN, pairs=None, max_length: int = 20) -> bool:
    """Compare our tokens with AutoTokenizer's. Returns whether there are any: else both have refused the folder."""
    try:
        auto = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception:  # each library has errors of its own
        with pytest.raises(UserError, match=f"^model '{folder.name}-"):
            load_tokenizer(resolve_model(str(folder)), None)
        return False
    ref = resolve_model(str(folder))
    ours = load_tokenizer(ref, None)
    limit = min(max_length, ours.model_max_length)
    wanted = auto(texts, pairs, truncation=True, max_length=limit)
    found = tokenise(data_of(texts, pairs), ours, max_length, tmp_path)["train"]
    assert np.split(found.ids, found.offsets[1:-1]) == [pytest.approx(ids) for ids in wanted["input_ids"]]
    types = wanted.get("token_type_ids") or [[0] * len(ids) for ids in wanted["input_ids"]]
    assert found.types.tolist() == [one for row in types for one in row]
    known = checked_model(ref)
    assert known is not None
    assert known.max_length == ours.model_max_length
    if known.type_ids and pairs:
        assert max(found.types) == known.type_ids[1]
    return True


def settings_of(kind: str, tokenizer_class: str | None, *options: dict) -> dict:
    chosen = {} if tokenizer_class is None else {"tokenizer_class": tokenizer_class}
    return {**chosen, **named(KINDS[kind][1]), **{key: value for each in options for key, value in each.items()}}


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_those_of_the_class_that_the_folder_names(kind, folders, tmp_path):
    folder, seen = folders(kind), []
    for tokenizer_class, pairs in itertools.product(CLASSES[KINDS[kind][2]], [None, PAIRS]):
        (folder / "tokenizer_config.json").write_text(json.dumps(settings_of(kind, tokenizer_class)))
        seen.append(assert_as_auto(folder, tmp_path, pairs=pairs))
    assert any(seen)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(list(KINDS)), options=st.lists(st.sampled_from(OPTIONS), max_size=3), data=st.data(),
    texts=st.lists(st.text(min_size=1, max_size=60).map("a{}".format), min_size=1, max_size=4),
    max_length=st.integers(5, 60), pairs=st.booleans(),
)  # fmt: skip
def test_tokens_are_those_of_auto_tokenizer_whatever_the_options_say(
    kind, options, data, texts, max_length, pairs, folders, tmp_path
):
    folder = folders(kind)
    tokenizer_class = data.draw(st.sampled_from(CLASSES[KINDS[kind][2]]))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings_of(kind, tokenizer_class, *options)))
    assert_as_auto(folder, tmp_path, texts, texts[::-1] if pairs else None, max_length)


def test_a_cased_model_keeps_case_and_accents(folders):
    folder = folders("cased")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings_of("cased", "PreTrainedTokenizerFast")))
    tokens = load_tokenizer(resolve_model(str(folder)), None).tokenize("Great Caf\u00e9")
    assert tokens == ["Great", "Caf\u00e9"]


@pytest.mark.parametrize(
    ("file", "values", "match"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "BertJapaneseTokenizer"}, "BertJapaneseTokenizer"),
        ("tokenizer_config.json", {"tokenizer_class": "BertModel"}, "its tokenizer is a BertModel"),
        ("tokenizer_config.json", {"tokenizer_class": ["a", "b"]}, "which can't be loaded here"),
        ("config.json", {"tokenizer_class": "WhisperTokenizer"}, "WhisperTokenizer"),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.4.json"]}, "fast_tokenizer_files"),
        ("tokenizer.json", {"model": {"type": "Nonsense"}}, r"its tokenizer\.json can't be read"),
    ],
)
def test_a_tokenizer_that_cannot_be_loaded_is_refused_in_the_plan(file, values, match, tmp_path):
    folder = write_model(tmp_path / "model", wordpiece(bert()), {})
    change_json(folder / file, **values)
    with pytest.raises(UserError, match=match):
        checked_model(resolve_model(str(folder)))


@pytest.mark.skipif(knows_version_5(), reason="version 5 loads it")
def test_what_only_version_5_or_another_class_loads_is_refused_with_the_way_out(tmp_path):
    folder = write_model(tmp_path / "model", wordpiece(None), {"tokenizer_class": "BertTokenizer"})
    with pytest.raises(UserError, match=r"no normalizer.* name PreTrainedTokenizerFast"):
        checked_model(resolve_model(str(folder)))
    change_json(folder / "tokenizer_config.json", tokenizer_class="TokenizersBackend")
    with pytest.raises(UserError, match="TokenizersBackend.* name PreTrainedTokenizerFast"):
        resolve_model(str(folder))
    change_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    assert checked_model(resolve_model(str(folder)))


@pytest.mark.parametrize("name", sorted(FAST_CLASSES))
def test_every_class_that_may_be_named_is_a_fast_tokenizer(name):
    kind = tokenizer_class_from_name(f"{name}Fast") or tokenizer_class_from_name(name)
    assert issubclass(kind, PreTrainedTokenizerFast)


def test_another_cut_or_another_class_has_another_place_in_the_cache(folders, tmp_path):
    folder, found = folders("uncased"), []
    for options in ({}, {"truncation_side": "left"}):
        (folder / "tokenizer_config.json").write_text(json.dumps(settings_of("uncased", "BertTokenizer", options)))
        ours = load_tokenizer(resolve_model(str(folder)), None)
        found.append(tokenise(data_of(PLAIN, None), ours, 12, tmp_path)["train"].ids.tolist())
    assert found[0] != found[1]


def test_what_no_token_stands_for_is_refused(folders, tmp_path):
    tokenizer = wordpiece(bert())
    tokenizer.post_processor = None
    folder = write_model(tmp_path / "model", tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast"})
    ours = load_tokenizer(resolve_model(str(folder)), None)
    with pytest.raises(UserError, match="gives no token for the text ' '"):
        tokenise(data_of(["good", " "], None), ours, 12, tmp_path)
    joined = data_of(["good"], ["bad"])
    joined.pair_as = "sep_token"
    with pytest.raises(UserError, match="has no sep_token"):
        tokenise(joined, ours, 12, tmp_path)


def test_a_folder_whose_class_is_not_its_types_own_has_a_name_of_its_own(tmp_path):
    folder = write_model(tmp_path / "model", wordpiece(bert()), {"tokenizer_class": "BertTokenizer"})
    names = {resolve_model(str(folder)).name}
    change_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    names.add(resolve_model(str(folder)).name)
    (folder / "added_tokens.json").write_text('{"[NEW]": 160}')
    names.add(resolve_model(str(folder)).name)
    assert len(names) == 3
