"""The peak of a trial before it trains: the closed form over the very batches that it will see."""

from collections.abc import Mapping
from typing import Any

from tunekit.engine.flat import group_bounds
from tunekit.engine.train import EVAL_TOKENS, LabelledSplit, batches
from tunekit.memory import NoClosedForm, Shape, Work, parameters, predict
from tunekit.schema import TrialSpec


def predicted_peak(
    spec: TrialSpec, config: Mapping[str, Any], splits: Mapping[str, LabelledSplit], num_labels: int
) -> int | None:
    """Bytes at the fullest of training on every batch of every epoch and of scoring the longest sequences.

    ``config`` holds the values of the model's config.json. None where model or method have no closed form.
    """
    try:
        shape = Shape.of(config)
        parameters(shape, spec.method, spec.method_params, num_labels)
    except NoClosedForm:
        return None
    train = splits["train"].tokens.lengths
    sizes = set()
    for epoch in range(1, spec.epochs + 1):
        for indices in batches(len(train), spec, epoch):
            lengths = train[indices].tolist()
            sizes.add((len(lengths), fill_rows(lengths, max(lengths))[2], max(lengths)))
    longest = int(max(split.tokens.lengths.max() for split in splits.values()))
    scored = (max(1, min(EVAL_TOKENS // longest, max(map(len, splits.values())))), longest)
    return max(
        predict(
            Work(
                shape=shape,
                method=spec.method,
                params=spec.method_params,
                num_labels=num_labels,
                sequences=sequences,
                rows=rows,
                length=length,
                precision=spec.precision,
            ),
            scored,
        ).peak
        for sequences, rows, length in sizes
    )
