"""Peak memory of training one trial, term by term, in closed form. Standard library only.

Every term counts the engine's own operations: fp32 weights, AdamW's two moments in fp32, gradients that are freed after
each step, the graph of one batch (``tunekit.memory.graph``) and what a step holds beside it. Not counted: a process's
libraries, a CUDA context, and what an allocator rounds up or keeps in reserve.
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
"""How many numbers AdamW keeps of a trainable parameter: two moments."""
SPARE = 0.1
"""The share of a device's memory that a plan leaves free."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes by what they are for. They are not all in use at once; ``peak`` counts those that are."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """What the autograd graph keeps of the encoder and the head, casts of weights to bf16 with it."""
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
        """What a device must have room for."""
        return self.peak + self.graphs


def saved_bytes(work: Work) -> int:
    """Return the bytes that the graph of a trial's step keeps once the loss is computed, parameters not counted."""
    graph, _ = _form_of(work)
    return graph.run() + _kept_of_loss(work)


class Workspace(Protocol):
    """What is held beside the graph at the fullest moments. A module here is that of each kind of encoder."""

    def forward_bytes(self, work: Work, graph: Any) -> int:
        """Return what the forward pass holds at its fullest beside graph and batch, less what is kept later."""

    def backward_bytes(self, work: Work, graph: Any) -> int:
        """Return what the backward pass holds at its fullest beside what is left of the graph."""

    def end_bytes(self, work: Work, graph: Any, gradients: int) -> int:
        """Return what is held at the end of the backward pass, ``gradients`` of all parameters among it."""

    def without_graph(self, work: Work, sizes: BatchSizes) -> int:
        """Return what a layer holds at its fullest where autograd keeps nothing."""


def _form_of(work: Work) -> tuple[Graph, Workspace]:
    """Return the graph of ``work``'s kind of encoder, and what is held beside it. Raises NoClosedForm."""
    if work.shape.model_type == "modernbert":
        return ModernBertGraph(work), modernbert_workspace
    return Graph(work), bert_workspace


def predict(work: Work, scored: BatchSizes | None = None) -> Memory:
    """Return the memory of ``work``. ``scored`` are the sizes of the largest batch that is scored, if any is.

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
    """A batch's ids and the indices by which attention finds its sequences, those of pairs if they are dropped."""
    heads = work.shape.num_attention_heads
    if work.gpu:  # three ids and two tables of tokens, and the indices from which they are computed
        return sizes.tokens * 8 * INT64 + sizes.sequences * 6 * INT64
    indices = (sizes.slots + sizes.tokens) * heads * INT64 + sizes.slots * INT64 + 3 * sizes.sequences * INT64
    if sizes.padded:
        indices += sizes.slots * heads * FP32 + sizes.padded * FP32
    return 3 * sizes.tokens * INT64 + indices + (sizes.squares * INT64 if pairs else 0)


def _held(work: Work, graph: Graph) -> int:
    """What a whole step holds beside its graph: the batch, and the masks of pairs that layers take theirs from."""
    sizes, shape = work.sizes, work.shape
    pairs = work.explicit and work.full_layers > 0
    held = _batch(work, sizes, pairs=pairs)
    if graph.full:
        held -= 3 * sizes.tokens * INT64  # counted by the graph
    if pairs:
        held += sizes.pairs * shape.num_attention_heads * work.full_layers
    return held
