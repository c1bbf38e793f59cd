"""Shapes of encoders and their numbers of parameters in closed form. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

LAYER_LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
HEAD_LINEARS = {"bert": ("bert.pooler.dense", "classifier"), "roberta": ("classifier.dense", "classifier.out_proj")}
BOTTLENECKS: Mapping[str, int] = {"adapter": 2, "pfeiffer": 1}
"""Adapters a layer, by method."""
PLAIN = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
"""Settings of a config.json that the closed forms assume; absent means this."""


class NoClosedForm(ValueError):
    """A model or method whose parameters and memory no formula here describes."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """All of a BERT- or RoBERTa-type encoder that parameters and memory depend on."""

    model_type: str
    """bert or roberta."""
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    """The hidden one where None."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """The shape that a config.json, or a config's ``to_dict``, describes.

        Raises NoClosedForm where a size is missing or the model computes something else.
        """
        for name, plain in PLAIN.items():
            if config.get(name, plain) != plain:
                raise NoClosedForm(f"{name} is {config[name]!r}")
        if config.get("model_type") not in HEAD_LINEARS:
            raise NoClosedForm(f"model_type is {config.get('model_type')!r}")
        try:
            return cls(**{item.name: config[item.name] for item in fields(cls) if item.name in config})
        except TypeError as error:
            raise NoClosedForm("its config.json leaves out a size") from error

    @property
    def head_dropout(self) -> float:
        """Share of the head's inputs that training drops."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    def linears(self, num_labels: int) -> Iterator[tuple[str, int, int]]:
        """(name, width in, width out) of every linear module, the head's last."""
        h, inner = self.hidden_size, self.intermediate_size
        widths = {"intermediate.dense": (h, inner), "output.dense": (inner, h)}
        for layer in range(self.num_hidden_layers):
            for name in LAYER_LINEARS:
                yield f"{self.model_type}.encoder.layer.{layer}.{name}", *widths.get(name, (h, h))
        dense, out = HEAD_LINEARS[self.model_type]
        yield dense, h, h
        yield out, h, num_labels


BASE: Mapping[str, Any] = {
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
TINY: Mapping[str, Any] = {"vocab_size": 2_000, "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2}
BERT: Mapping[str, Any] = {"model_type": "bert", "max_position_embeddings": 512, "type_vocab_size": 2}
ROBERTA: Mapping[str, Any] = {"model_type": "roberta", "max_position_embeddings": 514, "type_vocab_size": 1}

SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "bert": Shape(**BERT, **BASE, vocab_size=30_522),
        "roberta": Shape(**ROBERTA, **BASE, vocab_size=50_265),
        "scibert": Shape(**BERT, **BASE, vocab_size=31_090),
        "minilm": Shape(
            **BERT, vocab_size=30_522, num_hidden_layers=6, hidden_size=384, num_attention_heads=12,
            intermediate_size=1536,
        ),
        "tiny-bert": Shape(**BERT, **TINY, intermediate_size=64),
        "tiny-roberta": Shape(**ROBERTA, **TINY, intermediate_size=64),
    }
)  # fmt: skip
"""Of the registered models, by short name."""


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters by what they belong to."""

    backbone: int
    """Embeddings and encoder layers."""
    head: int
    """All after the last encoder layer."""
    own: int
    """The method's own."""
    method: str

    @property
    def trainable(self) -> int:
        """Those that training moves: head and own weights, and the backbone in full fine-tuning."""
        return self.head + self.own + (self.backbone if self.method == "full" else 0)

    @property
    def total(self) -> int:
        """All of them."""
        return self.backbone + self.head + self.own


def parameters(shape: Shape, method: str, params: Mapping[str, Any], num_labels: int) -> Parameters:
    """Closed form of what the built model counts. ``params`` are the method's, complete. Raises NoClosedForm."""
    h, inner, layers = shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers
    embeddings = (shape.vocab_size + shape.max_position_embeddings + shape.type_vocab_size) * h + 2 * h
    layer = 4 * (h * h + h) + (h * inner + inner) + (inner * h + h) + 4 * h
    head = h * h + h + h * num_labels + num_labels
    return Parameters(embeddings + layers * layer, head, _own(shape, method, params, num_labels), method)


def _own(shape: Shape, method: str, params: Mapping[str, Any], num_labels: int) -> int:
    if method == "full":
        return 0
    if method in BOTTLENECKS:
        width = bottleneck(shape, params)
        return (
            shape.num_hidden_layers * BOTTLENECKS[method] * (2 * shape.hidden_size * width + shape.hidden_size + width)
        )
    tuned = lora_targets(shape, method, params, num_labels)
    return sum(params["r"] * (wide + out) for name, wide, out in shape.linears(num_labels) if name in tuned)


def bottleneck(shape: Shape, params: Mapping[str, Any]) -> int:
    """Width of an adapter's bottleneck."""
    return int(shape.hidden_size // params["reduction_factor"])


def lora_targets(shape: Shape, method: str, params: Mapping[str, Any], num_labels: int) -> frozenset[str]:
    """Full names of the linear modules that LoRA changes, by ``peft``'s rule (ends of names); none for other methods.

    Raises NoClosedForm for a target that is no linear module, and for a method that is none of ours.
    """
    if method == "full" or method in BOTTLENECKS:
        return frozenset()
    if method != "lora":
        raise NoClosedForm(f"method {method!r}")
    names = [name for name, _, _ in shape.linears(num_labels)]
    found: set[str] = set()
    for target in str(params["target_modules"]).split(","):
        hit = [name for name in names if name == target or name.endswith(f".{target}")]
        if not hit:
            raise NoClosedForm(f"LoRA on {target!r}")
        found.update(hit)
    return frozenset(found)
