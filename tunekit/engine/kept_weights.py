"""Weights that a trial keeps for export: its trainable tensors after an epoch N, in ``model/epoch-N.safetensors``.

Which epochs' weights a trial keeps changes no number, so it is no part of a spec. A trial that keeps its best epoch may
be resumed from a checkpoint at which an earlier epoch was the best. The weights of that epoch stay until no such
checkpoint is left, so that a resumed trial keeps the same weights as one that was never interrupted.

The driver imports this module too, so importing it brings no torch.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from struct import unpack
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from tunekit.engine.checkpoint import checkpoints, trainable
from tunekit.engine.summary import best_epoch, is_complete
from tunekit.errors import UserError, first_line
from tunekit.schema import EpochRecord, Fingerprint, TrialSpec, canonical_json
from tunekit.storage.files import fetched
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place
from tunekit.tasks import task_of

if TYPE_CHECKING:
    import torch
    from torch import nn

MAX_HEADER_BYTES = 10_000_000
"""The largest header of a safetensors file that is read."""
PREFIX = "epoch-"


def weights_file(folder: Place, epoch: int) -> Place:
    """Return where the trial in ``folder`` keeps the weights of ``epoch``."""
    return folder / "model" / f"{PREFIX}{epoch}.safetensors"


def kept_epochs(folder: Place) -> list[int]:
    """Return the epochs whose weights the trial in ``folder`` keeps, in order."""
    names = [path.stem.removeprefix(PREFIX) for path in (folder / "model").glob(f"{PREFIX}*.safetensors")]
    return sorted(int(name) for name in names if name.isdigit())


def keeps_weights(keep: str, records: Sequence[EpochRecord], spec: TrialSpec) -> bool:
    """Return whether ``keep`` (none, last, best or all) asks for the weights after the newest of ``records``."""
    return keep == "all" or (keep != "none" and len(records) == _chosen_epoch(keep, records, spec))


def _chosen_epoch(keep: str, records: Sequence[EpochRecord], spec: TrialSpec) -> int:
    """Return the epoch that ``best`` or ``last`` asks for; without a validation part the last is the best."""
    last = len(records) if is_complete(records, spec) else spec.epochs
    return (best_epoch(records, task_of(spec.dataset)) if keep == "best" else None) or last


def write_weights(folder: Place, model: nn.Module, epoch: int, identity: Mapping[str, str]) -> None:
    """Write the trainable tensors of ``model`` as those of ``epoch``, in one rename or PUT. Raises OSError."""
    from safetensors.torch import save_file

    final = weights_file(folder, epoch)
    tensors = {name: parameter.detach().contiguous() for name, parameter in trainable(model).items()}
    if isinstance(final, ObjectPath):
        with tempfile.TemporaryDirectory(prefix="tunekit-model-") as here:
            save_file(tensors, Path(here) / final.name, _metadata(identity, epoch))
            final.write_bytes(Path(here) / final.name)
        return
    draft = final.with_name(f".draft-{os.getpid()}")
    final.parent.mkdir(exist_ok=True)
    try:
        save_file(tensors, draft, _metadata(identity, epoch))
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.chmod(0o644)  # as other records have; safetensors makes files that only their owner can read
        draft.replace(final)
    finally:
        draft.unlink(missing_ok=True)


def remove_superseded_weights(folder: Place, keep: str, records: Sequence[EpochRecord], spec: TrialSpec) -> None:
    """Remove the weights that ``keep`` no longer asks for, whichever checkpoint the trial may be resumed from."""
    if keep in ("none", "all"):
        return
    trained = [len(records), *(int(path.name.removeprefix(PREFIX)) for path in checkpoints(folder / "checkpoint"))]
    needed = {_chosen_epoch(keep, records[:epochs], spec) for epochs in trained}
    for epoch in set(kept_epochs(folder)) - needed:
        weights_file(folder, epoch).unlink(missing_ok=True)


def identity_of(spec: TrialSpec, fingerprint: Fingerprint) -> dict[str, str]:
    """Return the id and the fingerprint's digest of a trial, as its files of kept weights hold them."""
    return {"trial_id": spec.trial_id, "fingerprint": fingerprint.digest}


def _metadata(identity: Mapping[str, str], epoch: int) -> dict[str, str]:
    """Return the file's metadata under a single key, since the library writes several keys in any order."""
    return {"tunekit": canonical_json({**identity, "epoch": epoch})}


def read_weights(folder: Place, epoch: int, identity: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Return the tensors that the trial in ``folder`` kept of ``epoch``, by name.

    Raises UserError where they can't be read, or where ``identity`` says that they are another trial's.
    """
    path = weights_file(folder, epoch)
    try:
        with fetched(path.parent, [path.name]) as here:
            tensors, metadata = read_tensors(here / path.name)
    except OSError as error:
        raise UserError(f"{path} can't be read ({first_line(error)})") from error
    if metadata != _metadata(identity, epoch):
        raise UserError(f"{path} holds the weights of another trial or epoch; remove it")
    return tensors


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors, by name, and the metadata of a safetensors file. Links are not followed.

    Raises UserError where the file is a link or can't be read.
    """
    try:
        if path.is_symlink():
            raise UserError(f"{path} is a link, which is not followed; put the file itself there")
        with path.open("rb") as file:
            (length,) = unpack("<Q", file.read(8).ljust(8, b"\xff"))
            if length > MAX_HEADER_BYTES:
                raise UserError(f"{path} is no safetensors file")
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path} can't be read ({first_line(error)})") from error
