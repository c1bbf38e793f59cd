"""Build a trial from its spec: its limited, carved and tokenised data, and its model, changed by its method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from pandas import DataFrame
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tunekit.data.base import DATASETS, TextDataset, limit_and_carve
from tunekit.data.copies import load_dataset
from tunekit.data.tokens import tokenise
from tunekit.engine.forward.patching import refuse_foreign_modules
from tunekit.engine.fused_linear import split_fused
from tunekit.engine.member import LabelledSplit
from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.models.families import FAMILIES
from tunekit.models.loading import ModelRef, load_encoder, load_tokenizer, quiet_libraries
from tunekit.models.shapes import own_targets
from tunekit.models.tokenizer import tokenise_words_alone
from tunekit.parsing import how_many
from tunekit.planning.batching import why_padded
from tunekit.schema import Fingerprint, Scalar, TrialSpec, readable
from tunekit.seeding import seeded, stream_seed
from tunekit.storage.paths import Place
from tunekit.tasks import Constants, Task, task_of
from tunekit.tasks.bio import OUTSIDE

FORMS_IN_WORDS = {
    "class": "a class", "number": "a number", "labels": "a 0 or 1 for each of several labels",
    "tags": "a text with a tag for each word",
}  # fmt: skip


@dataclass(frozen=True)
class PreparedData:
    """A dataset as the trials of one model see it."""

    data: TextDataset
    """The rows, limited and carved."""
    tokenizer: PreTrainedTokenizerFast
    """The model's tokenizer."""
    splits: dict[str, LabelledSplit]
    """The tokenised splits by name, labelled with the targets that the loss takes."""
    constants: Constants
    """The constants of the task, from the training data."""

    def cut_line(self, spec: TrialSpec) -> str | None:
        """Return a line for people on how many texts were cut to the spec's length; None where none was."""
        cut = sum(split.tokens.num_truncated for split in self.splits.values())
        unread = sum(split.tokens.words.num_unread for split in self.splits.values() if split.tokens.words)
        if not cut and not unread:
            return None
        share, length = cut / sum(map(len, self.splits.values())), min(spec.max_length, self.tokenizer.model_max_length)
        where = f"{readable(spec.model)} on {readable(spec.dataset)}"
        words = f"; {how_many(unread, 'word')} without a token have the tag {OUTSIDE}" if unread else ""
        return f"{where}: {100 * share:.1f} % of texts cut to {length} tokens{words}"


@lru_cache(maxsize=8)
def _prepared(
    model: ModelRef, name: str, content_hash: str, folder: Place | None, max_length: int, limit: int | None,
    val_fraction: float, data_seed: int,
) -> PreparedData:  # fmt: skip
    data = load_dataset(name, folder)
    if data.content_hash != content_hash:
        raise UserError(
            f"dataset {name!r} has hash {data.content_hash} on this node, {content_hash} where the sweep was planned; "
            "give all nodes the same files"
        )
    data = limit_and_carve(data, train_limit=limit, val_fraction=val_fraction, data_seed=data_seed)
    tokenizer = load_tokenizer(model, data)
    task = task_of(name)
    if task.of_words:
        tokenise_words_alone(tokenizer)
    labels = {split: labels_of(frame, task, data.label_names) for split, frame in data.splits.items()}
    try:
        constants = task.constants(labels["train"])
    except ValueError as error:
        raise UserError(f"dataset {name!r}: {error}") from error
    splits = {
        split: LabelledSplit(tokens, task.targets(labels[split], constants))
        for split, tokens in tokenise(data, tokenizer, max_length, by_word=task.of_words).items()
    }
    return PreparedData(data, tokenizer, splits, constants)


def labels_of(rows: DataFrame, task: Task, label_names: Sequence[str]) -> Any:
    """Return the labels of the rows of a split in the form that ``task`` takes: int64 or float64 (N,), or int64 (N, C).

    For words they are N arrays int64 (words,). Raises UserError where they are not of this form.
    """
    first = rows["label"].iloc[0] if len(rows) else None
    found = "labels" if isinstance(first, tuple) else "tags" if isinstance(first, str) else None
    if first is not None and found != (task.form if task.form in ("labels", "tags") else None):
        raise UserError(
            f"task {task.name!r} takes {FORMS_IN_WORDS[task.form]} as a label, which the dataset does not have"
        )
    if task.form == "tags":
        index = {name: number for number, name in enumerate(label_names)}
        return [np.array([index[tag] for tag in tags.split(" ")], np.int64) for tags in rows["label"]]
    if task.form == "labels":
        return np.array(rows["label"].to_list(), np.int64)
    return rows["label"].to_numpy(np.float64 if task.form == "number" else np.int64, copy=True)


def prepare_splits(spec: TrialSpec, fingerprint: Fingerprint, model: ModelRef, folder: Place) -> PreparedData:
    """Return the spec's data, limited, carved and tokenised. A process prepares the data of equal specs once.

    ``folder`` holds the sweep's copies of users' own data; what is registered is the same for all sweeps. Raises
    UserError where the data differs from the fingerprint's, the task can't be learnt from the labels of train, or the
    tokenizer can't be had.
    """
    return _prepared(
        model,
        spec.dataset,
        fingerprint.data,
        None if spec.dataset in DATASETS else folder,
        spec.max_length,
        spec.train_limit,
        spec.val_fraction,
        spec.data_seed,
    )


def build_model(spec: TrialSpec, model_ref: ModelRef, prepared: PreparedData) -> PreTrainedModel:
    """Return the trial's model, changed by its method, with new weights from its seed.

    Every method trains the head, which is everything after the last encoder layer (``FAMILIES``).
    Raises UserError where the method does not fit the model.
    """
    num_labels = len(prepared.data.label_names)
    seed = stream_seed(spec.seed, "head")
    head_class = task_of(spec.dataset).head_class
    model = load_encoder(
        model_ref, num_labels=num_labels, seed=seed, tokenizer=prepared.tokenizer, head_class=head_class
    )
    _check_token_types(model, prepared, spec)
    adapt(model, spec)
    return model


def _check_token_types(model: PreTrainedModel, prepared: PreparedData, spec: TrialSpec) -> None:
    """Raise UserError where a token type of the texts has no embedding in ``model``."""
    num_types = model.config.type_vocab_size if FAMILIES[model.config.model_type].token_types else 0
    highest = max(int(split.tokens.types.max(initial=0)) for split in prepared.splits.values())
    if num_types and highest >= num_types:
        raise UserError(
            f"model {spec.model!r} has embeddings for {num_types} token types, and its tokenizer gives type {highest} "
            f"to texts of dataset {spec.dataset!r}; take another model for this dataset"
        )


def adapt(model: PreTrainedModel, spec: TrialSpec) -> None:
    """Change ``model`` by the spec's method, in place, and make its head trainable.

    Raises UserError where the method does not fit the model.
    """
    quiet_libraries()
    params = params_for(model.config.model_type, spec.method_params)
    family = FAMILIES[model.config.model_type]
    try:
        if reason := family.refusal(spec.method, model.config.to_dict()):
            raise ValueError(reason)
        if "target_modules" in params and family.needs_split(str(params["target_modules"]).split(",")):
            split_fused(model)
        _check_targets(model, params)
        with seeded(stream_seed(spec.seed, "method")):
            METHODS[spec.method](**params).prepare(model)
        if why_padded(model.config.model_type, spec.method) is None:
            refuse_foreign_modules(model)
    except ValueError as error:
        raise UserError(f"method {spec.method!r} on {spec.model}: {error}") from error
    for name, parameter in model.named_parameters():
        if name.startswith(family.head):
            parameter.requires_grad = True


def params_for(model_type: str, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return a method's parameters, with BERT's names in ``target_modules`` replaced by those of the model type."""
    named = dict(params)
    if "target_modules" in named:
        named["target_modules"] = ",".join(own_targets(FAMILIES[model_type], str(named["target_modules"])))
    return named


def _check_targets(model: PreTrainedModel, params: Mapping[str, Scalar]) -> None:
    """Raise ValueError where a name in ``target_modules`` names no module: ``peft`` leaves such a name out."""
    names = [name for name, _ in model.named_modules()]
    for target in str(params["target_modules"]).split(",") if "target_modules" in params else ():
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise ValueError(f"target_modules: no module {target!r}")
