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
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generators within the context, and restore them after, for libraries that take none.

    They are the generator of the CPU, and that of ``device`` where it is a GPU.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        # torch.manual_seed would take milliseconds: for each kind of device that is not here it formats the stack.
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        yield
