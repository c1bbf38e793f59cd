"""The sizes of an encoder, and its numbers of parameters in closed form. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tunekit.models.families import FAMILIES, Family

ALL_LINEAR = "all-linear"
"""The value of ``target_modules`` that stands for every linear module of every encoder layer."""

ADDING_NOTHING = ("full", "bitfit", "ln_tuning", "head")
"""The methods that only choose which of the model's own parameters are trained."""

TARGETED = ("lora", "dora", "rslora", "lora_plus", "vera", "pissa")
"""The methods that change the linear modules that their ``target_modules`` name."""

BOTTLENECKS: Mapping[str, int] = {"adapter": 2, "pfeiffer": 1, "parallel": 1}
"""The number of bottlenecks in a layer, by method."""

PLAIN = {
    "hidden_act": "gelu", "activation": "gelu", "position_embedding_type": "absolute", "is_decoder": False,
    "add_cross_attention": False, "conv_kernel_size": 0, "embedding_dropout": 0.0, "classifier_activation": "gelu",
    "global_attn_every_n_layers": 3,
}  # fmt: skip
"""The settings of a config.json that the closed forms assume. A setting that is absent has this value."""


class NoClosedForm(ValueError):
    """There is no formula here for the parameters or the memory of a model or method."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Everything about an encoder that its parameters and memory depend on."""

    model_type: str
    """One of the model types in ``FAMILIES``."""
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
    """The dropout probability in the head; None where it is that of hidden states."""
    embedding_size: int | None = None
    """The width of embeddings that a linear module brings to the hidden size; None where they have the hidden size."""
    relative_positions: int | None = None
    """The number of distances to either side that have an embedding; None where there are no such embeddings."""
    local_attention: int | None = None
    """The number of tokens in the window of a local layer; None where every layer sees all tokens of a text."""
    pooling: str | None = None
    """``mean`` where the head for sequences reads the mean of all tokens, ``cls`` where it reads the first token; None
    where a model type leaves no choice and it reads the first."""
    of_words: bool = field(default=False, metadata={"of_config": False})
    """Whether the model has a head for tokens, since words have labels. Its last layer then computes all tokens."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Shape:
        """Return the shape that the values of a config.json describe, or those of a config's ``to_dict``.

        Raises NoClosedForm where a size is missing, or where the closed forms do not describe the model.
        """
        family = FAMILIES.get(str(config.get("model_type")))
        if family is None:
            raise NoClosedForm(f"model_type is {config.get('model_type')!r}")
        for name, plain in PLAIN.items():
            if config.get(name, plain) != plain:
                raise NoClosedForm(f"{name} is {config[name]!r}")
        for name, needed in family.needed.items():
            if config.get(name) != needed:
                raise NoClosedForm(f"{name} is {config.get(name)!r}")
        keys = {name: family.config_keys.get(name, name) for name in _of_config()}
        sizes = {name: config[key] for name, key in keys.items() if key in config}
        if sizes.get("embedding_size") == sizes.get("hidden_size"):
            sizes.pop("embedding_size", None)
        elif "embedding_size" in sizes and config["model_type"] != "electra":
            raise NoClosedForm(f"embedding_size is {config['embedding_size']}")
        if "relative_attention" in family.needed and sizes.get("relative_positions", 0) < 1:
            raise NoClosedForm("position_buckets is not given")
        try:
            return cls(**({} if family.token_types else {"type_vocab_size": 0}) | sizes)
        except TypeError as error:
            raise NoClosedForm("its config.json leaves out a size") from error

    def to_config(self) -> dict[str, Any]:
        """Return the values of a config.json of this shape."""
        family = FAMILIES[self.model_type]
        sizes = {family.config_keys.get(name, name): getattr(self, name) for name in _of_config()}
        sizes["embedding_size"] = self.embedding_size or self.hidden_size
        return {**{name: value for name, value in sizes.items() if value is not None}, **family.needed, **family.usual}

    @property
    def head_dropout(self) -> float:
        """The share of the head's inputs that training drops."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    @property
    def window(self) -> int | None:
        """The largest distance in tokens at which a local layer's query sees a key; None without a local layer."""
        return None if self.local_attention is None else self.local_attention // 2

    @property
    def reads_all_tokens(self) -> bool:
        """Whether the head reads all tokens, so that the last layer computes them all."""
        return self.of_words or self.pooling == "mean"

    @property
    def head_linears(self) -> tuple[str, ...]:
        """The names of the head's linear modules, in the order of the forward pass."""
        family = FAMILIES[self.model_type]
        return family.token_head_linears if self.of_words else family.head_linears

    def linears(self, num_labels: int) -> Iterator[tuple[str, int, int]]:
        """Yield the name, the input width and the output width of every linear module, with the head's modules last."""
        h, family = self.hidden_size, FAMILIES[self.model_type]
        for layer in range(self.num_hidden_layers):
            for name in family.layer_linears:
                yield f"{family.layers}.{layer}.{family.module(name)}", *self._widths(name)
        *dense, out = self.head_linears
        yield from ((name, h, h) for name in dense)
        yield out, h, num_labels

    def targets(self, num_labels: int) -> Iterator[tuple[str, int, int]]:
        """Yield the modules that LoRA can change, as ``linears`` does: linear modules, and row blocks of fused ones."""
        h, family = self.hidden_size, FAMILIES[self.model_type]
        yield from self.linears(num_labels)
        for layer in range(self.num_hidden_layers):
            yield from ((f"{family.layers}.{layer}.{family.module(name)}", h, h) for name in family.row_blocks)

    def _widths(self, name: str) -> tuple[int, int]:
        """Return the input and the output width of a layer's linear module, by BERT's name."""
        h, inner, gated = self.hidden_size, self.intermediate_size, FAMILIES[self.model_type].gated
        widths = {
            "attention.self.qkv": (h, 3 * h), "intermediate.dense": (h, 2 * inner if gated else inner),
            "output.dense": (inner, h),
        }  # fmt: skip
        return widths.get(name, (h, h))


def _of_config() -> list[str]:
    """Return the names of the fields of a shape that a config.json has."""
    return [item.name for item in fields(Shape) if item.metadata.get("of_config", True)]


@dataclass(frozen=True)
class Parameters:
    """The numbers of parameters of a model's parts."""

    backbone: int
    """The parameters of embeddings and encoder layers."""
    head: int
    """The parameters of everything after the last encoder layer."""
    added: int
    """The parameters that the method adds to the model."""
    tuned: int
    """The number of the backbone's parameters that training moves."""

    @property
    def trainable(self) -> int:
        """The number of parameters that training moves."""
        return self.head + self.added + self.tuned

    @property
    def total(self) -> int:
        """The number of the model's parameters, including those that the method adds."""
        return self.backbone + self.head + self.added


def parameters(shape: Shape, method: str, params: Mapping[str, Any], num_labels: int) -> Parameters:
    """Return the numbers of parameters that the model of ``shape``, changed by ``method``, has once it is built.

    ``params`` are all parameters of the method. Raises NoClosedForm where no formula describes the method.
    """
    if FAMILIES[shape.model_type].biases:
        return _without_biases(shape, method, params, num_labels)
    h, inner, layers = shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers
    positions, norms = shape.max_position_embeddings, 1
    if shape.relative_positions:
        positions, norms = 2 * shape.relative_positions, 2  # the embeddings of distances have a norm of their own
    width = shape.embedding_size or h
    projection = width * h + h if shape.embedding_size else 0
    embeddings = (shape.vocab_size + positions + shape.type_vocab_size + 2 * norms) * width + projection
    layer = 4 * (h * h + h) + (h * inner + inner) + (inner * h + h) + 4 * h
    head = (len(shape.head_linears) - 1) * (h * h + h) + h * num_labels + num_labels
    backbone = embeddings + layers * layer
    tuned = {
        "full": backbone,
        "bitfit": norms * width + h * bool(projection) + layers * (7 * h + inner),
        "ln_tuning": 2 * norms * width + layers * 4 * h,
    }.get(method, 0)
    return Parameters(backbone, head, _added(shape, method, params, num_labels), tuned)


def _without_biases(shape: Shape, method: str, params: Mapping[str, Any], num_labels: int) -> Parameters:
    """Return the numbers of a ModernBERT's parameters. Its classifier alone has a bias.

    Each layer has two norms, except the first, which has one. One norm follows the embeddings, one follows the last
    layer, and one is the head's.
    """
    h, layers = shape.hidden_size, shape.num_hidden_layers
    of_layers = sum(wide * out for name, wide, out in shape.linears(num_labels) if ".layers." in name)
    backbone = (shape.vocab_size + 1) * h + of_layers + (2 * layers - 1) * h + h
    head = h * h + h + h * num_labels + num_labels
    added = _added(shape, method, params, num_labels)
    tuned = {"full": backbone, "ln_tuning": (2 * layers + 1) * h}.get(method, 0)
    return Parameters(backbone, head, added, tuned)


def _added(shape: Shape, method: str, params: Mapping[str, Any], num_labels: int) -> int:
    h, layers = shape.hidden_size, shape.num_hidden_layers
    if method in ADDING_NOTHING:
        return 0
    if method in BOTTLENECKS:
        width = bottleneck_width(shape, params)
        return layers * BOTTLENECKS[method] * (2 * h * width + h + width)
    if method == "mam":
        length, inner = int(params["prefix_length"]), int(params["bottleneck_size"])
        prefix = length * h + (h + 1) * inner + (inner + 1) * layers * 2 * h
        return prefix + _added(shape, "parallel", params, num_labels)
    if method == "compacter":
        # Each of two linear modules has a factor for inputs, one for outputs, and a bias. All modules share one rule.
        width = bottleneck_width(shape, params)
        return layers * 2 * 3 * (h + width) + int(params["phm_dim"]) ** 3
    if method == "ia3":
        return layers * (2 * h + shape.intermediate_size)
    if method == "prefix":
        return layers * 2 * h * int(params["length"])
    tuned = lora_targets(shape, method, params, num_labels)
    rank, magnitude = params["r"], method == "dora"
    return sum(
        rank + out if method == "vera" else rank * (wide + out) + magnitude * out
        for name, wide, out in shape.targets(num_labels)
        if name in tuned
    )


def bottleneck_width(shape: Shape, params: Mapping[str, Any]) -> int:
    """Return the width of an adapter's bottleneck."""
    return int(shape.hidden_size // params["reduction_factor"])


def lora_targets(shape: Shape, method: str, params: Mapping[str, Any], num_labels: int) -> frozenset[str]:
    """Return the full names of the linear modules that LoRA, or a method like it, changes.

    A target names all linear modules whose name ends with it, as in ``peft``. The result is empty for the other
    registered methods, which have no targets. Raises NoClosedForm for a target that is no linear module, and for a
    method that is not registered here.
    """
    if method in (*ADDING_NOTHING, "ia3", "prefix", "compacter", "mam", *BOTTLENECKS):
        return frozenset()
    if method not in TARGETED:
        raise NoClosedForm(f"method {method!r}")
    names = [name for name, _, _ in shape.targets(num_labels)]
    found: set[str] = set()
    for own in own_targets(FAMILIES[shape.model_type], str(params["target_modules"])):
        hit = [name for name in names if name == own or name.endswith(f".{own}")]
        if not hit:
            raise NoClosedForm(f"LoRA on {own!r}")
        found.update(hit)
    return frozenset(found)


def own_targets(family: Family, target_modules: str) -> list[str]:
    """Return the names of ``family`` for the modules in ``target_modules``, which BERT's names stand for."""
    names = family.layer_linears if target_modules == ALL_LINEAR else target_modules.split(",")
    return [family.module(name) for name in names]
