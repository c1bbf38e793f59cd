"""Weights that a trial keeps for export: ``model/epoch-N.safetensors``, its trainable tensors after that epoch.

What is kept changes no number, so it is no part of a spec. Of ``best`` a file stays until no checkpoint can lead back
to where it was the best one, so that a resumed trial keeps what an unbroken one does.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from struct import unpack

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from tunekit.engine.checkpoint import checkpoints, trainable
from tunekit.engine.summary import best_epoch
from tunekit.errors import UserError, first_line
from tunekit.schema import EpochRecord, Fingerprint, TrialSpec, canonical_json
from tunekit.storage.files import fetched, upload
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place
from tunekit.tasks import task_of

MAX_HEADER_BYTES = 10_000_000
PREFIX = "epoch-"


def file_of(folder: Place, epoch: int) -> Place:
    """Where the trial in ``folder`` keeps the weights of ``epoch``."""
    return folder / "model" / f"{PREFIX}{epoch}.safetensors"


def kept_epochs(folder: Place) -> list[int]:
    """Epochs whose weights the trial in ``folder`` keeps, in order."""
    names = [path.stem.removeprefix(PREFIX) for path in (folder / "model").glob(f"{PREFIX}*.safetensors")]
    return sorted(int(name) for name in names if name.isdigit())


def is_kept(keep: str, records: Sequence[EpochRecord], spec: TrialSpec) -> bool:
    """Whether ``keep`` (none, last, best or all) asks for the weights after the newest of ``records``."""
    return keep == "all" or (keep != "none" and len(records) == _wanted(keep, records, spec))


def _wanted(keep: str, records: Sequence[EpochRecord], spec: TrialSpec) -> int:
    """The one epoch that ``best`` or ``last`` asks for; without a validation part the last is the best."""
    return (best_epoch(records, task_of(spec.dataset)) if keep == "best" else None) or spec.epochs


def keep_weights(folder: Place, model: nn.Module, epoch: int, identity: Mapping[str, str]) -> None:
    """Write the trainable tensors of ``model`` as those of ``epoch``, by rename or PUT. Raises OSError."""
    final = file_of(folder, epoch)
    tensors = {name: parameter.detach().contiguous() for name, parameter in trainable(model).items()}
    if isinstance(final, ObjectPath):
        with tempfile.TemporaryDirectory(prefix="tunekit-model-") as here:
            save_file(tensors, Path(here) / final.name, _said(identity, epoch))
            upload(Path(here) / final.name, final)
        return
    draft = final.with_name(f".draft-{os.getpid()}")
    final.parent.mkdir(exist_ok=True)
    try:
        save_file(tensors, draft, _said(identity, epoch))
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.chmod(0o644)  # as all records; the library's own is its owner's alone
        draft.replace(final)
    finally:
        draft.unlink(missing_ok=True)


def drop_others(folder: Place, keep: str, records: Sequence[EpochRecord], spec: TrialSpec) -> None:
    """Remove weights that ``keep`` asks for no more, whichever of the trial's checkpoints it may go on from."""
    if keep in ("none", "all"):
        return
    stands = [len(records), *(int(path.name.removeprefix(PREFIX)) for path in checkpoints(folder / "checkpoint"))]
    lasting = {_wanted(keep, records[:n], spec) for n in stands}
    for epoch in set(kept_epochs(folder)) - lasting:
        file_of(folder, epoch).unlink(missing_ok=True)


def identity_of(spec: TrialSpec, fingerprint: Fingerprint) -> dict[str, str]:
    """What a file of kept weights says of where it comes from."""
    return {"trial_id": spec.trial_id, "fingerprint": fingerprint.digest}


def _said(identity: Mapping[str, str], epoch: int) -> dict[str, str]:
    """The file's metadata: one key, for the library writes several in any order."""
    return {"tunekit": canonical_json({**identity, "epoch": epoch})}


def read_kept(folder: Place, epoch: int, identity: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """The tensors that the trial kept of ``epoch``. Raises UserError where they can't be read or are others'."""
    path = file_of(folder, epoch)
    try:
        with fetched(path.parent, [path.name]) as here:
            tensors, said = read_tensors(here / path.name)
    except OSError as error:
        raise UserError(f"{path} can't be read ({first_line(error)})") from error
    if said != _said(identity, epoch):
        raise UserError(f"{path} holds the weights of another trial or epoch; remove it")
    return tensors


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file that is no link. Raises UserError where it can't be read."""
    try:
        if path.is_symlink():
            raise UserError(f"{path} is a link, which is not followed; put what it stands for there")
        with path.open("rb") as file:
            (length,) = unpack("<Q", file.read(8).ljust(8, b"\xff"))
            if length > MAX_HEADER_BYTES:
                raise UserError(f"{path} is no safetensors file")
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path} can't be read ({first_line(error)})") from error
