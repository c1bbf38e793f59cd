"""Early stopping in hindsight: the epoch at which a trial would have stopped, and the epoch it would have kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stopped:
    """Where early stopping would have ended one trial; epochs count from 1."""

    kept: int
    """The epoch of the best validation score up to the end, whose weights are kept."""
    last: int
    """The epoch after which training would have ended."""


def stopped(scores: Sequence[float], patience: int) -> Stopped:
    """Return where training ends if ``patience`` epochs in a row without a new best validation score end it.

    ``scores`` are those after each epoch; a higher one is better, and an equal one is no gain, as in Trainer's
    EarlyStoppingCallback. Raises ValueError for no scores, for one that is not finite, and for a patience below 1.
    """
    if patience < 1:
        raise ValueError(f"patience is {patience}: at least 1 epoch")
    if not scores or not all(map(math.isfinite, scores)):
        raise ValueError("early stopping takes a finite validation score of each epoch")
    kept = 1
    for epoch, score in enumerate(scores, 1):
        if score > scores[kept - 1]:
            kept = epoch
        if epoch - kept >= patience:
            return Stopped(kept, epoch)
    return Stopped(kept, len(scores))
