"""Model families: the facts that training needs on each supported ``model_type``, one entry a type.

A family holds the names of the library's classes, of the layers and the head, and of the parts of a layer that BERT has
too. Importing this module brings no torch and no transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

LAYER_LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
"""The linear modules of an encoder layer, by BERT's names."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One ``model_type`` of transformers."""

    library: str
    """The prefix of the names of its classes in transformers, such as ``Bert`` in ``BertConfig``."""
    backbone: str
    """The attribute of the sequence-classification model that holds the encoder."""
    layer_list: str = "encoder.layer"
    """Name of the list of encoder layers in the backbone."""
    head: tuple[str, ...]
    """Prefixes of the names of all parameters after the last encoder layer; every method trains them."""
    head_linears: tuple[str, str]
    """Names of the two linear modules of the head for sequences, in the order of the forward pass."""
    token_head_linears: tuple[str, ...] = ("classifier",)
    """Names of the linear modules of the head for tokens."""
    pretrained_head: tuple[str, ...] = ()
    """Those prefixes in ``head`` whose parameters pretraining has trained, as it has BERT's pooler."""
    forward: str = "bert"
    """The module of ``tunekit.engine.forward`` that has its forward pass without padding: ``bert`` or ``modernbert``.
    It is not used where ``padded`` is given."""
    kernels: bool = True
    """Whether the kernels of ``tunekit.engine.kernels`` can run that forward pass."""
    attention: str = "sdpa"
    """The attention implementation that the library's own forward pass uses."""
    padded: str | None = None
    """The reason why its batches are padded and its trials can't train in packs; None where no padding is needed."""
    position_offset: bool = False
    """Whether the first position of a text is the padding token's id + 1, as RoBERTa's is, and not 0."""
    bottlenecks: str | None = None
    """The layout of its layers, by which adapters are put in: ``bert``, with an output module after attention and one
    after the feed-forward part, ``distilbert`` or ``modernbert``. It is None where adapters are not supported."""
    token_types: bool = True
    """Whether its forward pass takes token types."""
    rotary: bool = False
    """Whether positions rotate queries and keys (Su et al., 2021), and have no embeddings."""
    gated: bool = False
    """Whether the module ``intermediate.dense`` computes gates beside the inner activations (Shazeer, 2020)."""
    tokenizer: str | None = None
    """The class of its tokenizers where a model's files name none, without ``Fast``. None means ``library`` followed by
    ``Tokenizer``."""
    layer_linears: tuple[str, ...] = LAYER_LINEARS
    """The linear modules of a layer, by BERT's names, where it has them."""
    row_blocks: tuple[str, ...] = ()
    """The row blocks of its fused module ``attention.self.qkv`` that LoRA can change alone, by BERT's names."""
    biases: tuple[str, ...] = ()
    """Keys of its config.json that say whether modules of the encoder have biases; empty where all have them."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """The reason why a method can't work on it, by method."""
    own_names: Mapping[str, str] = field(default_factory=dict)
    """Its names of a layer's linear modules by BERT's names, where the two differ."""
    config_keys: Mapping[str, str] = field(default_factory=dict)
    """Keys of its config.json by the fields of ``Shape``, where the two differ."""
    needed: Mapping[str, Any] = field(default_factory=dict)
    """Settings that its config.json must hold for the closed forms of parameters and memory to be right."""
    usual: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of its pretrained models, which change no count of parameters."""

    @property
    def own_tokenizer(self) -> str:
        """The class of its tokenizers where a model's files name none, without ``Fast``."""
        return self.tokenizer or f"{self.library}Tokenizer"

    @property
    def drawn(self) -> tuple[str, ...]:
        """Prefixes of the head's parameters that are drawn from a trial's seed, whatever a checkpoint holds."""
        return tuple(prefix for prefix in self.head if prefix not in self.pretrained_head)

    @property
    def on_device(self) -> bool:
        """Whether a GPU runs it by the kernels of ``tunekit.engine.kernels``. Otherwise the host makes its batches."""
        return self.padded is None and self.kernels

    @property
    def layers(self) -> str:
        """Name of the list of encoder layers in the sequence-classification model."""
        return f"{self.backbone}.{self.layer_list}"

    def module(self, name: str) -> str:
        """Return its name for BERT's ``name``, which is a whole name in a layer or the last part of one."""
        return self.own_names.get(name, name)

    def needs_split(self, targets: Sequence[str]) -> bool:
        """Return whether LoRA on ``targets``, by BERT's names or the family's, needs row blocks as own modules.

        Raises ValueError where ``targets`` name a fused module as well.
        """
        own = [self.module(target) for target in targets]
        blocks, fused = self.row_blocks, [name for name in self.layer_linears if name not in LAYER_LINEARS]
        block = next((one for one in own if any(_end_alike(one, self.module(name)) for name in blocks)), None)
        whole = next((one for one in own if any(_end_alike(one, self.module(name)) for name in fused)), None)
        if block and whole:
            raise ValueError(f"target_modules names {whole!r} and its rows {block!r}; name one of them")
        return block is not None

    def refusal(self, method: str, config: Mapping[str, Any]) -> str | None:
        """Return why ``method`` can't work on a model with the values ``config`` of config.json; None where it can."""
        if method == "bitfit" and self.biases and not any(config.get(key) for key in self.biases):
            return f"its encoder has no biases ({', '.join(self.biases)} are false in its config.json)"
        return self.refused.get(method)

    def config_class(self) -> type[PretrainedConfig]:
        """Return the class of its config. Imports transformers."""
        kind: type[PretrainedConfig] = self._class("Config")
        return kind

    def model_class(self, head_class: str) -> type[PreTrainedModel]:
        """Return the class of its models whose name ends in ``head_class``, which a task has (``tunekit.tasks``)."""
        kind: type[PreTrainedModel] = self._class(head_class)
        return kind

    def _class(self, suffix: str) -> Any:
        import transformers

        return getattr(transformers, self.library + suffix)


def _end_alike(one: str, other: str) -> bool:
    """Return whether one of two names of modules is the end of the other, part by part."""
    return f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}")


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "bert": Family(
            library="Bert",
            backbone="bert",
            head=("bert.pooler.", "classifier."),
            head_linears=("bert.pooler.dense", "classifier"),
            pretrained_head=("bert.pooler.",),
            bottlenecks="bert",
        ),
        "roberta": Family(
            library="Roberta",
            backbone="roberta",
            head=("classifier.",),
            head_linears=("classifier.dense", "classifier.out_proj"),
            bottlenecks="bert",
            position_offset=True,
        ),
        "electra": Family(
            library="Electra",
            backbone="electra",
            head=("classifier.",),
            head_linears=("classifier.dense", "classifier.out_proj"),
            bottlenecks="bert",
            attention="eager",
        ),
        "distilbert": Family(
            library="DistilBert",
            backbone="distilbert",
            layer_list="transformer.layer",
            head=("pre_classifier.", "classifier."),
            head_linears=("pre_classifier", "classifier"),
            bottlenecks="distilbert",
            padded="its embeddings take no positions",
            token_types=False,
            own_names={
                "query": "q_lin", "key": "k_lin", "value": "v_lin",
                "attention.self.query": "attention.q_lin", "attention.self.key": "attention.k_lin",
                "attention.self.value": "attention.v_lin", "attention.output.dense": "attention.out_lin",
                "intermediate.dense": "ffn.lin1", "output.dense": "ffn.lin2",
            },
            config_keys={
                "hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
                "intermediate_size": "hidden_dim", "hidden_dropout_prob": "dropout",
                "attention_probs_dropout_prob": "attention_dropout", "classifier_dropout": "seq_classif_dropout",
            },
        ),
        "deberta-v2": Family(
            library="DebertaV2",
            backbone="deberta",
            head=("pooler.", "classifier."),
            head_linears=("pooler.dense", "classifier"),
            bottlenecks="bert",
            attention="eager",
            padded="its attention is by relative positions",
            own_names={
                "query": "query_proj", "key": "key_proj", "value": "value_proj",
                "attention.self.query": "attention.self.query_proj", "attention.self.key": "attention.self.key_proj",
                "attention.self.value": "attention.self.value_proj",
            },
            config_keys={"relative_positions": "position_buckets", "classifier_dropout": "cls_dropout"},
            needed={
                "position_biased_input": False, "relative_attention": True, "share_att_key": True,
                "norm_rel_ebd": "layer_norm",
            },
            usual={"pos_att_type": ["p2c", "c2p"]},
        ),
        "modernbert": Family(
            library="ModernBert",
            backbone="model",
            layer_list="layers",
            head=("head.", "classifier."),
            head_linears=("head.dense", "classifier"),
            token_head_linears=("head.dense", "classifier"),
            pretrained_head=("head.",),
            forward="modernbert",
            kernels=False,
            bottlenecks="modernbert",
            token_types=False,
            rotary=True,
            gated=True,
            tokenizer="PreTrainedTokenizer",
            layer_linears=("attention.self.qkv", "attention.output.dense", "intermediate.dense", "output.dense"),
            row_blocks=("attention.self.query", "attention.self.key", "attention.self.value"),
            own_names={
                "word_embeddings": "tok_embeddings",
                "attention.self.qkv": "attn.Wqkv", "attention.self.query": "attn.Wqkv.query",
                "attention.self.key": "attn.Wqkv.key", "attention.self.value": "attn.Wqkv.value",
                "attention.output.dense": "attn.Wo", "intermediate.dense": "mlp.Wi", "output.dense": "mlp.Wo",
            },
            config_keys={
                "hidden_dropout_prob": "mlp_dropout", "attention_probs_dropout_prob": "attention_dropout",
                "pooling": "classifier_pooling",
            },
            needed={
                "hidden_activation": "gelu", "norm_bias": False, "attention_bias": False, "mlp_bias": False,
                "classifier_bias": False,
            },
            biases=("norm_bias", "attention_bias", "mlp_bias"),
            refused={
                "ia3": "its keys and values are rows of one module, and (IA)³ scales modules",
                "prefix": "its keys and values are rows of one module, and a prefix needs modules of their own",
                "mam": "its keys and values are rows of one module, and a prefix needs modules of their own",
                "vera": "its update of rows of a fused module has no form that peft knows",
                "compacter": "adapters 1.3.0 gives its fused modules random biases",
            },
        ),
    }
)  # fmt: skip
"""The supported families by ``model_type``."""
