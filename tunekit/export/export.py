"""``tunekit export`` writes the model of one trial as a folder that libraries load, and compares its predictions."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from tunekit.data.copies import load_dataset
from tunekit.engine.build import PreparedData, build_model, prepare_splits
from tunekit.engine.checkpoint import trainable
from tunekit.engine.kept_weights import identity_of, kept_epochs, read_weights
from tunekit.engine.scoring import label_column
from tunekit.errors import UserError, first_line
from tunekit.export import formats
from tunekit.export.card import LIBRARY_NAMES, card
from tunekit.export.loading import BASE, MANIFEST, Manifest, at_commit, load_exported
from tunekit.export.verify import Say, compared, model_of, trained_again
from tunekit.export.which_trial import ChosenTrial
from tunekit.models.catalog import MODELS
from tunekit.models.families import FAMILIES
from tunekit.models.loading import ModelRef, hub_id_of, load_encoder, resolve_model
from tunekit.parsing import how_many
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.planning.provenance import source
from tunekit.schema import EpochRecord
from tunekit.seeding import stream_seed
from tunekit.storage.paths import Place
from tunekit.store.epoch_records import TaskEpochRecord
from tunekit.store.records import CompletedTrial, read_predictions
from tunekit.store.result_store import ResultStore
from tunekit.store.trial_files import PREDICTIONS_FILE
from tunekit.tasks import Constants, Task, task_of

COMPARED_ROWS = 64
"""The number of rows whose logits are compared."""
TOLERANCES = {"fp32": 0.02, "tf32": 0.05, "bf16": 0.3}
"""The largest difference of a logit from the stored one, relative where the logit is above 1. Logits are stored as
float16, and those of tf32 and bf16 trials were computed in tf32 and bf16."""

OTHER_TAGS = 0.01
"""The largest share of words whose tag may differ from the stored one, as it does where two logits are nearly equal."""


@dataclass(frozen=True)
class Request:
    """The options of an export."""

    to: Path
    """The new folder of the model."""
    merged: bool = False
    """Whether an update of LoRA is merged into the weights."""
    train: bool = False
    """Whether the trial is trained again where its weights were not kept."""
    base_model: Path | None = None
    """The folder of the pretrained model, where it is a local one."""


def export(chosen: ChosenTrial, root: Place, request: Request, say: Say) -> None:
    """Write the model of the chosen trial to the folder ``request.to``, completely or not at all.

    ``root`` is the folder of the sweep, and ``say`` is given lines for the user. Raises UserError where the folder is
    not empty, where the trial's weights were not kept, and where the exported model's predictions differ from the
    trial's records. Raises OSError.
    """
    to = _target(request.to)
    store, trial = ResultStore(root), chosen.trial
    ref = _pretrained_model(trial, request.base_model)
    _refuse_stale(trial, ref, store)
    say(f"{trial.spec.label} ({chosen.reason}), epoch {chosen.epoch} of {trial.spec.epochs}")
    tensors = _weights(chosen, store, ref, request, say)
    prepared = prepare_splits(trial.spec, trial.fingerprint, ref, store.data_folder)
    model = build_model(trial.spec, ref, prepared)
    formats.fill(trainable(model), tensors, str(trial.folder))
    _configure(model, prepared, task_of(trial.spec.dataset))
    if request.merged:
        formats.merge_all(model)
    to.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}."))
    try:
        manifest = _write(draft, chosen, model, ref, prepared, request.merged)
        del model, tensors
        say(_compare(draft, trial, chosen.epoch, prepared))
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.replace(draft, to)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sizes = {path: path.stat().st_size for path in to.rglob("*.safetensors")}
    base = sum(size for path, size in sizes.items() if path.parent.name == BASE)
    beside = f", and its pretrained model, which the hub does not have ({base / 1e6:.1f} MB)" if base else ""
    written = f"format {LIBRARY_NAMES[manifest.kind]}, {(sum(sizes.values()) - base) / 1e6:.2f} MB of weights"
    say(f"{request.to}: {written}{beside}")


def _target(to: Path) -> Path:
    """Return the absolute path of ``to``. Raises UserError where it is a file, a link or a folder that is not empty."""
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise UserError(f"--to {to} is not a folder; give another")
    if to.is_dir() and any(to.iterdir()):
        raise UserError(f"--to {to} is not empty; give a new folder")
    return to.resolve()


def _pretrained_model(trial: CompletedTrial, folder: Path | None) -> ModelRef:
    """Return the pretrained model of ``trial``; ``folder`` is the one that the user has given for a local model.

    Raises UserError where a local model was not given or is another one.
    """
    name = trial.spec.model
    if name not in MODELS and "/" not in name:
        if folder is None:
            raise UserError(f"{name} was a local folder, which the store does not hold; give it with --base-model")
        ref = resolve_model(str(folder))
        if ref.name != name:
            raise UserError(f"--base-model {folder} is {ref.name}, the trial's was {name}")
        return ref
    return model_of(trial.spec, trial.fingerprint) if name in MODELS else at_commit(name, trial.fingerprint.model)


def _refuse_stale(trial: CompletedTrial, ref: ModelRef, store: ResultStore) -> None:
    """Raise UserError where the present code or data are not those that the trial was trained with."""
    data = load_dataset(trial.spec.dataset, store.data_folder)
    parts = trial.fingerprint.differs_in(fingerprint_of(trial.spec, ref.revision, data.content_hash))
    if parts:
        raise UserError(
            f"{trial.spec.label} is stale: it was trained with other {', '.join(parts)}; export it with those"
        )


def _weights(
    chosen: ChosenTrial, store: ResultStore, ref: ModelRef, request: Request, say: Say
) -> dict[str, torch.Tensor]:
    """Return the trained tensors: those that the trial kept, or with ``--train`` those of the trial trained again.

    Raises UserError where they were not kept and ``--train`` was not given, and where the trial trained again differs.
    """
    trial, epoch = chosen.trial, chosen.epoch
    identity = identity_of(trial.spec, trial.fingerprint)
    available = kept_epochs(trial.folder)
    if epoch in available:
        return read_weights(trial.folder, epoch, identity)
    if not request.train:
        minutes = (trial.summary.train_seconds or 0) / 60
        others = f" but of {' '.join(map(str, available))} (--epoch)" if available else ""
        raise UserError(
            f"{trial.spec.label} kept no weights of epoch {epoch}{others}; add --train, which trains it again here "
            f"(it took {minutes:.1f} min) and compares it with its records, or run sweeps with --keep-models best"
        )
    say("no weights were kept; training it again in a temporary folder")
    keep = {len(trial.epochs): "last", trial.summary.best_epoch: "best"}.get(epoch, "all")
    with tempfile.TemporaryDirectory(prefix="tunekit-export-") as folder:
        again = trained_again(trial, store, Path(folder), ref, keep)
        differences, how = compared(trial, again)
        if differences:
            listed = "; ".join(differences[:3])
            raise UserError(f"trained again, {trial.spec.label} differs from its records, {how}: {listed}")
        say(f"the same {how_many(len(trial.epochs), 'epoch')} as stored, {how}")
        if epoch not in kept_epochs(again.folder):
            raise UserError(
                f"trained again here, epoch {epoch} is no longer the best on validation; give --epoch {epoch}"
            )
        return read_weights(again.folder, epoch, identity)


def _configure(model: PreTrainedModel, prepared: PreparedData, task: Task) -> None:
    """Put the names of the head's outputs and the kind of problem into the model's configuration."""
    if task.problem_type is not None:
        model.config.problem_type = task.problem_type
    names = prepared.data.label_names
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: index for index, name in enumerate(names)}


def _write(
    draft: Path, chosen: ChosenTrial, model: PreTrainedModel, ref: ModelRef, prepared: PreparedData, merged: bool
) -> Manifest:
    """Write all files of the export into the empty folder ``draft`` and return the manifest."""
    spec, hub_id, data = chosen.trial.spec, None if ref.path else hub_id_of(ref), prepared.data
    task = task_of(spec.dataset)
    kind = formats.write(model, draft, hub_id, ref.revision)
    has_base = kind != formats.WHOLE and hub_id is None
    if has_base:
        seed = stream_seed(spec.seed, "head")
        base = load_encoder(
            ref, num_labels=len(data.label_names), seed=seed, tokenizer=prepared.tokenizer, head_class=task.head_class
        )
        _configure(base, prepared, task)
        formats.write(base, draft / BASE, None, None)
    prepared.tokenizer.backend_tokenizer.no_truncation()
    prepared.tokenizer.backend_tokenizer.no_padding()
    for folder in (draft, draft / BASE) if has_base else (draft,):
        prepared.tokenizer.save_pretrained(folder)
    pairs = bool(data.splits["train"]["pair"].notna().any())
    manifest = Manifest(
        kind=kind, spec=spec, revision=ref.revision, has_base=has_base, label_names=tuple(data.label_names),
        pairs=pairs, pair_as=data.pair_as, epoch=chosen.epoch, task=task.name,
        constants=_constants(chosen.trial.epochs[chosen.epoch - 1]),
    )  # fmt: skip
    values = manifest.to_dict()
    (draft / MANIFEST).write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    config = model.config
    fused_without_biases = bool(FAMILIES[config.model_type].row_blocks) and not config.attention_bias
    merged = merged and kind == formats.WHOLE and spec.method != "full"
    text = card(
        chosen, values, hub_id, source(), merged, licence=data.licence, fused_without_biases=fused_without_biases
    )
    (draft / "README.md").write_text(text, encoding="utf-8")
    return manifest


def _constants(record: EpochRecord) -> Constants:
    """Return the constants of the trial after the epoch of ``record``; classification has none."""
    return record.constants if isinstance(record, TaskEpochRecord) else {}


def _compare(draft: Path, trial: CompletedTrial, epoch: int, prepared: PreparedData) -> str:
    """Compare the outputs of the exported model with those that the trial has recorded, and return a line about it.

    They are compared as the loss takes them, so that the tolerance does not depend on a target's unit. Where a task
    keeps no outputs, the predictions are compared. Raises UserError where they differ by more than the tolerance.
    """
    exported = load_exported(draft)
    try:
        if (trial.folder / PREDICTIONS_FILE).is_symlink():
            raise OSError("it is a link")
        rows = read_predictions(trial.folder, filters=[("epoch", "==", epoch)])
        stored = rows[rows["split"] == rows["split"].iloc[-1]].head(COMPARED_ROWS) if len(rows) else rows
        if not len(stored):
            return f"not compared with predictions: the trial recorded none of epoch {epoch}"
        items = prepared.data.splits[stored["split"].iloc[0]].set_index("item_id").loc[stored["item_id"]]
        before = np.stack(list(stored["logits"])).astype(np.float32)
        recorded = stored["predicted"].tolist()
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"not compared with predictions: they can't be read ({first_line(error)})"
    found = exported.outputs(list(items["text"]), list(items["pair"]) if exported.manifest.pairs else None)
    task, constants = task_of(trial.spec.dataset), exported.manifest.constants
    if task.stored_as is None:
        tags = label_column(task.predicted(found, constants), task, prepared.data.label_names)
        return _compare_tags(list(map(str, tags)), recorded)
    found, before = (task.targets(values, constants) for values in (found, before))
    largest = float((np.abs(found - before) / np.maximum(1, np.abs(before))).max())
    if largest > TOLERANCES[trial.spec.precision]:
        raise UserError(
            f"the exported model does not predict what the trial recorded (a logit is off by {largest:.3f}); "
            "nothing was written"
        )
    return f"predicts what the trial recorded: {len(stored)} rows, largest difference of a logit {largest:.5f}"


def _compare_tags(found: Sequence[str], recorded: Sequence[str]) -> str:
    """Compare the tags of each text, and return a line about it. Raises UserError where too many words differ."""
    pairs = [pair for texts in zip(found, recorded, strict=True) for pair in zip(*map(str.split, texts), strict=True)]
    changed = sum(one != other for one, other in pairs)
    if changed > OTHER_TAGS * len(pairs):
        raise UserError(
            "the exported model does not predict what the trial recorded "
            f"({changed} of {len(pairs)} words have another tag); nothing was written"
        )
    return f"predicts what the trial recorded: {len(found)} rows, {changed} of {len(pairs)} words with another tag"
