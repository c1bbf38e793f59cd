"""Seeds by name: every random stream of a trial is a function of its seed and what the stream is for.

Nothing reads a global generator, so a resumed trial needs no saved generator state: epoch 3 draws the same numbers
whether or not epochs 1 and 2 ran in the same process. Equality of bits holds for one device type and thread count.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called ``names`` of the trial's ``seed``."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's global CPU generator as seeded here, then put it back: for libraries that take no generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
