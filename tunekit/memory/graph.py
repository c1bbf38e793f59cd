"""Bytes that the autograd graph of one training step keeps, followed operation by operation. Standard library only.

What an operation saves for its backward pass depends on which of its inputs need a gradient: a frozen linear module
does not keep its input, but a gradient still crosses it. Korthikanti et al. (2023, section 4) count the same for 16-bit
training with masks of a byte, as the engine's are. ``tunekit.engine.memory_probe`` measures the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tunekit.memory.length_groups import BatchSizes
from tunekit.models.families import FAMILIES
from tunekit.models.shapes import BOTTLENECKS, NoClosedForm, Shape, bottleneck_width, lora_targets

FP32, INT64 = 4, 8
COMPUTE: Mapping[str, int] = {"fp32": FP32, "tf32": FP32, "bf16": 2}
"""Bytes of a number in a matrix product, by precision; weights, layer norms and probabilities stay in fp32."""
FOLLOWED_METHODS = ("full", "adapter", "pfeiffer", "lora", "rslora", "lora_plus", "pissa", "head")
"""The methods that ``Graph`` follows. The memory of other methods is measured (``tunekit.engine.memory_probe``)."""
FOLLOWED_MODEL_TYPES = ("bert", "roberta", "electra", "modernbert")
"""The model types whose memory has a closed form: those whose batches have no padding."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One training step of one trial, or of a pack of equal ones."""

    shape: Shape
    method: str
    params: Mapping[str, Any]
    """All parameters of the method."""
    num_labels: int
    sizes: BatchSizes
    """The sizes of the batch."""
    precision: str = "fp32"
    """fp32, tf32 or bf16."""
    trials: int = 1
    """The number of trials in the pack. They share the frozen weights."""
    gpu: bool = False
    """Whether a GPU's kernels compute the step. They store neither masks nor attention's probabilities."""

    @property
    def explicit(self) -> bool:
        """Whether attention is computed step by step, as a CPU does where its probabilities are dropped.

        Otherwise the graph keeps its inputs, its output and one number for each query.
        """
        return self.shape.attention_probs_dropout_prob > 0 and not self.gpu

    @property
    def full_layers(self) -> int:
        """The number of layers that compute all tokens: all but the last one, or all if the head reads all tokens."""
        return self.shape.num_hidden_layers - (not self.shape.reads_all_tokens)

    @property
    def logit_rows(self) -> int:
        """The number of rows of logits."""
        return self.sizes.tokens if self.shape.of_words else self.sizes.sequences


class Rows(Enum):
    """What a row of hidden states belongs to."""

    TOKENS = "tokens"
    SEQUENCES = "sequences"


class Graph:
    """The bytes that the graph of a trial keeps, without parameters, counted in the order of BERT's forward pass."""

    def __init__(self, work: Work) -> None:
        """Raises NoClosedForm for a method or a model type that is not followed here."""
        if work.method not in FOLLOWED_METHODS:
            raise NoClosedForm(f"memory of method {work.method!r}")
        if work.shape.model_type not in FOLLOWED_MODEL_TYPES:
            raise NoClosedForm(f"memory of model type {work.shape.model_type}")
        if work.shape.embedding_size:
            raise NoClosedForm(f"embedding_size is {work.shape.embedding_size}")
        self.work, self.shape = work, work.shape
        self.full, self.pfeiffer = work.method == "full", work.method == "pfeiffer"
        self.compute = COMPUTE[work.precision]
        self.tuned = lora_targets(work.shape, work.method, work.params, work.num_labels)
        self.rank = int(work.params["r"]) if self.tuned else 0
        self.lora_dropout = float(work.params.get("lora_dropout", 0.0))
        self.bytes = 0
        self.keeps_token_mask = self.keeps_sequence_mask = False
        self.mask_bytes = 0
        """The bytes that masks of tokens and of sequences take."""
        self.last_layer_bytes = 0
        """The bytes that are kept after the last of the layers that compute all tokens, masks not counted."""
        self.bytes_until_attention: list[int] = []
        """The bytes kept before the attention of each layer, its keys and values with them, masks not counted."""
        self.bytes_after_attention: list[int] = []
        """The bytes kept after the attention of each layer, up to the logits, masks not counted."""

    def count(self, rows: Rows) -> int:
        """Return the number of rows of hidden states of the kind ``rows``."""
        return self.work.sizes.tokens if rows is Rows.TOKENS else self.work.sizes.sequences

    def run(self) -> int:
        """Return the bytes kept once the logits are computed, without those of the loss."""
        needs_grad = self.embeddings()
        for layer in range(self.shape.num_hidden_layers):
            if layer == self.work.full_layers:
                before = self.bytes
            needs_grad = self.layer(layer, needs_grad)
        if self.shape.of_words:
            before = self.bytes
        self.head(needs_grad)
        self.last_layer_bytes = self.bytes - before
        self.bytes_after_attention = [self.bytes - until for until in self.bytes_after_attention]
        self.mask_bytes = self.masks()
        self.bytes += self.mask_bytes
        if not self.work.explicit and self.compute == FP32 and needs_grad:
            self.bytes += self.work.sizes.padded * FP32  # all layers share the groups' biases
        return self.bytes

    def prefix(self, layer: int) -> str:
        """Return the prefix of the names of a layer's modules."""
        return f"{FAMILIES[self.shape.model_type].layers}.{layer}"

    def keeps_input(self, layer: int, *modules: str) -> bool:
        """Return whether one of a layer's ``modules`` keeps its input itself, and not a cast or dropped-out copy."""
        names = {f"{self.prefix(layer)}.{module}" for module in modules}
        return self.full or (bool(names & self.tuned) and self.lora_dropout == 0)

    def masks(self) -> int:
        """Return the bytes of the masks of tokens and of sequences that the graph keeps.

        All masks of tokens are one tensor, which any use of a part of it keeps alive; so are those of sequences. A GPU
        computes its masks anew in the backward pass.
        """
        if self.work.gpu:
            return 0
        shape, sizes, last = self.shape, self.work.sizes, self.shape.num_hidden_layers - 1
        hidden = shape.hidden_size if shape.hidden_dropout_prob > 0 else 0
        in_head = shape.hidden_size * (shape.head_dropout > 0)
        token, sequence = hidden * (1 + 2 * self.work.full_layers), 0
        if shape.of_words:
            token += in_head
        else:
            token += shape.num_attention_heads if self.work.explicit else 0
            sequence = 2 * hidden + in_head * (1 if shape.model_type == "bert" else 2)
        if self.lora_dropout > 0:
            for name, wide, _ in shape.linears(self.work.num_labels):
                if name in self.tuned:
                    early = shape.of_words or (".encoder.layer." in name and not name.startswith(self.prefix(last)))
                    after = not (early or name.endswith((".key", ".value")))
                    token, sequence = (token, sequence + wide) if after else (token + wide, sequence)
        kept = 0
        if self.keeps_token_mask:
            kept += sizes.tokens * token
        if self.keeps_sequence_mask:
            kept += sizes.sequences * sequence
        return kept

    def dropout(self, rows: Rows, needs_grad: bool, rate: float) -> None:
        """Note that a mask of ``rows`` is kept, where something is dropped and its input needs a gradient."""
        if needs_grad and rate > 0:
            self.keeps_token_mask |= rows is Rows.TOKENS
            self.keeps_sequence_mask |= rows is Rows.SEQUENCES

    def linear(
        self, name: str, rows: Rows, wide: int, out: int, needs_grad: bool, *, trained: bool, kept: bool, narrow: bool
    ) -> bool:
        """Count a linear module, from ``wide`` to ``out`` numbers a row. Return whether its output needs a gradient.

        ``needs_grad`` says whether its input does, ``trained`` whether the module is trained, ``kept`` whether the
        graph has its input already. ``narrow`` says that the input has the precision of the product; else it is cast.
        """
        cast, count = self.compute != FP32, self.count(rows)
        size = count * wide
        if trained and (not kept or (cast and not narrow)):
            self.bytes += size * self.compute
        if name in self.tuned:
            self.dropout(rows, needs_grad, self.lora_dropout)
            if cast or self.lora_dropout > 0 or not (kept or trained):
                self.bytes += size * self.compute
            self.bytes += count * self.rank * self.compute
            if cast:
                self.bytes += self.compute * self.rank * (out + (wide if needs_grad else 0))
        if cast and needs_grad:
            self.bytes += self.compute * wide * out
        return needs_grad or trained or name in self.tuned

    def norm(self, rows: Rows) -> None:
        """Count a layer norm, which keeps its input, and the mean and the deviation of each row."""
        self.bytes += self.count(rows) * (self.shape.hidden_size + 2) * FP32

    def embeddings(self) -> bool:
        """Count three look-ups, their layer norm and dropout; a frozen backbone keeps nothing of them.

        Return whether their output needs a gradient.
        """
        if self.full:
            self.bytes += 3 * self.work.sizes.tokens * INT64
            self.norm(Rows.TOKENS)
            self.dropout(Rows.TOKENS, True, self.shape.hidden_dropout_prob)
        return self.full

    def attention(self, q: bool, k: bool, v: bool, *, last: bool) -> None:
        """Count attention: scores, probabilities and their dropout, one by one, or SDPA.

        ``q``, ``k`` and ``v`` say whether queries, keys and values need a gradient.
        """
        sizes, shape = self.work.sizes, self.shape
        slots = sizes.slots * shape.hidden_size * self.compute
        queries = sizes.sequences * shape.hidden_size * self.compute if last else slots
        heads = shape.num_attention_heads
        if not self.work.explicit:
            if q or k or v:
                self.bytes += 2 * slots + 2 * queries + (sizes.sequences if last else sizes.slots) * heads * FP32
                self.bytes += sizes.padded * self.compute if self.compute != FP32 else 0
            return
        scores, pairs = q or k, (sizes.slots if last else sizes.squares) * heads
        self.bytes += queries * int(k) + slots * (int(q) + int(scores))
        if scores:
            self.bytes += pairs * (FP32 + 1)
        if v:
            self.bytes += pairs * self.compute

    def bottleneck(self, rows: Rows, needs_grad: bool) -> bool:
        """Count an adapter: its linear module down, its activation and its linear module up each keep their input.

        ReLU keeps its output instead, which is the input of the module up. Return whether the output needs a gradient.
        """
        if self.work.method not in BOTTLENECKS:
            return needs_grad
        h, m = self.shape.hidden_size, bottleneck_width(self.shape, self.work.params)
        self.bytes += self.count(rows) * (h + (1 if self.pfeiffer else 2) * m) * self.compute
        if self.compute != FP32:
            self.bytes += self.compute * h * m * (2 if needs_grad else 1)
        return True

    def layer(self, number: int, x: bool) -> bool:
        """Count encoder layer ``number``, whose input needs a gradient if ``x``. Return whether its output does.

        In the last layer everything after keys and values has a row a sequence, unless the head reads all tokens.
        """
        prefix, shape, full = self.prefix(number), self.shape, self.full
        last = number == self.work.full_layers
        rows = Rows.SEQUENCES if last else Rows.TOKENS
        h, inner, rate = shape.hidden_size, shape.intermediate_size, shape.hidden_dropout_prob
        grads, kept = {}, {Rows.TOKENS: False, Rows.SEQUENCES: False}
        for part, at in (("query", rows), ("key", Rows.TOKENS), ("value", Rows.TOKENS)):
            name = f"{prefix}.attention.self.{part}"
            grads[part] = self.linear(name, at, h, h, x, trained=full, kept=kept[at], narrow=False)
            kept[at] = kept[at] or full or (name in self.tuned and self.lora_dropout == 0)
        if last:
            # The indices of first tokens, of the sequences in their groups, and back.
            self.bytes += self.work.sizes.sequences * INT64 * (int(x) + int(grads["query"]) + int(any(grads.values())))
        self.bytes_until_attention.append(self.bytes)
        self.attention(*grads.values(), last=last)
        self.bytes_after_attention.append(self.bytes)
        c = self.linear(
            f"{prefix}.attention.output.dense", rows, h, h, any(grads.values()), trained=full, kept=False, narrow=True
        )
        self.dropout(rows, c, rate)
        y = (c if self.pfeiffer else self.bottleneck(rows, c)) or x
        if y:
            self.norm(rows)
        i = self.linear(f"{prefix}.intermediate.dense", rows, h, inner, y, trained=full, kept=False, narrow=False)
        if i:
            self.bytes += self.count(rows) * inner * self.compute
        o = self.linear(f"{prefix}.output.dense", rows, inner, h, i, trained=full, kept=False, narrow=True)
        self.dropout(rows, o, rate)
        if self.pfeiffer:
            # Its bottleneck reads the output of the layer norm that ends the layer, so that norm is computed twice.
            o = o or y
            if o:
                self.norm(rows)
        if self.bottleneck(rows, o) or y:
            self.norm(rows)
            return True
        return False

    def head(self, x: bool) -> None:
        """Count the head: its pooler or dense layer with the activation, and the classifier.

        ``x`` says whether its input needs a gradient. A head for tokens is dropout and the classifier.
        """
        shape, h, rows, rate = self.shape, self.shape.hidden_size, Rows.SEQUENCES, self.shape.head_dropout
        if shape.of_words:
            self.dropout(Rows.TOKENS, x, rate)
            [out] = shape.head_linears
            self.linear(out, Rows.TOKENS, h, self.work.num_labels, x, trained=True, kept=False, narrow=False)
            return
        dense, out = shape.head_linears
        if shape.model_type != "bert":
            self.dropout(rows, x, rate)
        self.linear(dense, rows, h, h, x, trained=True, kept=False, narrow=False)
        self.bytes += self.count(rows) * h * self.compute
        self.dropout(rows, True, rate)
        # tanh keeps its output, which is the classifier's input where nothing is dropped; GELU keeps its input.
        kept = rate == 0 and shape.model_type != "electra"
        self.linear(out, rows, h, self.work.num_labels, True, trained=True, kept=kept, narrow=True)
