"""Seeds by name: every random stream of a trial is a function of the trial's seed and the stream's name.

Nothing reads a global generator, so a resumed trial needs no saved generator state: epoch 3 draws the same numbers
whether or not epochs 1 and 2 ran in the same process. Equality of bits holds for one device type and thread count.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the stream called ``names`` of the trial's ``seed``."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator within the context, and restore it after, for libraries that take none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
