"""Find encoders by short name, hub id or local folder, at a pinned revision, and load them safely.

Importing this module loads no torch, since planning uses it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.errors import UserError, first_line
from tunekit.models import hub
from tunekit.models.catalog import MODELS
from tunekit.models.checks import Checked, check_model, check_vocabulary, longest_by_positions
from tunekit.models.families import FAMILIES
from tunekit.models.hub import content_hash, folder_of_minilm, resolve_revision, snapshot
from tunekit.models.safety import checked_config, refuse_kernels
from tunekit.models.tokenizer import named_class, open_tokenizer
from tunekit.models.weights import stored_tensors, weight_files
from tunekit.schema import slug

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from tunekit.data.base import TextDataset


PLAIN_ATTENTION = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
"""The settings of a config.json under which the engine's attention equals the library's."""


@dataclass(frozen=True)
class ModelRef:
    """A model that was found, with all that a worker needs to load it."""

    name: str
    """The model's name in specs: a short name, a hub id as typed, or ``name-hash`` for a local folder."""
    revision: str
    path: str | None = None
    """The local folder, for models given as one."""


def resolve_model(text: str) -> ModelRef:
    """Return the model that ``text`` names. Only a hub id without ``@revision`` (40 hex) may ask the hub.

    Raises UserError for an unknown name, a folder that is not a safe model, or a hub that can't be reached.
    """
    if text in MODELS:
        return ModelRef(text, MODELS[text].revision)
    path = Path(text).expanduser()
    if path.is_dir() or text.startswith((".", "/", "~")):
        if not path.is_dir():
            raise UserError(f"model {text!r}: no such folder")
        config = checked_config(path, text, FAMILIES)
        digest = content_hash(path, text, _marks(path, text, config))
        return ModelRef(f"{slug(path.resolve().name)}-{digest}", digest, str(path.resolve()))
    if hub.is_hub_id(text):
        hub_id, _, revision = text.partition("@")
        return ModelRef(text, revision if hub.is_commit(revision) else resolve_revision(hub_id, revision or "main"))
    return ModelRef(text, MODELS[text].revision)  # raises UserError, for the name is unknown


def _marks(folder: Path, name: str, config: Mapping[str, Any]) -> list[str]:
    """Return marks for a folder that an earlier version of tunekit trained with other tokens or another head.

    They change the model's hash. Without them, stored trials of it would count as done and be pooled with new ones.
    """
    family = FAMILIES[config["model_type"]]
    marks = {
        "tokenizer as named": named_class(folder, name, config) != family.own_tokenizer,
        "head drawn": any(key.startswith(family.drawn) for key in stored_tensors(folder, name)),
    }
    return [mark for mark, applies in marks.items() if applies]


def hub_id_of(ref: ModelRef) -> str | None:
    """Return the model's id on the hub, or None for a model that is bundled or built here."""
    return MODELS[ref.name].hub_id if ref.name in MODELS else ref.name.partition("@")[0]


def _is_seeded(ref: ModelRef) -> bool:
    """Return whether the model is built here. A folder or hub id of a similar name is not."""
    return ref.name in MODELS and MODELS[ref.name].seeded


def folder_of(ref: ModelRef) -> Path:
    """Return the local folder with the model's files, which are fetched from the hub where they are not cached."""
    if ref.path:
        return Path(ref.path)
    if ref.name in MODELS and MODELS[ref.name].bundled:
        return folder_of_minilm(ref.revision)
    return snapshot(hub_id_of(ref) or ref.name, ref.revision, ref.name, FAMILIES)


def checked_model(ref: ModelRef) -> Checked | None:
    """Return the facts on a model whose files are on this machine; None for any other model. Nothing is fetched.

    A model that comes with a package or is built here is not checked. Raises UserError where the files do not fit each
    other.
    """
    hub_id = hub_id_of(ref)
    folder = Path(ref.path) if ref.path else hub_id and hub.cached_folder(hub_id, ref.revision)
    return _checked(ref, folder) if folder else None


@cache
def _checked(ref: ModelRef, folder: Path) -> Checked:
    return check_model(folder, ref.name)


def longest_text(ref: ModelRef) -> int | None:
    """Return the most tokens that the model's texts may have; None where its files are not here. Nothing is fetched."""
    if checked := checked_model(ref):
        return checked.max_length
    if ref.name not in MODELS:
        return None
    shape = MODELS[ref.name].shape
    return longest_by_positions({"model_type": shape.model_type, **shape.to_config()}, ref.name)


def config_at_hand(ref: ModelRef) -> dict[str, Any] | None:
    """Return the values of a local or cached model's config.json, or None where it is not here. Nothing is fetched.

    Raises UserError where it is not safe or supported.
    """
    if ref.path:
        return checked_config(Path(ref.path), ref.name, FAMILIES)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id_of(ref) or ref.name, "config.json", revision=ref.revision)
    return checked_config(Path(found).parent, ref.name, FAMILIES) if isinstance(found, str) else None


def model_type_of(ref: ModelRef) -> str | None:
    """Return the model's type, or None where its config.json is not here. Nothing is fetched."""
    if ref.name in MODELS:
        return MODELS[ref.name].shape.model_type
    config = config_at_hand(ref)
    return None if config is None else str(config["model_type"])


def load_tokenizer(ref: ModelRef, data: TextDataset) -> PreTrainedTokenizerFast:
    """Return the model's fast tokenizer; a seeded model's is trained on the training texts of ``data``.

    Raises UserError where it can't be had or is not safe to load.
    """
    if _is_seeded(ref):
        from tunekit.models.tiny import train_tokenizer

        return train_tokenizer(ref.name, data)
    folder = folder_of(ref)
    config = checked_config(folder, ref.name, FAMILIES)
    tokenizer = open_tokenizer(folder, ref.name, config)
    # Not every tokenizer says how long its model's texts may be.
    tokenizer.model_max_length = min(tokenizer.model_max_length, longest_by_positions(config, ref.name))
    if tokenizer.model_max_length <= tokenizer.num_special_tokens_to_add(pair=False):
        raise UserError(f"model {ref.name!r}: a text has no room in its {tokenizer.model_max_length} positions")
    return tokenizer


@cache
def quiet_libraries() -> None:
    """Silence expected messages of transformers, once a process: that heads are new, and progress bars of loading."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_encoder(
    ref: ModelRef,
    *,
    num_labels: int,
    seed: int,
    tokenizer: PreTrainedTokenizerFast,
    head_class: str = "ForSequenceClassification",
    keep_head: bool = False,
) -> PreTrainedModel:
    """Return a model in fp32 from safetensors, in evaluation mode. Weights that the file lacks are drawn from ``seed``.

    The head is drawn too, whether the file holds one or not, unless ``keep_head``, which is for models that were
    trained here. ``head_class`` is the end of the name of the model's class in transformers, which a task has. The
    attribute ``tunekit_never_pretrained`` of the model names the parameters that were never pretrained: those that were
    drawn here, and MiniLM's pooler, which its file holds untrained. Raises UserError where the model can't be had or is
    not safe to load, and where a token of ``tokenizer`` has no embedding.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from tunekit.seeding import seeded

    refuse_kernels()
    quiet_libraries()
    if _is_seeded(ref):
        from tunekit.models.tiny import build_tiny

        return build_tiny(ref.name, num_labels=num_labels, seed=seed, tokenizer=tokenizer, head_class=head_class)
    folder = folder_of(ref)
    values = checked_config(folder, ref.name, FAMILIES)
    kind = FAMILIES[values["model_type"]]
    for key, plain in PLAIN_ATTENTION.items():
        if values.get(key, plain) != plain:
            raise UserError(
                f"model {ref.name!r}: its config.json says {key} {values[key]!r}; only {plain!r} is trained here"
            )
    values = {key: value for key, value in values.items() if key not in ("num_labels", "id2label", "label2id")}
    config = kind.config_class().from_dict(values, num_labels=num_labels, attn_implementation=kind.attention)
    try:
        tensors = {key: one for file in weight_files(folder, ref.name) for key, one in load_file(file).items()}
        kept = {key: one for key, one in tensors.items() if keep_head or not key.startswith(kind.drawn)}
        with seeded(seed):
            model: Any
            info: Any
            model, info = kind.model_class(head_class).from_pretrained(
                None,
                config=config,
                state_dict=kept,
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
    check_vocabulary(tokenizer.get_vocab(), model.get_input_embeddings().num_embeddings, ref.name)
    model.config.name_or_path = ""  # else the text "None", since the library was given no folder
    if ref.name in MODELS:
        untrained = MODELS[ref.name].untrained
        new |= {name for name, _ in model.named_parameters() if name.startswith(untrained)}
    model.tunekit_never_pretrained = frozenset(new)
    encoder: PreTrainedModel = model.eval()
    return encoder
