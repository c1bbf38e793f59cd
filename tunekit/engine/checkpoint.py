"""Save and load one trial: trainable tensors, optimizer state, and the history up to that epoch.

A checkpoint is a folder ``epoch-N`` with safetensors files and a manifest of their sha256, renamed into place when
complete; on an object store the manifest is written last, and one that does not fit its files is none. There is no
generator state in it: every stream is a function of seed and step (``tunekit.seeding``).
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from tunekit.schema import canonical_json
from tunekit.storage.files import fetched, remove_tree, sha256_of, upload, write_atomic
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place

FILES = ("model.safetensors", "optimizer.safetensors")
MANIFEST = "manifest.json"
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """One loaded checkpoint."""

    epoch: int
    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    history: list[dict[str, Any]]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training moves, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_checkpoint(
    folder: Place, model: nn.Module, optimizer: torch.optim.AdamW, *, step: int, history: list[dict[str, Any]]
) -> None:
    """Write ``folder/epoch-N`` for the last epoch of ``history`` and drop all but the newest two. Raises OSError."""
    epoch = history[-1]["epoch"]
    parameters = trainable(model)
    state = {
        f"{name}.{key}": value for name, p in parameters.items() for key, value in optimizer.state.get(p, {}).items()
    }
    with _draft(folder) as draft:
        for name, tensors in zip(FILES, (parameters, state), strict=True):
            save_file({key: value.detach().contiguous() for key, value in tensors.items()}, draft / name)
        hashes = {name: sha256_of(draft / name) for name in FILES}
        manifest = {"epoch": epoch, "step": step, "history": history, "sha256": hashes}
        manifest["own_sha256"] = _digest(manifest)
        write_atomic(draft / MANIFEST, json.dumps(manifest, allow_nan=False).encode())
        _place(draft, folder / f"epoch-{epoch}")
    for old in checkpoints(folder)[KEPT:]:
        remove_tree(old)


@contextmanager
def _draft(folder: Place) -> Iterator[Path]:
    """A new folder on this machine, beside the checkpoints where they are there too; removed at the end."""
    if isinstance(folder, ObjectPath):
        with tempfile.TemporaryDirectory(prefix="tunekit-checkpoint-") as draft:
            yield Path(draft)
        return
    draft = folder / f".draft-{os.getpid()}"
    remove_tree(draft)
    draft.mkdir(parents=True)
    try:
        yield draft
    finally:
        remove_tree(draft)


def _place(draft: Path, final: Place) -> None:
    """Make what lies in ``draft`` the checkpoint ``final``."""
    if isinstance(final, ObjectPath):
        for name in (*FILES, MANIFEST):
            upload(draft / name, final / name)
        return
    for name in FILES:
        with (draft / name).open("rb+") as file:
            os.fsync(file.fileno())
    remove_tree(final)
    draft.rename(final)


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(manifest).encode()).hexdigest()


def checkpoints(folder: Place) -> list[Place]:
    """Checkpoint folders, newest epoch first."""
    found = [path for path in folder.glob("epoch-*") if path.name.removeprefix("epoch-").isdigit()]
    return sorted(found, key=lambda path: -int(path.name.removeprefix("epoch-")))


def newest_valid(folder: Place) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose files have their recorded hashes, and a line for each newer one that has not."""
    refused = []
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


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.AdamW) -> None:
    """Put the checkpoint's tensors into ``model`` and ``optimizer``. Raises ValueError if they are another model's."""
    parameters = trainable(model)
    if set(parameters) != set(checkpoint.model):
        raise ValueError("the checkpoint holds other trainable tensors than the model")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(checkpoint.model[name])
            state = {key: checkpoint.optimizer.get(f"{name}.{key}") for key in ("step", "exp_avg", "exp_avg_sq")}
            if all(value is not None for value in state.values()):
                step = state.pop("step")
                optimizer.state[parameter] = {"step": step.to(parameter.device)} | {
                    key: value.to(parameter.device) for key, value in state.items()
                }
