"""The expected peak memory of a trial, from the sizes of its data, before any text is read."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tunekit.memory import Shape
from tunekit.memory.trial import trial_peak
from tunekit.planning.sizes import DatasetSize
from tunekit.schema import TrialSpec

MOST_BATCHES = 300
"""The most batches that are drawn. The largest of more batches is hardly larger."""


def expected_batches(spec: TrialSpec, size: DatasetSize) -> list[list[int]]:
    """Return the lengths in tokens of the sequences of each batch of a trial, drawn at random as the trial will."""
    lengths = size.of_rows(size.seen_by(spec)["train"], spec.max_length)
    generator, found = np.random.default_rng(0), []
    for _ in range(spec.epochs):
        order = generator.permutation(lengths)
        for start in range(0, len(order), spec.batch_size):
            found.append(order[start : start + spec.batch_size].tolist())
            if len(found) == MOST_BATCHES:
                return found
    return found


def expected_peak(
    spec: TrialSpec, config: Mapping[str, Any], size: DatasetSize, *, gpu: bool, with_graphs: bool = False
) -> int:
    """Return the most bytes that a trial of ``spec`` takes, as ``trial_peak`` counts them.

    ``config`` holds the values of the model's config.json. Raises NoClosedForm where the model or method has none.
    """
    num_scored = max(size.seen_by(spec).values())
    longest = int(size.of_rows(num_scored, spec.max_length)[-1])
    shape = Shape.from_config(config)
    batches = expected_batches(spec, size)
    return trial_peak(spec, shape, size.num_labels, batches, longest, num_scored, gpu=gpu, with_graphs=with_graphs)
