"""An exported model, loaded from its folder by tunekit's own safe loader, and its predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tunekit.data.base import DEFAULT_TASK
from tunekit.engine.build import adapt
from tunekit.errors import UserError, first_line
from tunekit.export.formats import ADAPTERS, PEFT, WHOLE, kind_of, read
from tunekit.memory.trial import EVAL_TOKENS
from tunekit.models.catalog import MODELS
from tunekit.models.hub import is_commit, is_hub_id
from tunekit.models.loading import ModelRef, load_encoder, load_tokenizer
from tunekit.models.tokenizer import tokenise_words_alone
from tunekit.parsing import is_finite, strict_json
from tunekit.schema import TrialSpec
from tunekit.tasks import TASKS

MANIFEST = "tunekit.json"
"""The file that says how an exported model is loaded."""
BASE = "base"
"""The folder of the pretrained model in an export, where the hub does not have that model."""
FORMAT_VERSION = 1
"""The version of the manifest."""
MAX_BYTES = 1_000_000
"""The largest size of a manifest."""


@dataclass(frozen=True)
class Manifest:
    """The content of tunekit.json: the facts on an exported model that the libraries' own files do not hold."""

    kind: str
    """The format: whole, peft or adapters."""
    spec: TrialSpec
    """The spec of the trial."""
    revision: str
    """The revision of the pretrained model."""
    has_base: bool
    """Whether the pretrained model is in the folder."""
    label_names: tuple[str, ...]
    """The names of the head's outputs, by index."""
    pairs: bool
    """Whether an input is a pair of texts."""
    pair_as: str
    """How the texts of a pair are joined: ``sep_token`` or ``pair``, as in ``DatasetInfo``."""
    epoch: int
    """The epoch after which the weights were kept, from 1."""
    task: str = DEFAULT_TASK
    """The name of the task that the model was trained on."""
    constants: Mapping[str, float] = field(default_factory=dict)
    """The constants of the trial after that epoch, which turn its logits into outputs and predictions."""

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON values. Classification, which has no constants, is not named."""
        left_out = ("spec", "task", "constants") if self.task == DEFAULT_TASK else ("spec",)
        return {
            "format_version": FORMAT_VERSION,
            **{name: getattr(self, name) for name in vars(self) if name not in left_out},
            "label_names": list(self.label_names),
            "spec": self.spec.to_dict(),
        }


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an exported model. Raises UserError where there is none, or it is not one of an export."""
    path = folder / MANIFEST
    try:
        if path.is_symlink() or path.stat().st_size > MAX_BYTES:
            raise ValueError("it is a link, or too large")
        content = strict_json(path.read_text(encoding="utf-8"))
        return _manifest(content)
    except FileNotFoundError as error:
        raise UserError(f"{folder} holds no exported model (no {MANIFEST}); tunekit export writes one") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not what an export writes ({first_line(error)})") from error


def _manifest(content: Mapping[str, Any]) -> Manifest:
    """Return the manifest in a JSON object. Raises ValueError, KeyError or TypeError where it is none."""
    content = {"task": DEFAULT_TASK, "constants": {}, **content}
    names, revision, constants = content["label_names"], content["revision"], content["constants"]
    least = 2 if content["task"] == DEFAULT_TASK else 1
    checks = {
        "format_version": content["format_version"] == FORMAT_VERSION,
        "kind": content["kind"] in (WHOLE, PEFT, ADAPTERS),
        "label_names": isinstance(names, list) and len(names) >= least and all(isinstance(one, str) for one in names),
        "revision": isinstance(revision, str),
        "has_base": isinstance(content["has_base"], bool),
        "pairs": isinstance(content["pairs"], bool),
        "pair_as": content["pair_as"] in ("sep_token", "pair"),
        "epoch": isinstance(content["epoch"], int),
        "task": isinstance(content["task"], str),
        "constants": isinstance(constants, dict) and all(is_finite(value) for value in constants.values()),
    }
    for name, sound in checks.items():
        if not sound:
            raise ValueError(f"{name} {str(content[name])[:60]!r}")
    rest = {name: content[name] for name in checks if name not in ("format_version", "label_names")}
    return Manifest(spec=TrialSpec.from_dict(content["spec"]), label_names=tuple(names), **rest)


@dataclass(frozen=True)
class Exported:
    """An exported model that was loaded."""

    manifest: Manifest
    """How it was exported."""
    tokenizer: PreTrainedTokenizerFast
    """Its tokenizer."""
    model: PreTrainedModel
    """The model, in evaluation mode."""

    def outputs(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Any:
        """Return the outputs (N, C) of N texts in the terms of the task: classes' logits, or a target in its unit.

        Where words have labels they are N arrays (words, C).
        """
        return TASKS[self.manifest.task].outputs(self.logits(texts, pairs), self.manifest.constants)

    @torch.inference_mode()
    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Any:
        """Return the logits (N, C) of N texts as float32. Inputs are joined and truncated as in training.

        Where words have labels they are N arrays (words, C), and a space separates the words of a text.
        """
        of_words = TASKS[self.manifest.task].of_words
        joined: list[Any] = [text.split(" ") for text in texts] if of_words else list(texts)
        seconds = None if pairs is None else list(pairs)
        if seconds is not None and self.manifest.pair_as == "sep_token":
            joined = [f"{text}{self.tokenizer.sep_token}{pair}" for text, pair in zip(joined, seconds, strict=True)]
            seconds = None
        limit = min(self.manifest.spec.max_length, self.tokenizer.model_max_length)
        encoded = self.tokenizer(joined, seconds, truncation=True, max_length=limit, is_split_into_words=of_words)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        order = np.argsort(-lengths, kind="stable")  # texts of similar length share a batch, which needs little padding
        result: list[Any] = [None] * len(order)
        start = 0
        while start < len(order):
            rows = order[start : start + max(1, EVAL_TOKENS // int(lengths[order[start]]))]
            part = {key: [encoded[key][row] for row in rows] for key in encoded}
            batch = self.tokenizer.pad(part, return_tensors="pt").to(self.model.device)
            found = self.model(**batch).logits.float().cpu().numpy()  # (rows, C), or (rows, tokens, C)
            for row, own in zip(rows.tolist(), found, strict=True):
                result[row] = _of_words(own, encoded.word_ids(row), len(joined[row])) if of_words else own
            start += len(rows)
        return result if of_words else np.stack(result)


def _of_words(logits: np.ndarray, words: Sequence[int | None], count: int) -> np.ndarray:
    """Return the logits (words, C) of a text's words: those of the first token of each, and zeros without a token.

    ``logits`` are (tokens, C), and ``words`` says which of the ``count`` words each of the tokens belongs to.
    """
    found = np.zeros((count, logits.shape[1]), np.float32)
    for place, word in reversed(list(enumerate(words))):
        if word is not None:
            found[word] = logits[place]
    return found


def load_exported(folder: Path) -> Exported:
    """Return the model in ``folder``, on the GPU where there is one.

    Raises UserError where a file is missing, unsafe, or not what ``tunekit export`` has written.
    """
    manifest = read_manifest(folder)
    ref = _reference(manifest, folder)
    task = TASKS[manifest.task]
    tokenizer = load_tokenizer(ref, None)  # type: ignore[arg-type]  # data is for the seeded tiny models only
    if task.of_words:
        tokenise_words_alone(tokenizer)
        tokenizer.padding_side = "right"  # so that a token's place is that of its logits
    model = load_encoder(
        ref,
        num_labels=len(manifest.label_names),
        seed=0,
        tokenizer=tokenizer,
        head_class=task.head_class,
        keep_head=manifest.kind == WHOLE,
    )
    if manifest.kind == WHOLE:
        missing: frozenset[str] = cast(Any, model).tunekit_never_pretrained
        if missing:
            raise UserError(f"{folder}: its weights lack {min(missing)}")
    else:
        adapt(model, manifest.spec)
        if kind_of(model) != manifest.kind:
            raise UserError(f"{folder}: method {manifest.spec.method!r} is not one of {manifest.kind}")
        read(model, folder)
    cast(Any, model).to("cuda" if torch.cuda.is_available() else "cpu")
    return Exported(manifest, tokenizer, cast(Any, model).eval())


def _reference(manifest: Manifest, folder: Path) -> ModelRef:
    """Return the model that the weights in ``folder`` belong to: one in the folder, or one of the hub at a commit."""
    if manifest.kind == WHOLE or manifest.has_base:
        inside = folder if manifest.kind == WHOLE else folder / BASE
        return ModelRef("exported", manifest.revision, str(inside.resolve()))
    return at_commit(manifest.spec.model, manifest.revision)


def at_commit(name: str, revision: str) -> ModelRef:
    """Return a model of the hub, registered or given by its id, at the commit ``revision``.

    Raises UserError where it is no model of the hub, or ``revision`` is no commit.
    """
    registered = name in MODELS and MODELS[name].hub_id is not None
    if not (registered or is_hub_id(name)) or not is_commit(revision):
        raise UserError(f"the pretrained model {name!r} is not one of the hub at a commit")
    return ModelRef(name, revision)
