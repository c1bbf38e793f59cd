"""Tokenise once per (texts, tokenizer, maximum length), into a content-addressed cache that processes share."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tunekit.errors import UserError
from tunekit.storage.files import locked, write_atomic
from tunekit.storage.paths import cache_dir

if TYPE_CHECKING:
    from pandas import DataFrame
    from transformers import PreTrainedTokenizerFast

    from tunekit.data.base import TextDataset

FORMAT = 2
"""The version of the cached form. It is part of every key: raise it when the content stored under a key changes."""


@dataclass(frozen=True)
class Words:
    """The words of N texts, and the tokens that begin them."""

    begun: npt.NDArray[np.int32]
    """(tokens of all sequences,) int32, the number, in its text, of the word that a token begins; -1 for others."""
    counts: npt.NDArray[np.int64]
    """(N,) int64, the number of words of each text, including words without a token."""

    @property
    def num_unread(self) -> int:
        """The number of words without a token: they were cut off, or the tokenizer gives no token for them."""
        return int(self.counts.sum()) - int((self.begun >= 0).sum())


@dataclass(frozen=True)
class TokenisedSplit:
    """N sequences of token ids end to end."""

    ids: npt.NDArray[np.int32]
    """(tokens of all sequences,) int32."""
    types: npt.NDArray[np.int8]
    """(tokens of all sequences,) int8, the token type ids."""
    offsets: npt.NDArray[np.int64]
    """(N + 1,) int64, where sequence i is ``ids[offsets[i]:offsets[i + 1]]``."""
    num_truncated: int
    """The number of texts that were cut to the maximum length."""
    words: Words | None = None
    """The words, where each of them has a label."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) int64, the number of tokens of each sequence."""
        return np.diff(self.offsets)

    def subset(self, indices: npt.NDArray[np.int64]) -> TokenisedSplit:
        """Return the sequences of ``indices`` (M,), in that order. Texts that were cut are not counted again."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths[indices])])
        source = ranges(self.offsets, indices)
        words = self.words and Words(self.words.begun[source], self.words.counts[indices])
        return TokenisedSplit(self.ids[source], self.types[source], offsets, 0, words)


def ranges(offsets: npt.NDArray[np.int64], indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return, for each i in ``indices`` in turn, the numbers from ``offsets[i]`` to ``offsets[i + 1]`` - 1."""
    lengths = offsets[indices + 1] - offsets[indices]
    ends = np.cumsum(lengths)
    found: npt.NDArray[np.int64] = np.repeat(offsets[indices] - ends + lengths, lengths) + np.arange(lengths.sum())
    return found


def check_cache() -> None:
    """Raise UserError where this machine's cache of tokens can't be written."""
    folder = _cache_of(None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-"):
            pass
    except OSError as error:
        raise _not_writable(folder, error) from error


def _cache_of(folder: Path | None) -> Path:
    return (folder or cache_dir()) / "tokens"


def _not_writable(folder: Path, error: OSError) -> UserError:
    return UserError(f"can't write to the cache {folder}: {error.strerror}; set TUNEKIT_CACHE_DIR")


def tokenise(
    data: TextDataset,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    folder: Path | None = None,
    *,
    by_word: bool = False,
) -> dict[str, TokenisedSplit]:
    """Return every split of ``data``, each text cut to ``max_length`` tokens or the model's own limit.

    With ``by_word`` a space separates the words of a text, and each word is tokenised on its own. The limit counts
    special tokens. ``folder`` (default: ``cache_dir()``) keeps the result under a hash of texts, tokenizer and length.
    One of the machine's processes makes it while others wait for it. A file that can't be read is made anew.
    """
    limit = min(max_length, tokenizer.model_max_length)
    return {
        split: _tokenise(_inputs(frame, data.pair_as, tokenizer, by_word=by_word), tokenizer, limit, folder)
        for split, frame in data.splits.items()
    }


def _tokenise(inputs: Inputs, tokenizer: Any, limit: int, folder: Path | None) -> TokenisedSplit:
    texts, pairs = inputs
    path = _cache_of(folder) / f"{_key(texts, pairs, tokenizer, limit)}.npz"
    found = _cached(path)
    if found is not None:
        return found
    try:
        with locked(path.with_suffix(".lock")):
            found = _cached(path)  # another process may have made it meanwhile
            if found is None:
                found = tokens_of(texts, pairs, tokenizer, limit)
                buffer = BytesIO()
                count = np.int64(found.num_truncated)
                arrays: dict[str, Any] = {"ids": found.ids, "types": found.types, "offsets": found.offsets}
                if found.words is not None:
                    arrays |= {"begun": found.words.begun, "counts": found.words.counts}
                np.savez(buffer, num_truncated=count, **arrays)
                write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise _not_writable(path.parent, error) from error
    return found


def _cached(path: Path) -> TokenisedSplit | None:
    """Return the cached split, or None where the file is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            words = Words(stored["begun"], stored["counts"]) if "begun" in stored else None
            return TokenisedSplit(
                stored["ids"], stored["types"], stored["offsets"], int(stored["num_truncated"]), words
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def tokens_of(
    texts: list[str] | list[list[str]], pairs: list[str] | None, tokenizer: Any, limit: int
) -> TokenisedSplit:
    """Return N texts, or lists of words, as tokens, cut to ``limit`` of them.

    Raises UserError where the tokenizer gives no token for a text.
    """
    by_word = bool(texts) and isinstance(texts[0], list)
    options = {"return_attention_mask": False, "is_split_into_words": by_word}
    full = tokenizer(texts, pairs, truncation=False, verbose=False, **options)["input_ids"]
    cut = tokenizer(texts, pairs, truncation=True, max_length=limit, **options)
    lengths = [len(ids) for ids in cut["input_ids"]]
    if 0 in lengths:
        raise UserError(
            f"the tokenizer gives no token for the text {texts[lengths.index(0)][:50]!r}; leave such rows out"
        )
    ids = np.concatenate([np.asarray(ids, np.int32) for ids in cut["input_ids"]])
    types = cut.get("token_type_ids")  # None where the tokenizer's class gives the model no types
    return TokenisedSplit(
        ids=ids,
        types=np.zeros(len(ids), np.int8) if types is None else np.concatenate([np.asarray(t, np.int8) for t in types]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        num_truncated=sum(len(ids) > limit for ids in full),
        words=_words_of(texts, cut) if by_word else None,
    )


def _words_of(texts: list[Any], cut: Any) -> Words:
    """Return the words of ``texts``, lists of words, which the tokenizer has made into ``cut``."""
    begun = []
    for number in range(len(texts)):
        of_tokens = [-1 if word is None else word for word in cut.word_ids(number)]
        # The tokens of a word follow one another.
        begun += [-1 if word == before else word for before, word in zip([-1, *of_tokens], of_tokens, strict=False)]
    return Words(np.array(begun, np.int32), np.array(list(map(len, texts)), np.int64))


Inputs = tuple[list[Any], list[str] | None]
"""The input of a tokenizer: texts, or lists of words, and their pairs or None."""


def _inputs(frame: DataFrame, pair_as: str, tokenizer: Any, *, by_word: bool = False) -> Inputs:
    """Return the input of the tokenizer: texts and their pairs, or texts or lists of words and None."""
    texts, pairs = frame["text"].tolist(), frame["pair"].tolist()
    if by_word:
        return [text.split(" ") for text in texts], None
    if all(pair is None for pair in pairs):
        return texts, None
    if pair_as == "sep_token":
        if tokenizer.sep_token is None:
            raise UserError("the tokenizer has no sep_token, which this dataset puts between a text and its pair")
        return [f"{text}{tokenizer.sep_token}{pair}" for text, pair in zip(texts, pairs, strict=True)], None
    return texts, pairs


def _key(texts: list[Any], pairs: list[str] | None, tokenizer: Any, limit: int) -> str:
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    # Settings that change tokens and are not part of the backend's own text.
    settings = [
        tokenizer.sep_token, tokenizer.truncation_side, tokenizer.split_special_tokens, tokenizer.model_input_names
    ]  # fmt: skip
    digest = hashlib.sha256(f"{FORMAT} {limit} {json.dumps(settings)}".encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(json.dumps([texts, pairs]).encode())
    return digest.hexdigest()[:32]
