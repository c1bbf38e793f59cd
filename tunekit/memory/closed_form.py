"""Peak memory of training one trial, term by term, in closed form. Standard library only.

Every term counts the engine's own operations: fp32 weights, AdamW's two moments in fp32, gradients that are freed after
each step, the graph of one batch (``tunekit.memory.graph``) and what a step holds beside it. Not counted: a process's
libraries, a CUDA context, and what an allocator rounds up or keeps in reserve.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunekit.memory.graph import COMPUTE, FOLLOWED_MODEL_TYPES, FP32, INT64, Graph, Work
from tunekit.memory.length_groups import BatchSizes
from tunekit.memory.modernbert_graph import ModernBertGraph
from tunekit.memory.modernbert_workspace import backward_bytes, end_bytes, forward_bytes, without_graph
from tunekit.models.shapes import Shape, bottleneck_width, parameters

ADAMW_STATES = 2
"""How many numbers AdamW keeps of a trainable parameter: two moments."""
ATTENTION_INPUTS = ("attention.self.query", "attention.self.key", "attention.self.value")
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
    return _graph_of(work).run() + _kept_of_loss(work)


def _graph_of(work: Work) -> Graph:
    return ModernBertGraph(work) if work.shape.model_type == "modernbert" else Graph(work)


def predict(work: Work, scored: BatchSizes | None = None) -> Memory:
    """Return the memory of ``work``. ``scored`` are the sizes of the largest batch that is scored, if any is.

    Raises NoClosedForm where the method, its targets or the model type have no closed form.
    """
    trials, count = work.trials, parameters(work.shape, work.method, work.params, work.num_labels)
    graph = _graph_of(work)
    activations = graph.run()
    logits = work.logit_rows * work.num_labels * FP32 + _kept_of_loss(work)
    gradients = FP32 * count.trainable
    if isinstance(graph, ModernBertGraph):
        fullest, end = max(forward_bytes(work, graph), backward_bytes(work, graph)), end_bytes(work, graph, gradients)
    else:
        last = work.sizes.tokens * work.shape.hidden_size * FP32 if graph.full else 0
        fullest, end = max(_forward(work, graph), _backward(work, graph)), gradients + last
    workspace = _held(work, graph) + fullest
    scoring = _scoring(work, scored) if scored else 0
    at_once = max(activations + logits + workspace, end, scoring)
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


def _forward(work: Work, graph: Graph) -> int:
    """What the forward pass holds at its fullest beside graph and batch, less what the graph keeps later.

    Either the last layer norm of the last layer that computes all tokens, with the inputs and wide activations that no
    module keeps; or the last layer's keys and values on their way into their groups; or the first layer's scores and
    probabilities.
    """
    shape, width = work.shape, graph.compute
    hidden, fp32 = work.sizes.tokens * shape.hidden_size, graph.compute == FP32
    last = shape.num_hidden_layers - 1

    def unless(kept: bool, size: int) -> int:
        return 0 if kept else size

    into_groups = unless(fp32 and graph.keeps_input(last, *ATTENTION_INPUTS), hidden * FP32) + hidden * width
    later = graph.bytes - graph.mask_bytes
    fullest = into_groups - (later - graph.bytes_until_attention[-1])
    if work.full_layers:
        full = work.full_layers - 1  # the last layer that computes all tokens
        scores = (3 * FP32 + 2) * work.sizes.squares * shape.num_attention_heads if work.explicit else 0
        fullest = max(fullest, scores + 5 * hidden * width - (later - graph.bytes_until_attention[0]))
        norm = unless(fp32 and graph.keeps_input(full, *ATTENTION_INPUTS), hidden * FP32)
        norm += hidden * (FP32 + _held_by_output(work, graph))
        norm += unless(fp32 and graph.keeps_input(full, "intermediate.dense"), hidden * FP32)
        wide = work.sizes.tokens * shape.intermediate_size * width
        norm += unless(graph.keeps_input(full, "output.dense"), wide)
        fullest = max(fullest, norm - graph.last_layer_bytes)
    return fullest


def _held_by_output(work: Work, graph: Graph) -> int:
    """Bytes a number that a layer's output module holds at its last norm beside the graph: what its linear module gave,
    which a Houlsby adapter keeps in the graph, and in a Pfeiffer adapter the first norm where the graph keeps a cast.
    """
    if graph.pfeiffer:
        return graph.compute + (FP32 if graph.compute != FP32 else 0)
    return 0 if work.method == "adapter" else graph.compute


def _backward(work: Work, graph: Graph) -> int:
    """What the backward pass holds at its fullest beside what is left of the graph, in the last layer of all tokens.

    In full fine-tuning the gradients of the wide activations and of the weight behind them, and those of the layer
    after it, if any; else those of the wide activations before and after GELU, less what the dropout and an adapter
    have freed.
    """
    shape, width = work.shape, graph.compute
    tokens, h, inner = work.sizes.tokens, shape.hidden_size, shape.intermediate_size
    head = FP32 * h * (work.num_labels if shape.of_words else h)
    later = graph.bytes - graph.mask_bytes
    attention = head + 4 * work.sizes.slots * h * width - (later - graph.bytes_until_attention[-1])
    if not work.full_layers:
        return attention
    if graph.full:
        layer = 0 if shape.of_words else FP32 * (4 * h * h + 2 * h * inner)
        wide = tokens * inner * width + h * inner * width + head + layer - graph.last_layer_bytes
        return max(wide, attention + FP32 * (h * h + 2 * h * inner))
    freed = 0
    if work.method == "adapter":
        freed += (h + 2 * bottleneck_width(shape, work.params)) * width
    if graph.pfeiffer:
        freed += (h + bottleneck_width(shape, work.params)) * width + (h + 2) * FP32
    scores = 2 * work.sizes.squares * shape.num_attention_heads * FP32 if work.explicit else 0
    scores += 2 * tokens * h * width - graph.bytes_after_attention[work.full_layers - 1]
    return max(attention, scores, tokens * (2 * inner * width - freed) + head - graph.last_layer_bytes)


def _scoring(work: Work, sizes: BatchSizes) -> int:
    """The feed-forward part of one layer without a graph, its input, the layer's, and the batch."""
    shape = work.shape
    if shape.model_type == "modernbert":
        return without_graph(work, sizes) + _batch(work, sizes, pairs=False)
    wide = 2 * shape.intermediate_size * COMPUTE[work.precision] + 2 * shape.hidden_size * FP32
    return sizes.tokens * wide + _batch(work, sizes, pairs=False)
