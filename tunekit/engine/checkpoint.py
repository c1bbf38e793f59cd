"""Save and load one trial: its trainable tensors, its optimizer's state, and its records up to that epoch.

A checkpoint is a folder ``epoch-N`` with safetensors files and a manifest of their sha256. The folder is renamed into
place when it is complete. On an object store the manifest is written last, and a checkpoint whose manifest does not fit
its files is not valid. A checkpoint holds no state of random generators, since every random stream is a function of
seed and step (``tunekit.seeding``).

The driver imports this module too, so importing it brings no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from tunekit.schema import canonical_json
from tunekit.storage.files import fetched, remove_tree, sha256_of, write_atomic
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunekit.engine.buffers import Trained

FILES = ("model.safetensors", "optimizer.safetensors")
MANIFEST = "manifest.json"
ADAMW_STATE = ("step", "exp_avg", "exp_avg_sq")
"""The names, in a checkpoint, of the values that AdamW keeps for each parameter."""
KEPT = 2
"""How many checkpoints a running trial keeps."""


@dataclass(frozen=True)
class Checkpoint:
    """One loaded checkpoint."""

    epoch: int
    """The epoch after which it was written."""
    step: int
    """The optimizer steps taken."""
    model: dict[str, torch.Tensor]
    """The trainable tensors by name."""
    optimizer: dict[str, torch.Tensor]
    """The optimizer's state, as ``NAME.KEY`` for each trainable tensor."""
    history: list[dict[str, Any]]
    """The values of each epoch's record, in order."""


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training moves, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_checkpoint(folder: Place, trained: Mapping[str, Trained], *, step: int, history: list[dict[str, Any]]) -> None:
    """Write ``folder/epoch-N`` for the last epoch of ``history`` and drop all but the newest two. Raises OSError."""
    import torch
    from safetensors.torch import save_file

    epoch = history[-1]["epoch"]
    parameters: dict[str, torch.Tensor] = {name: one.parameter for name, one in trained.items()}
    state = {
        f"{name}.{key}": value
        for name, one in trained.items()
        for key, value in zip(ADAMW_STATE, (torch.tensor(float(step)), one.first, one.second), strict=True)
    }
    with _draft_folder(folder) as draft:
        for name, tensors in zip(FILES, (parameters, state), strict=True):
            save_file({key: value.detach().contiguous() for key, value in tensors.items()}, draft / name)
        hashes = {name: sha256_of(draft / name) for name in FILES}
        manifest = {"epoch": epoch, "step": step, "history": history, "sha256": hashes}
        manifest["own_sha256"] = _digest(manifest)
        write_atomic(draft / MANIFEST, json.dumps(manifest, allow_nan=False).encode())
        _move_into_place(draft, folder / f"epoch-{epoch}")
    for old in checkpoints(folder)[KEPT:]:
        remove_tree(old)


@contextmanager
def _draft_folder(folder: Place) -> Iterator[Path]:
    """Yield a new folder on this machine, beside the checkpoints where these are local; then remove it."""
    if isinstance(folder, ObjectPath):
        with tempfile.TemporaryDirectory(prefix="tunekit-checkpoint-") as name:
            yield Path(name)
        return
    draft = folder / f".draft-{os.getpid()}"
    remove_tree(draft)
    draft.mkdir(parents=True)
    try:
        yield draft
    finally:
        remove_tree(draft)


def _move_into_place(draft: Path, final: Place) -> None:
    """Make the files in ``draft`` the checkpoint ``final``, by a rename or, on an object store, by copies."""
    if isinstance(final, ObjectPath):
        for name in (*FILES, MANIFEST):
            (final / name).write_bytes(draft / name)
        return
    for name in FILES:
        with (draft / name).open("rb+") as file:
            os.fsync(file.fileno())
    remove_tree(final)
    draft.rename(final)


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(manifest).encode()).hexdigest()


def checkpoints(folder: Place) -> list[Place]:
    """Return the checkpoint folders in ``folder``, the newest epoch first."""
    found = [path for path in folder.glob("epoch-*") if path.name.removeprefix("epoch-").isdigit()]
    return sorted(found, key=lambda path: -int(path.name.removeprefix("epoch-")))


def newest_valid(folder: Place) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint whose files have their recorded hashes, and lines on the newer ones, refused.

    The checkpoint is None where none is valid. The lines are for people, one for each refused checkpoint.
    """
    from safetensors.torch import load_file

    refused: list[str] = []
    for path in checkpoints(folder):
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            if manifest.pop("own_sha256") != _digest(manifest):
                raise ValueError("manifest.json does not have its recorded sha256")
            with fetched(path, FILES) as here:
                for name in FILES:
                    if sha256_of(here / name) != manifest["sha256"][name]:
                        raise ValueError(f"{name} does not have its recorded sha256")
                model, optimizer = (load_file(here / name) for name in FILES)
            return Checkpoint(manifest["epoch"], manifest["step"], model, optimizer, manifest["history"]), refused
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            refused.append(f"checkpoint {path.name} is not valid ({error}); falling back to the one before")
    return None, refused


def restore(checkpoint: Checkpoint, trained: Mapping[str, Trained]) -> None:
    """Put the checkpoint's tensors into ``trained``. Raises ValueError where they are another model's."""
    import torch

    if set(trained) != set(checkpoint.model):
        raise ValueError("the checkpoint holds other trainable tensors than the model")
    with torch.no_grad():
        for name, one in trained.items():
            one.parameter.copy_(checkpoint.model[name])
            for key, moment in zip(ADAMW_STATE[1:], (one.first, one.second), strict=True):
                if f"{name}.{key}" in checkpoint.optimizer:  # else the parameter never had a gradient
                    moment.copy_(checkpoint.optimizer[f"{name}.{key}"])
