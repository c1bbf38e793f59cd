"""Bytes that the graph of one training step of a ModernBERT keeps, operation by operation. Standard library only.

The operations are those of ``tunekit.engine.forward.modernbert``, on a CPU and on a GPU alike: no kernels of
``tunekit.engine.kernels`` run them, so that there are groups of sequences on a GPU, too.
"""

from __future__ import annotations

from tunekit.memory.graph import FP32, INT64, Graph, Rows, Work
from tunekit.models.families import FAMILIES
from tunekit.models.shapes import NoClosedForm

BLOCKS = ("query", "key", "value")
"""The row blocks of the fused module of queries, keys and values."""
GLOBAL_EVERY = 3
"""Layers 0, 3, 6, ... are global: their queries see the whole sequence (``PLAIN`` of ``tunekit.models.shapes``)."""


class ModernBertGraph(Graph):
    """The bytes of a ModernBERT without dropout, as the pretrained ones are."""

    def __init__(self, work: Work) -> None:
        """Raises NoClosedForm for a method that is not followed, and where the model drops anything."""
        super().__init__(work)
        shape = work.shape
        if shape.hidden_dropout_prob or shape.attention_probs_dropout_prob or shape.head_dropout:
            raise NoClosedForm("memory of model type modernbert with dropout")
        self.rotating: set[bool] = set()
        """The kinds of layers whose graph keeps angles of rotations: True for local ones, False for global ones. The
        layers of a kind share them."""
        self.keeps_padding = self.keeps_short_padding = False
        """Whether the graph keeps the biases that hide padding, of all groups or of those no longer than a window."""
        self.model_bytes = 0
        """The bytes that are kept in all, without masks, angles and shared biases."""

    def run(self) -> int:
        """Return the bytes kept once the logits are computed, without those of the loss."""
        sizes, needs_grad = self.work.sizes, self.embeddings()
        for layer in range(self.shape.num_hidden_layers):
            if layer == self.work.full_layers:
                before = self.bytes
            needs_grad = self.layer(layer, needs_grad)
        if self.shape.reads_all_tokens:
            before = self.bytes
        self.head(needs_grad)
        self.last_layer_bytes = self.bytes - before
        self.bytes_after_attention = [self.bytes - until for until in self.bytes_after_attention]
        self.model_bytes = self.bytes
        self.mask_bytes = self.masks()
        self.bytes += self.mask_bytes + len(self.rotating) * self.angles
        if self.keeps_padding or self.keeps_short_padding:
            self.bytes += FP32 * (sizes.padded if self.keeps_padding else sizes.window_padded)
        return self.bytes

    def keeps(self, module: str) -> bool:
        """Return whether the graph keeps the input itself of the linear module of that name, or of its row blocks."""
        tuned = any(name == module or name.startswith(f"{module}.") for name in self.tuned)
        return self.full or (tuned and self.lora_dropout == 0)

    @property
    def angles(self) -> int:
        """The bytes of the sines and cosines by which the layers of one kind rotate."""
        return 2 * self.work.sizes.tokens * (self.shape.hidden_size // self.shape.num_attention_heads) * FP32

    def masks(self) -> int:
        """Return the bytes of the masks of LoRA's dropout. The model has no dropout of its own."""
        if not self.lora_dropout:
            return 0
        token = sequence = 0
        layers = f"{FAMILIES[self.shape.model_type].layers}."
        last = f"{self.prefix(self.work.full_layers)}."  # names no layer where all layers compute all tokens
        for name, wide, _ in self.shape.targets(self.work.num_labels):
            if name in self.tuned:
                of_tokens = name.startswith(layers) and (not name.startswith(last) or ".Wqkv" in name)
                if of_tokens or self.shape.of_words:
                    token += wide
                else:
                    sequence += wide
        kept = self.work.sizes.tokens * token if self.keeps_token_mask else 0
        return kept + (self.work.sizes.sequences * sequence if self.keeps_sequence_mask else 0)

    def embeddings(self) -> bool:
        """Count one look-up and its layer norm; a frozen backbone keeps nothing of them.

        Return whether their output needs a gradient.
        """
        if self.full:
            self.bytes += self.work.sizes.tokens * INT64
            self.norm(Rows.TOKENS)
        return self.full

    def layer(self, number: int, x: bool) -> bool:
        """Count encoder layer ``number``, whose input needs a gradient if ``x``. Return whether its output does.

        In the last layer everything after attention's inputs has a row a sequence, unless the head reads all tokens.
        """
        prefix, h, inner, full = self.prefix(number), self.shape.hidden_size, self.shape.intermediate_size, self.full
        last = number == self.work.full_layers
        rows = Rows.SEQUENCES if last else Rows.TOKENS
        if number and x:  # the first layer has no norm before attention
            self.norm(Rows.TOKENS)
        attended = self.attention_inputs(f"{prefix}.attn.Wqkv", x)
        self.bytes_until_attention.append(self.bytes)
        if attended:
            self.rotated_attention(local=number % GLOBAL_EVERY > 0, last=last)
        self.bytes_after_attention.append(self.bytes)
        c = self.linear(f"{prefix}.attn.Wo", rows, h, h, attended, trained=full, kept=False, narrow=True)
        y = (c if self.pfeiffer else self.bottleneck(rows, c)) or x
        if y:
            self.norm(rows)
        i = self.linear(f"{prefix}.mlp.Wi", rows, h, 2 * inner, y, trained=full, kept=False, narrow=False)
        if i:
            # The inner activations and their gates, which are one tensor, and GELU of the activations.
            self.bytes += self.count(rows) * 3 * inner * self.compute
        o = self.linear(f"{prefix}.mlp.Wo", rows, inner, h, i, trained=full, kept=False, narrow=True)
        return self.bottleneck(rows, o) or y

    def attention_inputs(self, fused: str, x: bool) -> bool:
        """Count the module of queries, keys and values, or its row blocks. Return whether they need a gradient.

        The blocks' outputs are put side by side in one tensor, so that all three need a gradient where one does.
        """
        h, found, kept = self.shape.hidden_size, False, False
        blocks = [f"{fused}.{block}" for block in BLOCKS]
        if not any(block in self.tuned for block in blocks):
            return self.linear(fused, Rows.TOKENS, h, 3 * h, x, trained=self.full, kept=False, narrow=False)
        for block in blocks:
            found |= self.linear(block, Rows.TOKENS, h, h, x, trained=False, kept=kept, narrow=False)
            kept |= block in self.tuned and self.lora_dropout == 0
        return found

    def rotated_attention(self, *, local: bool, last: bool) -> None:
        """Count what attention by SDPA keeps, its rotations, and the biases that hide padding or distant keys."""
        sizes, h, heads = self.work.sizes, self.shape.hidden_size, self.shape.num_attention_heads
        slots, queries = sizes.slots * h, (sizes.sequences if last else sizes.slots) * h
        self.bytes += (2 * slots + 2 * queries) * self.compute
        self.bytes += (sizes.sequences if last else sizes.slots) * heads * FP32
        self.rotating.add(local)
        if last:  # the indices of first tokens, of the sequences in their groups, and back
            self.bytes += 3 * sizes.sequences * INT64
        if local:
            self.bytes += (sizes.window_keys if last else sizes.window_pairs) * self.compute
        if self.compute != FP32:
            self.bytes += (sizes.window_padded if local else sizes.padded) * self.compute
        elif local:
            self.keeps_short_padding = True
        else:
            self.keeps_padding = True

    def head(self, x: bool) -> None:
        """Count the norm that ends the encoder, pooling, and the head: dense layer, GELU, layer norm and classifier.

        ``x`` says whether the encoder's output needs a gradient.
        """
        shape, sizes, h = self.shape, self.work.sizes, self.shape.hidden_size
        rows = Rows.TOKENS if shape.of_words else Rows.SEQUENCES
        if x:
            self.norm(Rows.TOKENS if shape.reads_all_tokens else Rows.SEQUENCES)
        if x and shape.reads_all_tokens and not shape.of_words:
            # The means keep indices of slots and of sequences, and, where there is padding, which slots are real and
            # how many.
            self.bytes += (sizes.slots + sizes.sequences) * INT64
            self.bytes += (sizes.padded + sizes.sequences) * FP32 if sizes.padded else 0
        dense, out = shape.head_linears
        self.linear(dense, rows, h, h, x, trained=True, kept=False, narrow=False)
        self.bytes += self.count(rows) * 2 * h * self.compute + self.count(rows) * 2 * FP32
        self.linear(out, rows, h, self.work.num_labels, True, trained=True, kept=False, narrow=True)
