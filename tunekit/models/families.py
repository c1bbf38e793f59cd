"""Model families: what training needs to know of each supported ``model_type``, one entry a type.

A family says how the library's classes are called, where the layers and the head lie, and what a layer calls the parts
that BERT has too. Importing this module brings no torch and no transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Family:
    """One ``model_type`` of transformers."""

    library: str
    """What the names of its classes in transformers begin with, such as ``Bert`` of ``BertConfig``."""
    backbone: str
    """Attribute of the sequence-classification model that holds the encoder."""
    encoder: str = "encoder"
    """Attribute of the backbone that holds the layers."""
    head: tuple[str, ...]
    """Prefixes of the names of all parameters after the last encoder layer; every method trains them."""
    head_linears: tuple[str, str]
    """Names of the head's two linear modules, in the order of the forward pass."""
    attention: str = "sdpa"
    """The attention implementation that the library's own forward pass uses."""
    padded: str | None = None
    """The reason why its batches are padded and its trials can't be packs; None where it trains without padding."""
    position_offset: bool = False
    """Whether the first position of a text is the padding token's id + 1, as RoBERTa's is, and not 0."""
    bottlenecks: str | None = None
    """Which of the layouts of an encoder layer it has where adapters are put in: ``bert``, with an output module after
    attention and one after the feed-forward part, or ``distilbert``. None where adapters have no place."""
    token_types: bool = True
    """Whether its forward pass takes token types."""
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
        """Name of the class of its tokenizers where a model's files name none, without ``Fast``."""
        return f"{self.library}Tokenizer"

    @property
    def drawn(self) -> tuple[str, ...]:
        """Prefixes of the head's parameters that are drawn from a trial's seed, whatever a checkpoint holds.

        BERT's pooler is none of them: pretraining has trained it.
        """
        return tuple(prefix for prefix in self.head if not prefix.startswith(f"{self.backbone}."))

    @property
    def layers(self) -> str:
        """Name of the list of encoder layers in the sequence-classification model."""
        return f"{self.backbone}.{self.encoder}.layer"

    def module(self, name: str) -> str:
        """Return its name of what BERT calls ``name``: a whole name in a layer, or the last part of one."""
        return self.own_names.get(name, name)

    def config_class(self) -> type[PretrainedConfig]:
        """Return the class of its config. Imports transformers."""
        kind: type[PretrainedConfig] = self._class("Config")
        return kind

    def model_class(self, head_class: str) -> type[PreTrainedModel]:
        """Return the class of its models that ``head_class`` ends the name of, as a task says (``tunekit.tasks``)."""
        kind: type[PreTrainedModel] = self._class(head_class)
        return kind

    def _class(self, suffix: str) -> Any:
        import transformers

        return getattr(transformers, self.library + suffix)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "bert": Family(
            library="Bert",
            backbone="bert",
            head=("bert.pooler.", "classifier."),
            head_linears=("bert.pooler.dense", "classifier"),
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
            encoder="transformer",
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
    }
)  # fmt: skip
"""The supported families by ``model_type``."""
