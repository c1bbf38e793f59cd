"""Peak memory of training one trial, term by term, in closed form. Standard library only.

Every term counts the engine's own operations: fp32 weights, AdamW's two moments in fp32, gradients that are freed after
each step, the graph of one batch (``tunekit.memory.graph``) and what a step holds beside it. A process's libraries, a
CUDA context, and what an allocator rounds up or keeps in reserve are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from tunekit.memory import bert_workspace, modernbert_workspace
from tunekit.memory.graph import FOLLOWED_MODEL_TYPES, FP32, INT64, Graph, Work
from tunekit.memory.length_groups import BatchSizes
from tunekit.memory.modernbert_graph import ModernBertGraph
from tunekit.models.shapes import Shape, parameters

ADAMW_STATES = 2
"""The numbers that AdamW keeps for each trainable parameter: two moments."""
SPARE = 0.1
"""The share of a device's memory that a plan leaves free."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes by what they are for. They are not all in use at once; ``peak`` counts those that are."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """What the autograd graph keeps of the encoder and the head, including casts of weights to bf16."""
    logits: int
    """Logits, log-probabilities and labels."""
    workspace: int
    """The most that a step holds beside its graph: the batch, tensors in use and gradients of activations."""
    scoring: int
    """The most that scoring a split holds beside weights and optimizer."""
    graphs: int
    """What CUDA graphs keep in reserve: as much as a step allocates at its fullest. 0 on a CPU."""
    peak: int
    """The most at any time in the forward pass, at the start and end of the backward pass, and in scoring.

    ``graphs`` is not counted: it holds nothing between steps."""

    @property
    def needed(self) -> int:
        """The bytes that a device must have room for."""
        return self.peak + self.graphs


def saved_bytes(work: Work) -> int:
    """Return the bytes that the graph of a trial's step keeps once the loss is computed, without parameters."""
    graph, _ = _form_of(work)
    return graph.run() + _kept_of_loss(work)


class Workspace(Protocol):
    """The bytes that are held beside the graph at the fullest moments. Each kind of encoder has its module."""

    def forward_bytes(self, work: Work, graph: Any) -> int:
        """Return the most bytes that the forward pass holds beside graph and batch, less those that are kept later."""

    def backward_bytes(self, work: Work, graph: Any) -> int:
        """Return the most bytes that the backward pass holds beside what is left of the graph."""

    def end_bytes(self, work: Work, graph: Any, gradients: int) -> int:
        """Return the bytes at the end of the backward pass, including the ``gradients`` of all parameters."""

    def without_graph(self, work: Work, sizes: BatchSizes) -> int:
        """Return the most bytes that a layer holds where autograd keeps nothing."""


def _form_of(work: Work) -> tuple[Graph, Workspace]:
    """Return the graph and the workspace of ``work``'s kind of encoder. Raises NoClosedForm."""
    if work.shape.model_type == "modernbert":
        return ModernBertGraph(work), modernbert_workspace
    return Graph(work), bert_workspace


def predict(work: Work, scored: BatchSizes | None = None) -> Memory:
    """Return the memory of ``work``. ``scored`` are the sizes of the largest scored batch; None where none is scored.

    Raises NoClosedForm where the method, its targets or the model type have no closed form.
    """
    trials, count = work.trials, parameters(work.shape, work.method, work.params, work.num_labels)
    graph, beside = _form_of(work)
    activations = graph.run()
    logits = work.logit_rows * work.num_labels * FP32 + _kept_of_loss(work)
    gradients = FP32 * count.trainable
    workspace = _held(work, graph) + max(beside.forward_bytes(work, graph), beside.backward_bytes(work, graph))
    scoring = beside.without_graph(work, scored) + _batch(work, scored, pairs=False) if scored else 0
    at_once = max(activations + logits + workspace, beside.end_bytes(work, graph, gradients), scoring)
    weights = FP32 * (count.total + (trials - 1) * count.trainable)
    optimizer = trials * ADAMW_STATES * FP32 * count.trainable
    return Memory(
        weights=weights,
        gradients=trials * gradients,
        optimizer=optimizer,
        activations=trials * activations,
        logits=trials * logits,
        workspace=trials * workspace,
        scoring=trials * scoring,
        graphs=trials * at_once if work.gpu else 0,
        peak=weights + optimizer + trials * at_once,
    )


def is_followed(shape: Shape) -> bool:
    """Return whether the memory of training ``shape`` has a closed form."""
    return shape.model_type in FOLLOWED_MODEL_TYPES


def how_many_fit(peak: int, device: int) -> int:
    """Return how many trials of ``peak`` bytes fit into ``device`` bytes with a tenth to spare."""
    return int((1 - SPARE) * device // peak)


def _kept_of_loss(work: Work) -> int:
    """Return the bytes of log-probabilities, labels and the weight of the mean, and of the number of words."""
    return work.logit_rows * (work.num_labels * FP32 + INT64) + FP32 + INT64 * work.shape.of_words


def _batch(work: Work, sizes: BatchSizes, *, pairs: bool) -> int:
    """Return the bytes of a batch's ids and of attention's indices, which with ``pairs`` include those of pairs."""
    heads = work.shape.num_attention_heads
    if work.gpu:  # three ids and two tables of tokens, and the indices from which they are computed
        return sizes.tokens * 8 * INT64 + sizes.sequences * 6 * INT64
    indices = (sizes.slots + sizes.tokens) * heads * INT64 + sizes.slots * INT64 + 3 * sizes.sequences * INT64
    if sizes.padded:
        indices += sizes.slots * heads * FP32 + sizes.padded * FP32
    return 3 * sizes.tokens * INT64 + indices + (sizes.squares * INT64 if pairs else 0)


def _held(work: Work, graph: Graph) -> int:
    """Return the bytes that a step holds throughout beside its graph: the batch, and the dropout masks of pairs."""
    sizes, shape = work.sizes, work.shape
    pairs = work.explicit and work.full_layers > 0
    held = _batch(work, sizes, pairs=pairs)
    if graph.full:
        held -= 3 * sizes.tokens * INT64  # counted by the graph
    if pairs:
        held += sizes.pairs * shape.num_attention_heads * work.full_layers
    return held
