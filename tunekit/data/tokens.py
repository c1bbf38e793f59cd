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
"""Part of every key: raise it when what is stored under a key changes."""


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
    """How many texts were cut to the maximum length."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) int64, the number of tokens of each sequence."""
        return np.diff(self.offsets)

    def subset(self, indices: npt.NDArray[np.int64]) -> TokenisedSplit:
        """Return the sequences of ``indices`` (M,), in that order. Texts that were cut are not counted again."""
        lengths = self.lengths[indices]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        source = np.repeat(self.offsets[indices] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return TokenisedSplit(self.ids[source], self.types[source], offsets, 0)


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
    data: TextDataset, tokenizer: PreTrainedTokenizerFast, max_length: int, folder: Path | None = None
) -> dict[str, TokenisedSplit]:
    """Return every split of ``data``, each text cut to ``max_length`` tokens or the model's own limit.

    The limit counts special tokens. ``folder`` (default: ``cache_dir()``) keeps the result under a hash of texts,
    tokenizer and length. One of the machine's processes makes it, and others wait for it. A file that can't be read is
    made anew.
    """
    limit = min(max_length, tokenizer.model_max_length)
    return {split: _tokenise(frame, data.pair_as, tokenizer, limit, folder) for split, frame in data.splits.items()}


def _tokenise(frame: DataFrame, pair_as: str, tokenizer: Any, limit: int, folder: Path | None) -> TokenisedSplit:
    texts, pairs = _inputs(frame, pair_as, tokenizer)
    path = _cache_of(folder) / f"{_key(texts, pairs, tokenizer, limit)}.npz"
    found = _cached(path)
    if found is not None:
        return found
    try:
        with locked(path.with_suffix(".lock")):
            found = _cached(path)  # another process may have made it meanwhile
            if found is None:
                found = _tokens_of(texts, pairs, tokenizer, limit)
                buffer = BytesIO()
                count = np.int64(found.num_truncated)
                np.savez(buffer, ids=found.ids, types=found.types, offsets=found.offsets, num_truncated=count)
                write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise _not_writable(path.parent, error) from error
    return found


def _cached(path: Path) -> TokenisedSplit | None:
    """Return what the cache holds, or None where the file is absent or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return TokenisedSplit(stored["ids"], stored["types"], stored["offsets"], int(stored["num_truncated"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _tokens_of(texts: list[str], pairs: list[str] | None, tokenizer: Any, limit: int) -> TokenisedSplit:
    full = tokenizer(texts, pairs, truncation=False, return_attention_mask=False, verbose=False)["input_ids"]
    cut = tokenizer(texts, pairs, truncation=True, max_length=limit, return_attention_mask=False)
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
    )


def _inputs(frame: DataFrame, pair_as: str, tokenizer: Any) -> tuple[list[str], list[str] | None]:
    """Return what the tokenizer is given: texts and their pairs, or texts alone and None."""
    texts, pairs = frame["text"].tolist(), frame["pair"].tolist()
    if all(pair is None for pair in pairs):
        return texts, None
    if pair_as == "sep_token":
        if tokenizer.sep_token is None:
            raise UserError("the tokenizer has no sep_token, which this dataset puts between a text and its pair")
        return [f"{text}{tokenizer.sep_token}{pair}" for text, pair in zip(texts, pairs, strict=True)], None
    return texts, pairs


def _key(texts: list[str], pairs: list[str] | None, tokenizer: Any, limit: int) -> str:
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    # What changes tokens and is no part of the backend's own text.
    settings = [
        tokenizer.sep_token, tokenizer.truncation_side, tokenizer.split_special_tokens, tokenizer.model_input_names
    ]  # fmt: skip
    digest = hashlib.sha256(f"{FORMAT} {limit} {json.dumps(settings)}".encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(json.dumps([texts, pairs]).encode())
    return digest.hexdigest()[:32]
