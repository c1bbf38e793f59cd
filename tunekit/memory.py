"""Peak memory of training one trial, term by term, in closed form. Standard library only.

Every term counts the engine's own operations: fp32 weights, AdamW's two moments in fp32, gradients that are freed after
each step, the graph of one batch (``tunekit.graph``) and what a step holds beside it. Not counted: a process's
libraries, a CUDA context, and what an allocator rounds up or keeps in reserve.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunekit.graph import COMPUTE, FP32, INT64, Graph, Work
from tunekit.shapes import SHAPES, NoClosedForm, Parameters, Shape, bottleneck, parameters

__all__ = [
    "SHAPES", "Memory", "NoClosedForm", "Parameters", "Shape", "Work", "how_many_fit", "parameters", "predict",
    "saved_bytes",
]  # fmt: skip

ADAMW_STATES = 2
"""Moments that AdamW keeps of a trainable parameter."""
ATTENTION_INPUTS = ("attention.self.query", "attention.self.key", "attention.self.value")
SPARE = 0.1
"""Share of a device's memory that a plan leaves free."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes by what they are for. They do not all live at once: ``peak`` says what does."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """What the graph keeps of the encoder and the head, casts of weights to bf16 among them."""
    logits: int
    """Logits, log-probabilities and labels."""
    workspace: int
    """The most that a step holds beside its graph: the batch, tensors on their way, gradients of activations."""
    scoring: int
    """The most that scoring a split holds beside weights and optimizer."""
    peak: int
    """The most at any time: of the forward pass, the backward pass at its begin and end, and scoring."""


def saved_bytes(work: Work) -> int:
    """Bytes that the graph of one trial's step keeps when the loss stands, parameters not counted."""
    return Graph(work).run() + _kept_of_loss(work)


def predict(work: Work, scored: tuple[int, int] | None = None) -> Memory:
    """The memory of ``work``; ``scored`` are rows and length of the largest batch that is scored, if any is.

    Raises NoClosedForm where the method or its targets have none.
    """
    trials, count = work.trials, parameters(work.shape, work.method, work.params, work.num_labels)
    graph = Graph(work)
    activations = graph.run()
    logits = work.sequences * work.num_labels * FP32 + _kept_of_loss(work)
    gradients = FP32 * count.trainable
    forward, backward = _forward(work, graph), _backward(work, graph)
    last = work.tokens * work.shape.hidden_size * FP32 if graph.full else 0
    scoring = _scoring(work, *scored) if scored else 0
    at_once = max(activations + logits + max(forward, backward), gradients + last, scoring)
    weights = FP32 * (count.total + (trials - 1) * count.trainable)
    optimizer = trials * ADAMW_STATES * FP32 * count.trainable
    return Memory(
        weights=weights,
        gradients=trials * gradients,
        optimizer=optimizer,
        activations=trials * activations,
        logits=trials * logits,
        workspace=trials * max(forward, backward),
        scoring=trials * scoring,
        peak=weights + optimizer + trials * at_once,
    )


def how_many_fit(peak: int, device: int, beside: int = 0) -> int:
    """Trials of ``peak`` bytes, each with ``beside`` more, that fit into ``device`` bytes with a tenth to spare."""
    return int((1 - SPARE) * device // (peak + beside))


def _kept_of_loss(work: Work) -> int:
    """Log-probabilities, labels and the weight of the mean."""
    return work.sequences * (work.num_labels * FP32 + INT64) + FP32


def _forward(work: Work, graph: Graph) -> int:
    """What the forward pass holds beside the whole graph at its fullest, in the last layer.

    Always the batch with its masks and the embeddings. The explicit path hands all probabilities back, so that a first
    layer's stay even where they need no gradient. The fullest point is the last layer norm, with the inputs and wide
    activations that no module keeps; or, with long rows, the end of the explicit attention, with its scores.
    """
    tokens, h, last, width = work.tokens, work.shape.hidden_size, work.shape.num_hidden_layers - 1, graph.compute
    square, fp32 = tokens * work.length, width == FP32
    probabilities = square * work.shape.num_attention_heads * FP32

    def unless(kept: bool, size: int) -> int:
        return 0 if kept else size

    held = INT64 * square + unless(graph.full, 3 * INT64 * tokens)
    held += unless(fp32 and not work.explicit, FP32 * square)
    held += unless(fp32 and graph.keeps_input(0, *ATTENTION_INPUTS), tokens * h * FP32)
    values = graph.full or f"{graph.prefix(0)}.attention.self.value" in graph.tuned
    held += unless(values or not work.explicit, probabilities)
    layer_input = unless(fp32 and graph.keeps_input(last, *ATTENTION_INPUTS), tokens * h * FP32)
    norm = layer_input + tokens * h * (FP32 + width * (2 if work.method == "adapter" else 1))
    norm += unless(fp32 and graph.keeps_input(last, "intermediate.dense"), tokens * h * FP32)
    norm += unless(graph.keeps_input(last, "output.dense"), tokens * work.shape.intermediate_size * width)
    if not work.explicit:
        return held + norm
    scores = layer_input + probabilities + 5 * tokens * h * width - (graph.bytes - graph.until_attention)
    return held + max(norm, scores)


def _backward(work: Work, graph: Graph) -> int:
    """What the backward pass holds beside what is left of the graph at its fullest, the last feed-forward part.

    In full fine-tuning the gradients of the wide activations and of the weight behind them; else those of the wide
    activations before and after GELU, less what the dropout and an adapter have freed by then.
    """
    tokens, h, inner, width = work.tokens, work.shape.hidden_size, work.shape.intermediate_size, graph.compute
    head = FP32 * h * h
    if graph.full:
        return tokens * inner * width + h * inner * width + head
    freed = h * width if work.shape.hidden_dropout_prob > 0 else 0
    if work.method == "adapter":
        freed += (h + 2 * bottleneck(work.shape, work.params)) * width
    return tokens * (2 * inner * width - freed) + head


def _scoring(work: Work, rows: int, length: int) -> int:
    """The feed-forward part of one layer without a graph, its input, the layer's, and the batch with its masks."""
    tokens, shape = rows * length, work.shape
    wide = 2 * shape.intermediate_size * COMPUTE[work.precision] + 2 * shape.hidden_size * FP32
    return tokens * (wide + 3 * INT64 + length * (INT64 + FP32))
