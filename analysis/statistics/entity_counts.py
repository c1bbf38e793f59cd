"""The entities of the texts that several seeds tagged, counted by type and by the cluster that a text stands in."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.statistics.resampling import FloatArray, IntArray
from tunekit.tasks.entity_scores import tallies


class EntityCounts(NamedTuple):
    """The entities of I texts, by type."""

    of_gold: IntArray
    """(I, T), those of each text."""
    tables: FloatArray
    """(G, S, 3, T), found, gold and predicted ones of each cluster by each seed."""


def entity_counts_of(
    gold: npt.NDArray[Any], predicted: npt.NDArray[Any], types: Sequence[str], cluster: IntArray
) -> EntityCounts:
    """Return the entities of texts whose tags are ``gold`` (I,) and, by each seed, ``predicted`` (S, I).

    A text of tags has a space between them, and stands in the cluster that ``cluster`` (I,) says.
    """
    tags = [text.split(" ") for text in gold]
    tables = np.zeros((int(cluster.max()) + 1, len(predicted), 3, len(types)))
    for seed, texts in enumerate(predicted):
        counts = tallies(tags, [text.split(" ") for text in texts], types)
        np.add.at(tables[:, seed], cluster, counts)
    return EntityCounts(counts[:, 1], tables)
