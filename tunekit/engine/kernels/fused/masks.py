"""The draws of ``tunekit.engine.kernels.masks`` for one tile, computed where the tile is used."""

from typing import Any

import triton
import triton.language as tl
from triton.language.random import philox_impl

from tunekit.engine.kernels.masks import DRAWS, ROUNDS, Dropout

_DRAWS = tl.constexpr(DRAWS)
_ROUNDS = tl.constexpr(ROUNDS)

RUNTIME_ONLY = ("site", "dropping_levels")
"""Integers for whose values no kernel is compiled anew, as Triton else does for 1 and for multiples of 16."""


def mask_arguments(dropout: Dropout | None) -> dict[str, Any]:
    """Return the arguments by which a kernel gets a use of dropout. Without one, it must read none of them.

    ``scale`` reaches a kernel in fp32, whatever type it computes in.
    """
    if dropout is None:
        return {"seeds": None, "steps": None, "part": None, "site": 0, "dropping_levels": 0, "scale": 1.0}
    keys = dropout.keys
    return {"seeds": keys.seeds, "steps": keys.steps, "part": keys.part, "site": dropout.site,
            "dropping_levels": dropout.dropping_levels, "scale": dropout.scale}  # fmt: skip


def row_arguments(dropout: Dropout | None, num_rows: int) -> dict[str, Any]:
    """Return ``mask_arguments``, and those by which a kernel finds the token of each of ``num_rows`` hidden states."""
    of_rows: dict[str, Any] = {"token_sequence": None, "token_place": None, "OF_TOKENS": False}
    if dropout is not None:
        sequences = dropout.sequences
        of_rows = {"token_sequence": sequences.token_sequence, "token_place": sequences.token_place,
                   "OF_TOKENS": sequences.of_tokens(num_rows)}  # fmt: skip
    return mask_arguments(dropout) | of_rows


@triton.jit
def load_key(seeds, steps, part, site, trial):
    """Return what all masks of a trial at one site share: words 2 and 3 of the counter, and both words of the key."""
    word2 = (site << 16) | tl.load(part)
    word3 = tl.load(steps + trial)
    low = tl.load(seeds + 2 * trial)
    high = tl.load(seeds + 2 * trial + 1)
    # int32 to uint32 keeps the bits.
    return word2.to(tl.uint32), word3.to(tl.uint32), low.to(tl.uint32), high.to(tl.uint32)


@triton.jit
def draws(key, place, word1, first_column, COLUMNS: tl.constexpr):
    """Return the draws (R, COLUMNS), int32 in 0..65535, of R rows and of the columns from ``first_column`` on.

    ``key`` comes from ``load_key``. ``place`` (R,) is the place of each row, and ``word1`` its word 1 of the counter,
    as uint32: a scalar, or (R, 1). ``first_column`` and COLUMNS are multiples of 8.
    """
    word2, word3, low, high = key
    group = first_column // _DRAWS + tl.arange(0, COLUMNS // _DRAWS)  # (G,), one for each 8 columns
    word0 = (place[:, None] << 16) | group[None, :]  # (R, G)
    # The words broadcast: in the first rounds, some of them are still scalars and cost next to nothing.
    w0, w1, w2, w3 = philox_impl(word0.to(tl.uint32), word1, word2, word3, low, high, _ROUNDS)  # (R, G) each
    # tl.interleave(a, b) is a[0], b[0], a[1], b[1], ... along the last axis. Done twice, it puts the words of each
    # counter side by side, w0 w1 w2 w3; done once more, the halves of each word.
    words = tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3))  # (R, 4 * G)
    return tl.interleave(words & 0xFFFF, words >> 16).to(tl.int32)  # (R, 8 * G)


@triton.jit
def drop_rows(
    values, row, row_in_trial, is_row, first_column, token_sequence, token_place, seeds, steps, part, site,
    dropping_levels, scale, OF_TOKENS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Return ``values`` (R, COLUMNS), of R rows of hidden states of the program's trial, with entries dropped.

    ``row`` (R,) counts the rows of all trials and ``row_in_trial`` those of the own trial. ``is_row`` is False for rows
    that don't exist. OF_TOKENS tells rows of tokens from rows of sequences.
    """
    if OF_TOKENS:
        sequence = tl.load(token_sequence + row, is_row, 0)
        place = tl.load(token_place + row, is_row, 0)
    else:
        sequence = row_in_trial
        place = tl.zeros_like(row_in_trial)
    key = load_key(seeds, steps, part, site, tl.program_id(1))
    drawn = draws(key, place, (sequence << 16).to(tl.uint32)[:, None], first_column, COLUMNS)
    return tl.where(drawn >= dropping_levels, values * scale, 0.0)
