"""Encoders by short name, hub id or local folder: found at a pinned revision, loaded safely.

Importing this module brings no torch: planning reads the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tunekit.errors import UserError, first_line
from tunekit.models import hub
from tunekit.models.hub import content_hash, folder_of_minilm, resolve_revision, snapshot
from tunekit.models.safety import check_tokenizer_config, checked_config, refuse_kernels
from tunekit.models.shapes import SHAPES, Shape
from tunekit.registry import Registry
from tunekit.schema import slug

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

    from tunekit.data.base import TextDataset


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A registered encoder: what planning needs without loading it."""

    display_name: str
    revision: str
    """Pinned commit, sha256 of bundled weights, or the version of a seeded backbone; part of the fingerprint."""
    shape: Shape
    hub_id: str | None = None
    """None for bundled and seeded models."""


MODELS: Registry[ModelInfo] = Registry("model")

MODELS.register("bert")(
    ModelInfo(
        display_name="BERT",
        hub_id="google-bert/bert-base-uncased",
        revision="86b5e0934494bd15c9632b12f734a8a67f723594",
        shape=SHAPES["bert"],
    )
)
MODELS.register("roberta")(
    ModelInfo(
        display_name="RoBERTa",
        hub_id="FacebookAI/roberta-base",
        revision="e2da8e2f811d1448a5b465c236feacd80ffbac7b",
        shape=SHAPES["roberta"],
    )
)
MODELS.register("scibert")(
    ModelInfo(
        display_name="SciBERT",
        hub_id="allenai/scibert_scivocab_uncased",
        # The conversion commit that adds model.safetensors; main has a pickle only.
        revision="952d056ace307abd2cda7cee822a1d608deb20ed",
        shape=SHAPES["scibert"],
    )
)
MODELS.register("minilm")(
    ModelInfo(
        display_name="MiniLM",
        revision="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        shape=SHAPES["minilm"],
    )
)
MODELS.register("distilbert")(
    ModelInfo(
        display_name="DistilBERT",
        hub_id="distilbert/distilbert-base-uncased",
        revision="12040accade4e8a0f71eabdb258fecc2e7e948be",
        shape=SHAPES["distilbert"],
    )
)
MODELS.register("deberta-v3")(
    ModelInfo(
        display_name="DeBERTa-v3",
        hub_id="microsoft/deberta-v3-base",
        # The conversion commit that adds model.safetensors; main has a pickle only.
        revision="de19fe7db5162df5f3d8f0b41321c0267288fd74",
        shape=SHAPES["deberta-v3"],
    )
)
SEEDED = {
    "tiny-bert": "Tiny BERT",
    "tiny-roberta": "Tiny RoBERTa",
    "tiny-electra": "Tiny ELECTRA",
    "tiny-distilbert": "Tiny DistilBERT",
    "tiny-deberta": "Tiny DeBERTa",
}
"""Built here, not loaded; a folder or hub id whose name begins alike is not one of them."""
for _name, _shown in SEEDED.items():
    MODELS.register(_name)(ModelInfo(display_name=_shown, revision="seeded-1", shape=SHAPES[_name]))


@dataclass(frozen=True, kw_only=True)
class ModelType:
    """What training needs to know of a supported ``model_type``."""

    library: str
    """What the names of its classes in transformers begin with."""
    backbone: str
    """Attribute of the encoder in the sequence-classification model."""
    head: tuple[str, ...]
    """Prefixes of the parameters after the last encoder layer: trained by every method."""
    encoder: str = "encoder"
    """Attribute of the backbone that holds the layers."""
    attention: str = "sdpa"
    """The library's own kind of attention."""
    padded: str | None = None
    """Why its batches are padded, which then can't be packs; None where it trains without padding."""

    def classes(self) -> tuple[type[PretrainedConfig], type[PreTrainedModel], type[PreTrainedTokenizerFast]]:
        """Its config, sequence-classification model and fast tokenizer. Imports transformers."""
        import transformers

        suffixes = ("Config", "ForSequenceClassification", "TokenizerFast")
        config, model, tokenizer = (getattr(transformers, self.library + suffix) for suffix in suffixes)
        return config, model, tokenizer


MODEL_TYPES: Mapping[str, ModelType] = MappingProxyType(
    {
        "bert": ModelType(library="Bert", backbone="bert", head=("bert.pooler.", "classifier.")),
        "roberta": ModelType(library="Roberta", backbone="roberta", head=("classifier.",)),
        "electra": ModelType(library="Electra", backbone="electra", head=("classifier.",), attention="eager"),
        "distilbert": ModelType(
            library="DistilBert",
            backbone="distilbert",
            head=("pre_classifier.", "classifier."),
            encoder="transformer",
            padded="its embeddings take no positions",
        ),
        "deberta-v2": ModelType(
            library="DebertaV2",
            backbone="deberta",
            head=("pooler.", "classifier."),
            attention="eager",
            padded="its attention is by relative positions",
        ),
    }
)


PLAIN_ATTENTION = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
"""What the engine's attention is equal to the library's for."""


@dataclass(frozen=True)
class ModelRef:
    """A resolved model: all that a worker needs to load it."""

    name: str
    """What specs hold: a short name, a hub id as typed, or ``name-hash`` of a local folder."""
    revision: str
    path: str | None = None
    """The local folder, for models given as one."""


def resolve_model(text: str) -> ModelRef:
    """What ``text`` names. Only a hub id without ``@revision`` (40 hex) may ask the hub.

    Raises UserError for an unknown name, a folder that is not a safe model, or a hub that can't be reached.
    """
    if text in MODELS:
        return ModelRef(text, MODELS[text].revision)
    path = Path(text).expanduser()
    if path.is_dir() or text.startswith((".", "/", "~")):
        checked_config(path, text, MODEL_TYPES)
        digest = content_hash(path, text)
        return ModelRef(f"{slug(path.resolve().name)}-{digest}", digest, str(path.resolve()))
    if hub.is_hub_id(text):
        hub_id, _, revision = text.partition("@")
        return ModelRef(text, revision if hub.is_commit(revision) else resolve_revision(hub_id, revision or "main"))
    MODELS[text]
    raise AssertionError("unreachable: the registry raises for unknown names")


def hub_id_of(ref: ModelRef) -> str | None:
    """The model's id on the hub; None of one that is bundled or built here."""
    return MODELS[ref.name].hub_id if ref.name in MODELS else ref.name.partition("@")[0]


def _folder(ref: ModelRef) -> Path:
    """The local folder with the model's files; fetches them from the hub where they are not cached."""
    if ref.path:
        return Path(ref.path)
    if ref.name == "minilm":
        return folder_of_minilm(ref.revision)
    return snapshot(hub_id_of(ref) or ref.name, ref.revision, ref.name, MODEL_TYPES)


def config_at_hand(ref: ModelRef) -> dict[str, Any] | None:
    """The values of a local or cached model's config.json, nothing fetched; None where it is not here yet.

    Raises UserError where it is not safe or supported.
    """
    if ref.path:
        return checked_config(Path(ref.path), ref.name, MODEL_TYPES)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id_of(ref) or ref.name, "config.json", revision=ref.revision)
    return checked_config(Path(found).parent, ref.name, MODEL_TYPES) if isinstance(found, str) else None


def model_type_of(ref: ModelRef) -> str | None:
    """The model's type, nothing fetched; None where its config.json is not here yet."""
    if ref.name in MODELS:
        return MODELS[ref.name].shape.model_type
    config = config_at_hand(ref)
    return config and str(config["model_type"])


def load_tokenizer(ref: ModelRef, data: TextDataset) -> PreTrainedTokenizerFast:
    """The model's fast tokenizer; ``tiny-*`` train theirs on the training texts of ``data``. Raises UserError."""
    if ref.name in SEEDED:
        from tunekit.models.tiny import train_tokenizer

        return train_tokenizer(ref.name, data)
    folder = _folder(ref)
    config = checked_config(folder, ref.name, MODEL_TYPES)
    check_tokenizer_config(folder, ref.name)
    kind = MODEL_TYPES[config["model_type"]].classes()[2]
    if (folder / hub.SENTENCEPIECE).is_file() and not (
        (folder / hub.TOKENIZER).is_file() or find_spec("sentencepiece")
    ):
        raise UserError(f"model {ref.name!r}: its tokenizer is {hub.SENTENCEPIECE}; pip install sentencepiece")
    # A repository with vocab.txt alone does not say that its vocabulary is lower-cased.
    options = {"do_lower_case": True} if ref.name == "scibert" else {}
    try:
        tokenizer = kind.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"model {ref.name!r}: its tokenizer can't be read ({first_line(error)})") from error
    # RoBERTa's positions begin after its padding id; not every tokenizer says how long its model's texts may be.
    positions = config.get("max_position_embeddings") or 512
    offset = (config.get("pad_token_id") or 1) + 1 if config["model_type"] == "roberta" else 0
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions - offset)
    return tokenizer


def load_encoder(ref: ModelRef, *, num_labels: int, seed: int, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A sequence-classification model in fp32 from safetensors; what the file lacks is drawn from ``seed``.

    Its ``tunekit_never_pretrained`` names the parameters that no pretraining has seen: those drawn here, and MiniLM's
    pooler, which its file holds untrained. Raises UserError where the model can't be had or is not safe to load.
    """
    from safetensors import SafetensorError

    from tunekit.seeding import seeded

    refuse_kernels()
    if ref.name in SEEDED:
        from tunekit.models.tiny import build_tiny

        return build_tiny(ref.name, num_labels=num_labels, seed=seed, tokenizer=tokenizer)
    folder = _folder(ref)
    values = checked_config(folder, ref.name, MODEL_TYPES)
    kind = MODEL_TYPES[values["model_type"]]
    config_kind, model_kind, _ = kind.classes()
    for key, plain in PLAIN_ATTENTION.items():
        if values.get(key, plain) != plain:
            raise UserError(
                f"model {ref.name!r}: its config.json says {key} {values[key]!r}; only {plain!r} is trained here"
            )
    values = {key: value for key, value in values.items() if key not in ("num_labels", "id2label", "label2id")}
    config = config_kind.from_dict(values, num_labels=num_labels, attn_implementation=kind.attention)
    try:
        with seeded(seed):
            model, info = model_kind.from_pretrained(
                folder,
                config=config,
                use_safetensors=True,
                local_files_only=True,
                dtype="float32",
                attn_implementation=kind.attention,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"model {ref.name!r}: its weights can't be loaded ({first_line(error)})") from error
    # transformers 5 gives the shapes beside the names of what does not fit.
    mismatched = (key if isinstance(key, str) else key[0] for key in info["mismatched_keys"])
    new = {*info["missing_keys"], *mismatched}
    strange = sorted(name for name in new if not name.startswith(kind.head))
    if strange:
        raise UserError(f"model {ref.name!r}: its weights lack {strange[0]} and {len(strange) - 1} more of the encoder")
    if ref.name == "minilm":
        new |= {name for name, _ in model.named_parameters() if name.startswith("bert.pooler.")}
    model.tunekit_never_pretrained = frozenset(new)
    return model.eval()
