"""The peak of a trial before it trains: the closed form over the very batches that it will see."""

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from tunekit.engine.train import EVAL_TOKENS, LabelledSplit, batches
from tunekit.memory import NoClosedForm, Shape, Sizes, Work, predict
from tunekit.schema import TrialSpec


def predicted_peak(
    spec: TrialSpec,
    config: Mapping[str, Any],
    splits: Mapping[str, LabelledSplit],
    num_labels: int,
    *,
    gpu: bool,
) -> int | None:
    """Bytes at the fullest of training on every batch of every epoch and of scoring the longest sequences.

    ``config`` holds the values of the model's config.json. None where model or method have no closed form.
    """
    try:
        shape = Shape.of(config)
    except NoClosedForm:
        return None
    train = splits["train"].tokens.lengths
    sizes = {
        Sizes.of(train[indices].tolist(), gpu=gpu)
        for epoch in range(1, spec.epochs + 1)
        for indices in batches(len(train), spec, epoch)
    }
    longest = int(max(split.tokens.lengths.max() for split in splits.values()))
    scored = Sizes.of((longest,) * max(1, min(EVAL_TOKENS // longest, max(map(len, splits.values())))), gpu=gpu)

    def peak(one: Sizes) -> int:
        work = Work(
            shape=shape, method=spec.method, params=spec.method_params, num_labels=num_labels, sizes=one,
            precision=spec.precision,
        )  # fmt: skip
        return predict(work, scored).peak

    try:
        return max(map(peak, _largest(sizes)))
    except NoClosedForm:
        return None


def _largest(sizes: set[Sizes]) -> list[Sizes]:
    """Those that no other is at least as large as in all that memory depends on."""
    kept: list[Sizes] = []
    for one in sorted(sizes, key=astuple, reverse=True):
        if not any(all(a >= b for a, b in zip(astuple(other), astuple(one), strict=True)) for other in kept):
            kept.append(one)
    return kept
