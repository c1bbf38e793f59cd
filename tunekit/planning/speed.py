"""The speed of a processor in training: the work of an epoch, and the seconds that it takes.

The constants are fitted to runs of this engine. ``python -m benchmarks estimate`` compares them with other runs.
"""

from dataclasses import dataclass

from tunekit.memory import NoClosedForm, Shape, parameters
from tunekit.memory.trial import shape_for
from tunekit.planning.batching import why_padded
from tunekit.planning.sizes import DatasetSize, texts_of
from tunekit.planning.work import Texts, scoring_flops, training_flops
from tunekit.schema import TrialSpec

TRAINED_SAMPLE = 1_000
"""The most training rows that are scored when a trial ends."""


@dataclass(frozen=True)
class EpochWork:
    """The work of a trial in an epoch."""

    training: float
    """The operations of its steps (``tunekit.planning.work``)."""
    scoring: float
    """The operations of scoring after them."""
    tokens: float
    """The tokens that its steps compute, including padding."""
    steps: int
    layers: int
    """The layers of the model."""
    trainable: int
    """The weights that each step updates."""


def epoch_work(spec: TrialSpec, shape: Shape, size: DatasetSize) -> EpochWork:
    """Return the work of an epoch of ``spec``, whose model has ``shape``, on data of ``size``."""
    rows, shape = size.seen_by(spec), shape_for(spec, shape)
    params, padded = spec.method_params, why_padded(shape.model_type, spec.method) is not None
    lengths = size.of_rows(rows["train"], spec.max_length)
    training = texts_of(lengths)
    if padded:
        # On average, a share 1 / (B + 1) of all rows is longer than the longest of B drawn rows.
        longest = float(lengths[min(len(lengths) - 1, int(len(lengths) * spec.batch_size / (spec.batch_size + 1)))])
        training = Texts(len(lengths), len(lengths) * longest, len(lengths) * longest**2)
    scored = sum(count for part, count in rows.items() if part != "train")
    scoring = texts_of(size.of_rows(scored, spec.max_length))
    try:
        trainable = parameters(shape, spec.method, params, size.num_labels).trainable
    except NoClosedForm:
        trainable = parameters(shape, "full", {}, size.num_labels).trainable
    return EpochWork(
        training=training_flops(shape, spec.method, params, size.num_labels, training, cut=not padded),
        scoring=scoring_flops(shape, spec.method, params, size.num_labels, scoring, cut=not padded),
        tokens=training.tokens,
        steps=-(-rows["train"] // spec.batch_size),
        layers=shape.num_hidden_layers,
        trainable=trainable,
    )


def last_scoring(spec: TrialSpec, shape: Shape, size: DatasetSize) -> EpochWork:
    """Return the work of scoring a part of the training rows, which ends a trial of ``spec``."""
    rows = min(TRAINED_SAMPLE, size.seen_by(spec)["train"])
    texts = texts_of(size.of_rows(rows, spec.max_length))
    scoring = scoring_flops(shape_for(spec, shape), spec.method, spec.method_params, size.num_labels, texts)
    return EpochWork(training=0.0, scoring=scoring, tokens=0.0, steps=0, layers=shape.num_hidden_layers, trainable=0)


TRAINING, SCORING = 1.48, 1.45
"""The time of training and of scoring, as a multiple of the time of their matrix products at the rate of a probe."""
LAYER_OPERATIONS, TOKEN_OPERATIONS, UPDATE_OPERATIONS = 3.2e8, 2.7e5, 200.0
"""Three kinds of work beside matrix products, each as the number of operations that take as long: the fixed work of a
step in each layer, its work for each token in each layer, and its update of one weight."""
SOURCE, MARGIN = "a probe of the processor", 1.6
"""The source of times by these constants, as ``Timing`` names it, and the factor by which they may be off."""
THREADS_EXPONENT = 0.57
"""A trial on n cores is n to this power times as fast as on one: two cores gave 1.49 times (``throughput``)."""


@dataclass(frozen=True)
class ProcessorSpeed:
    """Some cores of a processor."""

    flops_per_second: float
    """The rate of a float32 matrix product on one core."""
    threads: int = 1
    """The cores that a process has."""
    pack: int = 1
    """The trials that a process trains together."""

    def seconds(self, work: EpochWork) -> float:
        """Return the seconds that ``work`` takes a trial while its pack has its cores to itself."""
        beside = work.layers * (work.steps * LAYER_OPERATIONS + work.tokens * TOKEN_OPERATIONS)
        beside += work.steps * work.trainable * UPDATE_OPERATIONS
        operations = TRAINING * work.training + SCORING * work.scoring + beside
        rate: float = self.flops_per_second * self.threads**THREADS_EXPONENT
        return self.pack * operations / rate
