"""The bytes that trials take on the storage's disk: records, checkpoints and kept weights."""

from collections.abc import Mapping, Sequence

from tunekit.memory import ADAMW_STATES, FP32, NoClosedForm, Shape, parameters
from tunekit.schema import TrialSpec

RECORD_BYTES = 4_000_000
"""The bytes of a trial's records."""
CHECKPOINTS = 3
"""The most checkpoints that a running trial has at a time."""


def checkpoint_bytes(spec: TrialSpec, shape: Shape, num_labels: int = 2) -> int:
    """Return the bytes of a checkpoint: each trainable weight and its two AdamW moments in float32.

    ``shape`` is the shape of the spec's model. ``num_labels`` matters little, since heads are small. All weights count
    where the method has no closed form.
    """
    try:
        count = parameters(shape, spec.method, spec.method_params, num_labels).trainable
    except NoClosedForm:
        count = parameters(shape, "full", {}, num_labels).trainable
    return FP32 * (1 + ADAMW_STATES) * count


def disk_bytes(
    specs: Sequence[TrialSpec], shapes: Mapping[str, Shape], concurrent: int, keep_models: str = "none"
) -> int:
    """Return the bytes of disk that ``specs`` may take: their records, checkpoints and kept weights.

    ``shapes`` are those of the models by name, and ``concurrent`` trials run at a time.
    """
    largest = max((checkpoint_bytes(spec, shapes[spec.model]) for spec in specs), default=0)
    running = min(concurrent, len(specs))
    kept = kept_weights_bytes(specs, shapes, keep_models)
    return len(specs) * RECORD_BYTES + CHECKPOINTS * running * largest + kept


def kept_weights_bytes(specs: Sequence[TrialSpec], shapes: Mapping[str, Shape], keep_models: str) -> int:
    """Return the bytes of the weights that ``specs`` keep for export; ``shapes`` are those of the models by name.

    With ``best`` a running trial keeps the weights of three epochs: its best so far, and one beside each checkpoint.
    """
    copies = {"none": 0, "last": 1, "best": 3}
    parts = 1 + ADAMW_STATES
    return sum(
        copies.get(keep_models, spec.epochs) * checkpoint_bytes(spec, shapes[spec.model]) // parts for spec in specs
    )
