"""The floating-point operations of training and scoring, counted from a model's shape and numbers of tokens.

The count holds the multiplications and additions of matrix products on real tokens: forward products, products for
gradients of inputs where anything before needs one, products for gradients of trained weights, and attention within
each sequence. After the last layer's keys and values, products of first tokens alone count. Softmax, norms, dropout and
the optimizer are not counted. A ModernBERT whose head reads the mean of all tokens is counted as if it read the first
tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunekit.models.shapes import BOTTLENECKS, TARGETED, NoClosedForm, Shape, bottleneck_width, lora_targets

LOCAL_METHODS = ("full", "head", *TARGETED, *BOTTLENECKS)
"""The methods whose trained weights are in known modules. Any other method is assumed to train in every layer."""


@dataclass(frozen=True)
class Texts:
    """The amount of text that a pass reads."""

    sequences: float
    tokens: float
    """The tokens of all sequences."""
    pairs: float
    """The pairs of tokens within sequences: the sum of the squares of their lengths."""


@dataclass(frozen=True)
class Part:
    """One product of a pass of one trial, and the numbers that it reads and writes."""

    flops: float
    """The multiplications and additions."""
    vectors: float
    """The count of the inputs' and outputs' numbers, which grows with the texts."""
    own: int = 0
    """The count of trained weights, which each trial has for itself."""
    shared: int = 0
    """The count of frozen weights, which the trials of a pack share."""


def training_flops(
    shape: Shape, method: str, params: Mapping[str, Any], num_labels: int, texts: Texts, *, cut: bool = True
) -> float:
    """Return the operations of training on ``texts`` once; the arguments are those of ``training_parts``."""
    return sum(part.flops for part in training_parts(shape, method, params, num_labels, texts, cut=cut))


def training_parts(
    shape: Shape, method: str, params: Mapping[str, Any], num_labels: int, texts: Texts, *, cut: bool = True
) -> list[Part]:
    """Return the products of training on ``texts`` once.

    ``params`` are all parameters of the method. ``cut`` says that the last layer computes first tokens alone after its
    keys and values, as it does where batches have no padding and the head does not read all tokens.
    """
    return _Count(shape, method, params, num_labels, texts, cut=cut, training=True).parts


def scoring_flops(
    shape: Shape, method: str, params: Mapping[str, Any], num_labels: int, texts: Texts, *, cut: bool = True
) -> float:
    """Return the operations of scoring ``texts`` once, which has no backward pass; ``cut`` is as in training."""
    return sum(part.flops for part in _Count(shape, method, params, num_labels, texts, cut=cut, training=False).parts)


class _Count:
    """The products of a pass, in the order of its forward part."""

    def __init__(
        self, shape: Shape, method: str, params: Mapping[str, Any], num_labels: int, texts: Texts, *,
        cut: bool, training: bool,
    ) -> None:  # fmt: skip
        self.shape, self.method, self.params, self.training = shape, method, params, training
        self.full = method == "full"
        try:
            self.tuned = lora_targets(shape, method, params, num_labels)
        except NoClosedForm:
            self.tuned = frozenset()
        self.parts: list[Part] = []
        everywhere = method not in LOCAL_METHODS or (method in TARGETED and not self.tuned)
        needs_grad = self.full or everywhere  # whether what enters the layer needs a gradient
        linears = list(shape.linears(num_labels))
        blocks = list(shape.targets(num_labels))[len(linears) :]
        heads = linears[-len(shape.head_linears) :]
        each = (len(linears) - len(heads)) // shape.num_hidden_layers
        for layer in range(shape.num_hidden_layers):
            last = cut and not shape.reads_all_tokens and layer == shape.num_hidden_layers - 1
            rows, scored = (texts.sequences, texts.tokens) if last else (texts.tokens, texts.pairs)
            *inputs, o, up, down = linears[each * layer : each * (layer + 1)]
            if blocks:
                grads = self.fused(inputs[0], blocks[3 * layer : 3 * (layer + 1)], texts.tokens, needs_grad)
            else:
                q, *others = inputs
                grads = [self.linear(q, rows, needs_grad, self.full)] if last else []
                grads += self.joint(others if last else inputs, texts.tokens, needs_grad)
            self.attention(rows, texts.tokens, scored, grads)
            attended = self.linear(o, rows, any(grads), self.full)
            attended = (self.adapter(rows, attended) if BOTTLENECKS.get(method) == 2 else attended) or needs_grad
            wide = self.linear(down, rows, self.linear(up, rows, attended, self.full), self.full)
            needs_grad = self.adapter(rows, attended if method == "parallel" else wide) or wide or attended
        for module in heads:
            needs_grad = self.linear(module, texts.tokens if shape.of_words else texts.sequences, needs_grad, True)

    def attention(self, queries: float, keys: float, scored: float, grads: list[bool]) -> None:
        """Count the products of ``queries`` with ``keys`` and values, of which ``scored`` pairs are in one sequence.

        ``grads`` says whether queries, keys and values need a gradient.
        """
        query, key, value = map(int, grads)
        # Scores and their product with values; then gradients of q and k, of probabilities and of values.
        backward = query + key + int(query or key) + value
        products = 2 + (backward if self.training else 0)
        # Forward reads queries, keys and values and writes contexts. Backward reads all four and the gradients of the
        # contexts, and writes the gradients of queries, keys and values.
        moved = 2 * queries + 2 * keys
        if self.training and any(grads):
            moved += 3 * queries + 2 * keys + query * queries + (key + value) * keys
        size = self.shape.hidden_size
        self.parts.append(Part(2 * scored * size * products, moved * size))

    def product(self, rows: float, wide: int, out: int, backward: int, trained: bool) -> None:
        """Count a product of ``rows`` vectors with a weight matrix (out, wide), and ``backward`` more for gradients."""
        vectors, weights = rows * (wide + out), wide * out
        own, shared = (weights, 0) if trained else (0, weights)
        part = Part(2 * rows * wide * out, vectors, own, shared)
        self.parts += [part] * (1 + (backward if self.training else 0))

    def linear(self, module: tuple[str, int, int], rows: float, x: bool, trained: bool) -> bool:
        """Count a linear module for ``rows`` vectors. ``x`` says whether its input needs a gradient.

        Return whether its output needs one.
        """
        _, wide, out = module
        self.product(rows, wide, out, int(x) + int(trained), trained)
        return self.update(module, rows, x) or x or trained

    def joint(self, modules: Sequence[tuple[str, int, int]], rows: float, x: bool) -> list[bool]:
        """Count linear modules of a layer that read the same ``rows``, which a GPU computes by one product.

        Return, for each module, whether its output needs a gradient.
        """
        wide, out = modules[0][1], sum(module[2] for module in modules)
        self.product(rows, wide, out, int(x) + int(self.full), self.full)
        return [self.update(module, rows, x) or x or self.full for module in modules]

    def update(self, module: tuple[str, int, int], rows: float, x: bool) -> bool:
        """Count LoRA's update of a module or a row block, where it has one. Return whether it has."""
        name, wide, out = module
        if name not in self.tuned:
            return False
        rank = int(self.params["r"])
        # Products down to the rank and up again. A gradient is needed between the two, and before them if x needs one.
        # VeRA trains neither matrix.
        own = self.method != "vera"
        self.product(rows, wide, rank, int(own) + int(x), own)
        self.product(rows, rank, out, int(own) + 1, own)
        return True

    def fused(
        self, module: tuple[str, int, int], blocks: Sequence[tuple[str, int, int]], rows: float, x: bool
    ) -> list[bool]:
        """Count the module of queries, keys and values, which is computed for all tokens in the last layer, too.

        Return, for each of its row ``blocks``, whether its output needs a gradient. The output is one tensor, so all
        blocks do if one does.
        """
        needed = self.linear(module, rows, x, self.full)
        updated = [self.update(block, rows, x) for block in blocks]
        return [needed or any(updated)] * len(blocks)

    def adapter(self, rows: float, x: bool) -> bool:
        """Count a bottleneck, where the method has one. Return whether its output needs a gradient."""
        if self.method not in BOTTLENECKS:
            return x
        width = bottleneck_width(self.shape, self.params)
        self.product(rows, self.shape.hidden_size, width, 1 + int(x), True)
        self.product(rows, width, self.shape.hidden_size, 2, True)
        return True
