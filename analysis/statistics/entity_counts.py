"""The entities of the texts that several seeds tagged, counted by type and by the cluster of the text."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.statistics.resampling import FloatArray, IntArray
from tunekit.tasks.entity_scores import tallies


class EntityCounts(NamedTuple):
    """The entities of I texts, by type."""

    of_gold: IntArray
    """The gold entities of each text, (I, T)."""
    tables: FloatArray
    """The found, gold and predicted entities of each cluster by each seed, (G, S, 3, T)."""


def entity_counts_of(
    gold: npt.NDArray[Any], predicted: npt.NDArray[Any], types: Sequence[str], cluster: IntArray
) -> EntityCounts:
    """Return the entities of texts whose tags are ``gold`` (I,) and, by each seed, ``predicted`` (S, I).

    The tags of a text are separated by spaces; ``cluster`` (I,) is the cluster of each text.
    """
    tags = [text.split(" ") for text in gold]
    tables = np.zeros((int(cluster.max()) + 1, len(predicted), 3, len(types)))
    for seed, texts in enumerate(predicted):
        counts = tallies(tags, [text.split(" ") for text in texts], types)
        np.add.at(tables[:, seed], cluster, counts)
    return EntityCounts(counts[:, 1], tables)
