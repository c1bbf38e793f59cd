"""Bytes that the autograd graph of one training step keeps, followed operation by operation. Standard library only.

What an operation saves for its backward pass depends on which of its inputs need a gradient: a frozen linear module
does not keep its input, but a gradient still crosses it. Korthikanti et al. (2023, section 4) count the same for 16-bit
training with one-byte masks; the engine's masks are as wide as what they mask. ``tunekit.engine.memory_measure``
measures the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunekit.shapes import Shape, bottleneck, lora_targets

FP32, INT64 = 4, 8
COMPUTE: Mapping[str, int] = {"fp32": FP32, "bf16": 2}
"""Bytes of a number in a matrix product, by precision; weights, layer norms and probabilities stay in fp32."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One training step of one trial, or of a pack of equal ones, and the batch it is scored in."""

    shape: Shape
    method: str
    params: Mapping[str, Any]
    """The method's, complete."""
    num_labels: int
    sequences: int
    """Examples in the batch."""
    rows: int
    """Rows without padding that hold them; as many as sequences where all are of one length."""
    length: int
    """Tokens of a row: the longest sequence."""
    precision: str = "fp32"
    trials: int = 1
    """Trials of a pack, which share the frozen weights."""

    @property
    def tokens(self) -> int:
        """Places in all rows."""
        return self.rows * self.length

    @property
    def explicit(self) -> bool:
        """Whether attention is computed step by step, as it is where its probabilities are dropped; else by SDPA."""
        return self.shape.attention_probs_dropout_prob > 0


class Graph:
    """Bytes that the graph of one trial keeps, parameters not counted, added up in the order of the forward pass."""

    def __init__(self, work: Work) -> None:
        self.work, self.shape = work, work.shape
        self.full = work.method == "full"
        self.compute = COMPUTE[work.precision]
        self.tuned = lora_targets(work.shape, work.method, work.params, work.num_labels)
        self.rank = int(work.params["r"]) if self.tuned else 0
        self.lora_dropout = float(work.params["lora_dropout"]) if self.tuned else 0.0
        self.bytes = 0
        self.until_attention = 0
        """Bytes kept up to the last layer's probabilities."""

    def run(self) -> int:
        """The bytes when the logits stand, those of the loss itself not counted."""
        needs_grad = self.embeddings()
        for layer in range(self.shape.num_hidden_layers):
            needs_grad = self.layer(self.prefix(layer), needs_grad)
        if not self.work.explicit and self.compute == FP32 and needs_grad:
            self.bytes += self.work.tokens * self.work.length * FP32  # all layers share one mask
        self.head(needs_grad)
        return self.bytes

    def prefix(self, layer: int) -> str:
        """What the names of a layer's modules begin with."""
        return f"{self.shape.model_type}.encoder.layer.{layer}"

    def keeps_input(self, layer: int, *modules: str) -> bool:
        """Whether one of a layer's linear ``modules`` keeps its input itself, and not a cast or dropped copy of it."""
        names = {f"{self.prefix(layer)}.{module}" for module in modules}
        return self.full or (bool(names & self.tuned) and self.lora_dropout == 0)

    def dropout(self, count: int, needs_grad: bool, rate: float, width: int) -> None:
        """A mask as wide as what it masks."""
        self.bytes += count * width if needs_grad and rate > 0 else 0

    def linear(
        self, name: str, count: int, wide: int, out: int, needs_grad: bool, *, trained: bool, kept: bool, narrow: bool
    ) -> bool:
        """``count`` vectors through one linear module; returns whether its output needs a gradient.

        ``kept``: its input is in the graph already. ``narrow``: it has the width of the product, else it is cast.
        """
        cast, size = self.compute != FP32, count * wide
        if trained and (not kept or (cast and not narrow)):
            self.bytes += size * self.compute
        if name in self.tuned:
            self.dropout(size, needs_grad, self.lora_dropout, FP32)
            if cast or self.lora_dropout > 0 or not (kept or trained):
                self.bytes += size * self.compute
            self.bytes += count * self.rank * self.compute
            if cast:
                self.bytes += self.compute * self.rank * (out + (wide if needs_grad else 0))
        if cast and needs_grad:
            self.bytes += self.compute * wide * out
        return needs_grad or trained or name in self.tuned

    def norm(self, count: int, width: int) -> None:
        """A layer norm: its input, and a mean and a deviation a token."""
        self.bytes += count * (width + 2) * FP32

    def embeddings(self) -> bool:
        """Three look-ups, their norm and dropout; nothing of a frozen backbone."""
        if self.full:
            tokens, h = self.work.tokens, self.shape.hidden_size
            self.bytes += 3 * tokens * INT64
            self.norm(tokens, h)
            self.dropout(tokens * h, True, self.shape.hidden_dropout_prob, FP32)
        return self.full

    def attention(self, q: bool, k: bool, v: bool) -> None:
        """Scores, probabilities and their dropout, one by one, or SDPA; which of its inputs need a gradient."""
        work, shape = self.work, self.shape
        size = work.tokens * shape.hidden_size * self.compute
        square = work.tokens * work.length
        if not work.explicit:
            if q or k or v:
                self.bytes += 4 * size + work.tokens * shape.num_attention_heads * FP32
                self.bytes += square * self.compute if self.compute != FP32 else 0
            return
        scores = q or k
        self.bytes += size * (int(k) + int(q) + int(scores))
        if scores:
            self.bytes += 2 * square * shape.num_attention_heads * FP32
        if v:
            self.bytes += square * shape.num_attention_heads * self.compute

    def bottleneck(self, needs_grad: bool) -> bool:
        """A Houlsby adapter: down, swish, up, each with its input."""
        if self.work.method != "adapter":
            return needs_grad
        tokens, h, m = self.work.tokens, self.shape.hidden_size, bottleneck(self.shape, self.work.params)
        self.bytes += tokens * (h + 2 * m) * self.compute
        if self.compute != FP32:
            self.bytes += self.compute * h * m * (2 if needs_grad else 1)
        return True

    def layer(self, prefix: str, x: bool) -> bool:
        """One encoder layer; ``x`` and the result say whether its input and output need a gradient."""
        work, shape, full = self.work, self.shape, self.full
        tokens, h, inner, rate = work.tokens, shape.hidden_size, shape.intermediate_size, shape.hidden_dropout_prob
        names = {name: f"{prefix}.attention.self.{name}" for name in ("query", "key", "value")}
        grads, kept = [], False
        for name in names.values():
            grads.append(self.linear(name, tokens, h, h, x, trained=full, kept=kept, narrow=False))
            kept = kept or full or (name in self.tuned and self.lora_dropout == 0)
        self.attention(*grads)
        self.until_attention = self.bytes
        c = self.linear(
            f"{prefix}.attention.output.dense", tokens, h, h, any(grads),
            trained=full, kept=not work.explicit and any(grads), narrow=True,
        )  # fmt: skip
        self.dropout(tokens * h, c, rate, self.compute)
        y = self.bottleneck(c) or x
        if y:
            self.norm(tokens, h)
        i = self.linear(
            f"{prefix}.intermediate.dense", tokens, h, inner, y, trained=full, kept=False, narrow=False
        )  # fmt: skip
        if i:
            self.bytes += tokens * inner * self.compute
        o = self.linear(
            f"{prefix}.output.dense", tokens, inner, h, i, trained=full, kept=False, narrow=True
        )  # fmt: skip
        self.dropout(tokens * h, o, rate, self.compute)
        if self.bottleneck(o) or y:
            self.norm(tokens, h)
            return True
        return False

    def head(self, x: bool) -> None:
        """First tokens gathered, the pooler or dense layer with tanh, the classifier, the loss."""
        shape, count, h = self.shape, self.work.sequences, self.shape.hidden_size
        dense, out = [name for name, _, _ in shape.linears(self.work.num_labels)][-2:]
        rate = shape.head_dropout
        self.bytes += count * INT64 if x else 0
        if shape.model_type == "roberta":
            self.dropout(count * h, x, rate, FP32)
        self.linear(dense, count, h, h, x, trained=True, kept=False, narrow=False)
        self.bytes += count * h * self.compute
        self.dropout(count * h, True, rate, self.compute)
        self.linear(out, count, h, self.work.num_labels, True, trained=True, kept=rate == 0, narrow=True)
