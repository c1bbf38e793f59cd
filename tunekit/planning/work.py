"""The floating-point operations of training and scoring, counted from a model's shape and numbers of tokens.

Counted are the multiplications and additions of matrix products on real tokens: forward products, products for
gradients of inputs where anything before needs one, products for gradients of trained weights, and attention within
each sequence; after the last layer's keys and values, those of first tokens alone. Softmax, norms, dropout and the
optimizer are not counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunekit.models.shapes import BOTTLENECKS, NoClosedForm, Shape, bottleneck_width, lora_targets

LOCAL_METHODS = ("full", "head", "lora", "dora", *BOTTLENECKS)
"""The methods whose trained weights stand in known modules. Any other method is taken to train in every layer."""


@dataclass(frozen=True)
class Texts:
    """How much text a pass reads."""

    sequences: float
    tokens: float
    """The tokens of all sequences."""
    pairs: float
    """The pairs of tokens within sequences: the sum of the squares of their lengths."""


def training_flops(
    shape: Shape, method: str, params: Mapping[str, Any], num_labels: int, texts: Texts, *, cut: bool = True
) -> float:
    """Return the operations of training on ``texts`` once.

    ``params`` are all parameters of the method. ``cut`` says that the last layer computes first tokens alone after its
    keys and values, as it does where batches have no padding.
    """
    return _Count(shape, method, params, num_labels, texts, cut=cut, training=True).total


def scoring_flops(
    shape: Shape, method: str, params: Mapping[str, Any], num_labels: int, texts: Texts, *, cut: bool = True
) -> float:
    """Return the operations of scoring ``texts`` once, which has no backward pass; ``cut`` is as in training."""
    return _Count(shape, method, params, num_labels, texts, cut=cut, training=False).total


class _Count:
    """Operations, added up in the order of the forward pass."""

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
        self.total = 0.0
        everywhere = method not in LOCAL_METHODS or (method in ("lora", "dora") and not self.tuned)
        needs_grad = self.full or everywhere  # whether what enters the layer needs a gradient
        linears = list(shape.linears(num_labels))
        each = len(linears[:-2]) // shape.num_hidden_layers
        for layer in range(shape.num_hidden_layers):
            last = cut and layer == shape.num_hidden_layers - 1
            rows, scored = (texts.sequences, texts.tokens) if last else (texts.tokens, texts.pairs)
            q, k, v, o, up, down = linears[each * layer : each * (layer + 1)]
            grads = [self.linear(q, rows, needs_grad, self.full)]
            grads += [self.linear(one, texts.tokens, needs_grad, self.full) for one in (k, v)]
            scores = grads[0] or grads[1]
            # Scores and their product with values; then gradients of q and k, of probabilities and of values.
            backward = int(grads[0]) + int(grads[1]) + int(scores) + int(grads[2])
            self.add(scored * shape.hidden_size, 2, backward)
            attended = self.linear(o, rows, scores or grads[2], self.full)
            attended = (attended if method == "pfeiffer" else self.adapter(rows, attended)) or needs_grad
            wide = self.linear(up, rows, attended, self.full)
            needs_grad = self.adapter(rows, self.linear(down, rows, wide, self.full)) or attended
        dense, out = linears[-2:]
        self.linear(dense, texts.sequences, needs_grad, True)
        self.linear(out, texts.sequences, True, True)

    def add(self, products: float, forward: int, backward: int) -> None:
        """Count ``products`` multiplications with as many additions, each so many times."""
        self.total += 2 * products * (forward + (backward if self.training else 0))

    def linear(self, module: tuple[str, int, int], rows: float, x: bool, trained: bool) -> bool:
        """Count a linear module for so many ``rows``; ``x`` says whether its input needs a gradient.

        Return whether its output needs one.
        """
        name, wide, out = module
        self.add(rows * wide * out, 1, int(x) + int(trained))
        if name in self.tuned:
            rank = int(self.params["r"])
            # Down and up again: both trained, a gradient between them always, before them where x needs one.
            self.add(rows * rank * wide, 1, 1 + int(x))
            self.add(rows * rank * out, 1, 2)
        return x or trained or name in self.tuned

    def adapter(self, rows: float, x: bool) -> bool:
        """Count a bottleneck, where the method has one. Return whether its output needs a gradient."""
        if self.method not in BOTTLENECKS:
            return x
        self.add(rows * self.shape.hidden_size * bottleneck_width(self.shape, self.params), 2, int(x) + 3)
        return True
