"""The bytes that a step of BERT's kind holds beside its graph, and scoring beside weights and optimizer.

Standard library only.
"""

from __future__ import annotations

from tunekit.memory.graph import COMPUTE, FP32, Graph, Work
from tunekit.memory.length_groups import BatchSizes
from tunekit.models.shapes import bottleneck_width

ATTENTION_INPUTS = ("attention.self.query", "attention.self.key", "attention.self.value")


def forward_bytes(work: Work, graph: Graph) -> int:
    """Return the most bytes that the forward pass holds beside graph and batch, less those that the graph keeps later.

    The fullest moment is one of three: the last layer norm of the last layer that computes all tokens, with the inputs
    and wide activations that no module keeps; the copies of the last layer's keys and values into their groups; or the
    first layer's scores and probabilities.
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


def backward_bytes(work: Work, graph: Graph) -> int:
    """Return the most bytes that the backward pass holds beside what is left of the graph.

    It holds most in the last layer that computes all tokens. In full fine-tuning these are the gradients of the wide
    activations and of the weight behind them, and those of the layer after it, if any. Otherwise they are the gradients
    of the wide activations before and after GELU, less the bytes that dropout and an adapter have freed.
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


def end_bytes(work: Work, graph: Graph, gradients: int) -> int:
    """Return the bytes that are held at the end of the backward pass: the ``gradients`` of all parameters.

    In full fine-tuning the gradient of the embeddings' output is held, too.
    """
    return gradients + (work.sizes.tokens * work.shape.hidden_size * FP32 if graph.full else 0)


def without_graph(work: Work, sizes: BatchSizes) -> int:
    """Return the bytes that a layer's feed-forward part holds, with its input and the layer's, without autograd."""
    wide = 2 * work.shape.intermediate_size * COMPUTE[work.precision] + 2 * work.shape.hidden_size * FP32
    return sizes.tokens * wide


def _held_by_output(work: Work, graph: Graph) -> int:
    """Return the bytes that a layer's output module holds at its last norm beside the graph, for each hidden number.

    They are those of its linear module's output, which a Houlsby adapter keeps in the graph, and with a Pfeiffer
    adapter those of the first norm's output, where the graph keeps a cast of it.
    """
    if graph.pfeiffer:
        return graph.compute + (FP32 if graph.compute != FP32 else 0)
    return 0 if work.method == "adapter" else graph.compute
