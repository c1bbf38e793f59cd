"""The bytes that a step of a ModernBERT holds beside its graph, and scoring beside weights and optimizer.

Each function counts the moments at which ``tunekit.engine.forward.modernbert`` and its backward pass were measured to
hold most. All terms follow two rules: a function holds its arguments until it returns, and autograd frees what a node
has saved once the node has run. Standard library only.
"""

from __future__ import annotations

from tunekit.memory.graph import COMPUTE, FP32, INT64, Work
from tunekit.memory.length_groups import BatchSizes
from tunekit.memory.modernbert_graph import BLOCKS, ModernBertGraph
from tunekit.models.shapes import bottleneck_width


def forward_bytes(work: Work, graph: ModernBertGraph) -> int:
    """Return the most bytes that the forward pass holds beside graph and batch, less those that are kept later."""
    shape, sizes, width = work.shape, work.sizes, graph.compute
    hidden, slots = sizes.tokens * shape.hidden_size, sizes.slots * shape.hidden_size
    if not graph.rotating:  # attention has no graph in any layer, and the graph keeps later tensors only
        return max(0, without_graph(work, sizes) - graph.bytes)
    angles = (1 + (shape.num_hidden_layers > 1) - len(graph.rotating)) * graph.angles
    fullest = 0
    if not shape.reads_all_tokens:
        # The last layer copies its values into their groups: the fused output, rotated keys, a copy of the values.
        normed = 0 if graph.keeps(f"{graph.prefix(shape.num_hidden_layers - 1)}.attn.Wqkv") else hidden * FP32
        fullest = 5 * hidden * width + normed - graph.bytes_after_attention[-1]
    if work.full_layers:
        last = work.full_layers - 1
        # The end of the last layer of all tokens: what attention added, the input of the feed-forward part, its result.
        prefix = graph.prefix(last)
        normed = 0 if graph.keeps(f"{prefix}.mlp.Wi") else hidden * FP32
        inner = 0 if graph.keeps(f"{prefix}.mlp.Wo") else sizes.tokens * shape.intermediate_size * width
        added = max(inner, 2 * hidden * width) if work.method == "adapter" or graph.pfeiffer else inner + hidden * width
        fullest = max(fullest, hidden * width + normed + added - graph.last_layer_bytes)
        # The same layer copies its contexts back from their groups.
        normed = 0 if graph.keeps(f"{prefix}.attn.Wqkv") else hidden * FP32
        context = 0 if graph.keeps(f"{prefix}.attn.Wo") else hidden * width
        attended = 5 * hidden * width + normed + 2 * slots * width + context - graph.bytes_after_attention[last]
        fullest = max(fullest, attended)
    return fullest + angles


def backward_bytes(work: Work, graph: ModernBertGraph) -> int:
    """Return the most bytes that the backward pass holds, near its beginning, beside what is left of the graph."""
    shape, sizes, width = work.shape, work.sizes, graph.compute
    h, inner, tokens = shape.hidden_size, shape.intermediate_size, sizes.tokens
    hidden, slots, head = tokens * h, sizes.slots * h, FP32 * h * (h + work.num_labels)
    feed_forward, output, fused = FP32 * 3 * h * inner, FP32 * h * h, FP32 * 3 * h * h
    fullest = head
    if not shape.reads_all_tokens:
        # The last layer: the residual's gradient, with those of keys and values in their groups, or of the module Wqkv.
        later = head + (feed_forward + output if graph.full else 0) + hidden * FP32
        fullest = later + 2 * slots * width - graph.bytes_after_attention[-1]
        blocks = any(f"{graph.prefix(shape.num_hidden_layers - 1)}.attn.Wqkv.{one}" in graph.tuned for one in BLOCKS)
        of_inputs = (6 if blocks else 4) * hidden * width + (fused if graph.full else 0)
        fullest = max(fullest, later + of_inputs - (graph.model_bytes - graph.bytes_until_attention[-1]))
        head += feed_forward + output + fused if graph.full else 0
    if work.full_layers:
        # The last layer of all tokens: the gradients of activations times gates, of the activations and of the gates.
        freed = 0
        if work.method == "adapter":
            freed = tokens * (h + 2 * bottleneck_width(shape, work.params)) * width
        if graph.pfeiffer:  # its bottleneck reads the part's input, so that the gradient of that is held, too
            freed = tokens * (h + bottleneck_width(shape, work.params)) * width - hidden * FP32
        if graph.full:
            freed = tokens * inner * width - FP32 * h * inner
        gated = head + hidden * FP32 + 3 * tokens * inner * width - freed - graph.last_layer_bytes
        fullest = max(fullest, gated)
    return fullest


def end_bytes(work: Work, graph: ModernBertGraph, gradients: int) -> int:
    """Return the bytes that are held at the end of the backward pass, including the ``gradients`` of all parameters.

    In full fine-tuning the embeddings' gradient comes last. Before it, the first layer's module Wqkv has its gradient,
    and the step holds, beside the inputs of Wqkv and of the embeddings' norm, the gradients of the output and the input
    of Wqkv and of the residual.
    """
    if not graph.full:
        return gradients
    hidden = work.sizes.tokens * work.shape.hidden_size
    of_embeddings = FP32 * work.shape.vocab_size * work.shape.hidden_size
    before = gradients - of_embeddings + hidden * (2 * FP32 + 5 * graph.compute)
    return max(before, gradients + hidden * FP32)


def without_graph(work: Work, sizes: BatchSizes) -> int:
    """Return the most bytes that a layer of all tokens holds on a batch of ``sizes`` where autograd keeps nothing.

    They are those of attention, with its inputs in their groups and either the contexts as they are copied back or the
    biases of a local layer; or those of the feed-forward part, with activations, gates and their product.
    """
    shape, width = work.shape, COMPUTE[work.precision]
    hidden, slots = sizes.tokens * shape.hidden_size, sizes.slots * shape.hidden_size
    angles = 4 * sizes.tokens * (shape.hidden_size // shape.num_attention_heads) * FP32
    # A bias is made from one that hides padding, by the distances (int64) between all queries and keys.
    biases = 2 * sizes.window_pairs * FP32 + sizes.window_longest**2 * INT64
    groups = max(2 * slots * width + hidden * width, slots * width + biases)
    attention = hidden * (2 * FP32 + 5 * width) + 3 * slots * width + groups
    feed_forward = hidden * (2 * FP32 + width) + 4 * sizes.tokens * shape.intermediate_size * width
    return angles + max(attention, feed_forward)
