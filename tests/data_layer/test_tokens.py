"""Tokenise once: what the cache gives is what the tokenizer gives."""

import multiprocessing
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.support.tokenising import tokenise_texts
from tests.support.trials import build, specify
from tunekit.data import tokens
from tunekit.data.tokens import tokenise

TEXTS = ["the soup was good", "the waiter, however, was rude and slow", "ok", "bread " * 200]
PAIRS = ["soup", "the waiter", "it", "bread"]


@pytest.fixture(scope="module", params=["tiny-bert", "tiny-roberta", pytest.param("minilm", marks=pytest.mark.model)])
def tokenizer(request):
    return build(specify(model=request.param))[0].tokenizer


def dataset(pair_as: str, pairs: list[str] | None = None) -> SimpleNamespace:
    frame = pd.DataFrame({"text": TEXTS, "pair": pd.Series(pairs or [None] * len(TEXTS), dtype="object")})
    return SimpleNamespace(splits={"train": frame}, pair_as=pair_as)


def sequences(split) -> list[list[int]]:
    return [split.ids[split.offsets[i] : split.offsets[i + 1]].tolist() for i in range(len(split))]


@pytest.mark.parametrize("form", ["single", "sep_token", "pair"])
def test_fresh_and_cached_equal_the_tokenizers_own_output(tokenizer, form, tmp_path):
    data = dataset("pair" if form == "pair" else "sep_token", None if form == "single" else PAIRS)
    fresh = tokenise(data, tokenizer, 64, tmp_path)["train"]
    cached = tokenise(data, tokenizer, 64, tmp_path)["train"]
    texts = (
        TEXTS if form != "sep_token" else [f"{t}{tokenizer.sep_token}{p}" for t, p in zip(TEXTS, PAIRS, strict=True)]
    )
    expected = tokenizer(texts, PAIRS if form == "pair" else None, truncation=True, max_length=64)["input_ids"]
    assert sequences(fresh) == sequences(cached) == expected
    assert (fresh.types == cached.types).all()
    assert fresh.num_truncated == cached.num_truncated == 1
    assert fresh.lengths.max() == 64


def test_the_models_own_limit_bounds_the_length(tokenizer, tmp_path):
    data = SimpleNamespace(splits={"train": pd.DataFrame({"text": ["soup " * 900], "pair": [None]})}, pair_as="pair")
    assert tokenise(data, tokenizer, 10_000, tmp_path)["train"].lengths.max() <= 512


@pytest.mark.parametrize("content", [b"", b"torn", None])
def test_a_damaged_cache_is_made_anew(tokenizer, content, tmp_path):
    fresh = tokenise(dataset("pair"), tokenizer, 64, tmp_path)["train"]
    (path,) = (tmp_path / "tokens").glob("*.npz")
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    again = tokenise(dataset("pair"), tokenizer, 64, tmp_path)["train"]
    assert sequences(again) == sequences(fresh)
    with np.load(path) as stored:
        assert set(stored) == {"ids", "types", "offsets", "num_truncated"}


def test_a_cached_split_is_not_tokenised_again(tokenizer, tmp_path, monkeypatch):
    tokenise(dataset("pair"), tokenizer, 64, tmp_path)
    monkeypatch.setattr(tokens, "write_atomic", lambda *args: pytest.fail("written again"))
    tokenise(dataset("pair"), tokenizer, 64, tmp_path)
    with pytest.raises(pytest.fail.Exception, match="written again"):
        tokenise(dataset("pair"), tokenizer, 32, tmp_path)


def test_subsets_are_the_sequences_asked_for(tokenizer, tmp_path):
    split = tokenise(dataset("pair"), tokenizer, 64, tmp_path)["train"]
    indices = np.array([2, 0, 3])
    assert sequences(split.subset(indices)) == [sequences(split)[i] for i in indices]


@pytest.mark.slow
def test_of_two_processes_at_once_one_prepares_each_split(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(tokenise_texts, [tmp_path, tmp_path])
    sums, made = zip(*found, strict=True)
    assert sum(made) == 3
    assert set(sums) == {tokenise_texts(tmp_path)[0]}
