"""The numbers of found, gold and predicted entities in texts, from which scores of tags are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.tasks.bio import entities

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def tallies(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], types: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Return the numbers (N, 3, T) of found, gold and predicted entities of each of T types in N texts.

    ``gold`` and ``predicted`` are the tags of each text's words. An entity is found where the same words are predicted
    to be one of the same type.
    """
    import numpy as np

    place = {kind: number for number, kind in enumerate(types)}
    counts = np.zeros((len(gold), 3, len(types)), np.int64)
    for of_text, tags, found in zip(counts, gold, predicted, strict=True):
        of_gold, of_predicted = set(entities(tags)), set(entities(found))
        for row, group in zip(of_text, (of_gold & of_predicted, of_gold, of_predicted), strict=True):
            for one in group:
                row[place[one.type]] += 1
    return counts
