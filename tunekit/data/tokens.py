"""Tokenise once per (texts, tokenizer, maximum length), into a content-addressed cache that processes share."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tunekit.errors import UserError
from tunekit.storage.files import locked, write_atomic
from tunekit.storage.paths import cache_dir

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tunekit.data.base import TextDataset

FORMAT = 1
"""Part of every key: raise it when what is stored under a key changes."""


@dataclass(frozen=True)
class TokenisedSplit:
    """N sequences end to end."""

    ids: np.ndarray
    """(total tokens,) int32"""
    types: np.ndarray
    """(total tokens,) int8, token type ids"""
    offsets: np.ndarray
    """(N + 1,) int64, sequence i is ids[offsets[i]:offsets[i + 1]]"""
    num_truncated: int
    """Texts that were cut to the maximum length."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64, tokens of each sequence."""
        return np.diff(self.offsets)

    def subset(self, indices: np.ndarray) -> TokenisedSplit:
        """The sequences ``indices`` (M,), in that order; truncation is not counted again."""
        lengths = self.lengths[indices]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        source = np.repeat(self.offsets[indices] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return TokenisedSplit(self.ids[source], self.types[source], offsets, 0)


def tokenise(
    data: TextDataset, tokenizer: PreTrainedTokenizerFast, max_length: int, folder: Path | None = None
) -> dict[str, TokenisedSplit]:
    """Every split of ``data``, cut to ``max_length`` tokens or the model's own limit, special tokens included.

    ``folder`` (default: ``cache_dir()``) keeps the result under a hash of texts, tokenizer and length; one of the
    machine's processes makes it, others wait for it. A file that can't be read is made anew.
    """
    limit = min(max_length, tokenizer.model_max_length)
    return {split: _tokenise(frame, data.pair_as, tokenizer, limit, folder) for split, frame in data.splits.items()}


def _tokenise(frame, pair_as: str, tokenizer, limit: int, folder: Path | None) -> TokenisedSplit:  # noqa: ANN001
    texts, pairs = _inputs(frame, pair_as, tokenizer)
    path = (folder or cache_dir()) / "tokens" / f"{_key(texts, pairs, tokenizer, limit)}.npz"
    found = _kept(path)
    if found is not None:
        return found
    try:
        with locked(path.with_suffix(".lock")):
            found = _kept(path)  # another process may have made it meanwhile
            if found is None:
                found = _made(texts, pairs, tokenizer, limit)
                buffer = BytesIO()
                count = np.int64(found.num_truncated)
                np.savez(buffer, ids=found.ids, types=found.types, offsets=found.offsets, num_truncated=count)
                write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f"can't write to the cache {path.parent}: {error.strerror}; set TUNEKIT_CACHE_DIR") from error
    return found


def _kept(path: Path) -> TokenisedSplit | None:
    """What is stored; None where it is absent or torn."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return TokenisedSplit(stored["ids"], stored["types"], stored["offsets"], int(stored["num_truncated"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _made(texts: list[str], pairs: list[str] | None, tokenizer, limit: int) -> TokenisedSplit:  # noqa: ANN001
    full = tokenizer(texts, pairs, truncation=False, return_attention_mask=False, verbose=False)["input_ids"]
    cut = tokenizer(
        texts, pairs, truncation=True, max_length=limit, return_attention_mask=False, return_token_type_ids=True
    )
    return TokenisedSplit(
        ids=np.concatenate([np.asarray(ids, np.int32) for ids in cut["input_ids"]]),
        types=np.concatenate([np.asarray(types, np.int8) for types in cut["token_type_ids"]]),
        offsets=np.concatenate([[0], np.cumsum([len(ids) for ids in cut["input_ids"]])]).astype(np.int64),
        num_truncated=sum(len(ids) > limit for ids in full),
    )


def _inputs(frame, pair_as: str, tokenizer) -> tuple[list[str], list[str] | None]:  # noqa: ANN001
    """What goes to the tokenizer: single strings, or strings and their pairs."""
    texts, pairs = frame["text"].tolist(), frame["pair"].tolist()
    if all(pair is None for pair in pairs):
        return texts, None
    if pair_as == "sep_token":
        return [f"{text}{tokenizer.sep_token}{pair}" for text, pair in zip(texts, pairs, strict=True)], None
    return texts, pairs


def _key(texts: list[str], pairs: list[str] | None, tokenizer, limit: int) -> str:  # noqa: ANN001
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    digest = hashlib.sha256(f"{FORMAT} {limit} {tokenizer.sep_token}".encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(json.dumps([texts, pairs]).encode())
    return digest.hexdigest()[:32]
