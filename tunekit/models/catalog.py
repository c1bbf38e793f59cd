"""The registered encoders, one entry a model: where its weights come from, at which revision, and its shape.

Planning reads this registry and fetches nothing; importing this module brings no torch and no transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunekit.models.shapes import Shape
from tunekit.registry import Registry

BASE: Mapping[str, Any] = {
    "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072,
}  # fmt: skip
"""Sizes of BERT-base, as keyword arguments of ``Shape``."""
TINY: Mapping[str, Any] = {
    "vocab_size": 2_000, "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64,
}  # fmt: skip
"""Sizes of the models that are built here for tests."""
BERT: Mapping[str, Any] = {"model_type": "bert", "max_position_embeddings": 512, "type_vocab_size": 2}
ROBERTA: Mapping[str, Any] = {"model_type": "roberta", "max_position_embeddings": 514, "type_vocab_size": 1}
DISTILBERT: Mapping[str, Any] = {
    "model_type": "distilbert", "max_position_embeddings": 512, "type_vocab_size": 0, "classifier_dropout": 0.2,
}  # fmt: skip
MODERNBERT: Mapping[str, Any] = {
    "model_type": "modernbert", "type_vocab_size": 0, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "classifier_dropout": 0.0,
}  # fmt: skip
DEBERTA: Mapping[str, Any] = {"model_type": "deberta-v2", "max_position_embeddings": 512, "type_vocab_size": 0}


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A registered encoder: the facts that planning needs without loading it."""

    display_name: str
    """The name that tables and figures show."""
    revision: str
    """A commit of the hub, the sha256 of bundled weights, or the version of a seeded backbone; part of the
    fingerprint."""
    shape: Shape
    hub_id: str | None = None
    """Its id on the Hugging Face hub; None for a bundled or seeded model."""
    bundled: bool = False
    """Whether its weights come with an installed Python package."""
    untrained: tuple[str, ...] = ()
    """Prefixes of parameters that its weights hold untrained, as they were drawn. Every method trains them."""

    @property
    def seeded(self) -> bool:
        """Whether the model is built here from a fixed seed, for tests, and not loaded."""
        return self.hub_id is None and not self.bundled


MODELS: Registry[ModelInfo] = Registry("model")

MODELS.register("bert")(
    ModelInfo(
        display_name="BERT",
        hub_id="google-bert/bert-base-uncased",
        revision="86b5e0934494bd15c9632b12f734a8a67f723594",
        shape=Shape(**BERT, **BASE, vocab_size=30_522),
    )
)
MODELS.register("roberta")(
    ModelInfo(
        display_name="RoBERTa",
        hub_id="FacebookAI/roberta-base",
        revision="e2da8e2f811d1448a5b465c236feacd80ffbac7b",
        shape=Shape(**ROBERTA, **BASE, vocab_size=50_265),
    )
)
MODELS.register("scibert")(
    ModelInfo(
        display_name="SciBERT",
        hub_id="allenai/scibert_scivocab_uncased",
        # This commit, a conversion, adds model.safetensors; main has a pickle only.
        revision="952d056ace307abd2cda7cee822a1d608deb20ed",
        shape=Shape(**BERT, **BASE, vocab_size=31_090),
    )
)
MODELS.register("minilm")(
    ModelInfo(
        display_name="MiniLM",
        bundled=True,
        revision="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        shape=Shape(
            **BERT, vocab_size=30_522, num_hidden_layers=6, hidden_size=384, num_attention_heads=12,
            intermediate_size=1536,
        ),
        untrained=("bert.pooler.",),
    )
)  # fmt: skip
MODELS.register("distilbert")(
    ModelInfo(
        display_name="DistilBERT",
        hub_id="distilbert/distilbert-base-uncased",
        revision="12040accade4e8a0f71eabdb258fecc2e7e948be",
        shape=Shape(**DISTILBERT, **{**BASE, "num_hidden_layers": 6}, vocab_size=30_522),
    )
)
MODELS.register("deberta-v3")(
    ModelInfo(
        display_name="DeBERTa-v3",
        hub_id="microsoft/deberta-v3-base",
        # This commit, a conversion, adds model.safetensors; main has a pickle only.
        revision="de19fe7db5162df5f3d8f0b41321c0267288fd74",
        shape=Shape(**DEBERTA, **BASE, vocab_size=128_100, relative_positions=256),
    )
)
MODELS.register("modernbert")(
    ModelInfo(
        display_name="ModernBERT",
        hub_id="answerdotai/ModernBERT-base",
        revision="8949b909ec900327062f0ebf497f51aef5e6f0c8",
        shape=Shape(
            **MODERNBERT, **{**BASE, "num_hidden_layers": 22, "intermediate_size": 1152}, vocab_size=50_368,
            max_position_embeddings=8192, local_attention=128, pooling="mean",
        ),
    )
)  # fmt: skip
MODELS.register("tiny-bert")(ModelInfo(display_name="Tiny BERT", revision="seeded-1", shape=Shape(**BERT, **TINY)))
MODELS.register("tiny-roberta")(
    ModelInfo(display_name="Tiny RoBERTa", revision="seeded-1", shape=Shape(**ROBERTA, **TINY))
)
MODELS.register("tiny-electra")(
    ModelInfo(
        display_name="Tiny ELECTRA", revision="seeded-1", shape=Shape(**{**BERT, "model_type": "electra"}, **TINY)
    )
)
MODELS.register("tiny-distilbert")(
    ModelInfo(display_name="Tiny DistilBERT", revision="seeded-1", shape=Shape(**DISTILBERT, **TINY))
)
MODELS.register("tiny-deberta")(
    ModelInfo(display_name="Tiny DeBERTa", revision="seeded-1", shape=Shape(**DEBERTA, **TINY, relative_positions=8))
)
MODELS.register("tiny-modernbert")(
    ModelInfo(
        display_name="Tiny ModernBERT",
        revision="seeded-1",
        shape=Shape(
            **MODERNBERT,
            **{**TINY, "num_hidden_layers": 4},
            max_position_embeddings=512,
            local_attention=8,
            pooling="cls",
        ),
    )
)
