"""What the benchmarks ask of the engine: specs, data, models, packs that are ready to train, and one epoch of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from benchmarks.support.workers import Gate
from tunekit.data.base import DATASETS
from tunekit.engine.build import PreparedData, build_model, prepare_splits
from tunekit.engine.determinism import be_deterministic
from tunekit.engine.member import Member, batches
from tunekit.engine.train import Pack
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.models.loading import ModelRef, resolve_model
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.schema import TrialSpec

BATCH_SIZE = 32
LONG = 1_000
"""Epochs of a trial's schedule: more than any benchmark trains, so that the learning rate stays near the first."""


@dataclass(frozen=True)
class Case:
    """A trial that each side trains."""

    spec: TrialSpec
    ref: ModelRef
    dropout: bool = True
    """Whether the model has dropout; False where losses are compared."""


@dataclass(frozen=True)
class Slice:
    """What one epoch of one trial gave."""

    tokens: int
    """The number of real tokens; padding is not counted."""
    losses: tuple[float, ...]
    """The mean loss of each batch, in order."""


def case_of(
    model: str,
    dataset: str,
    method: str,
    *,
    rows: int | None,
    seed: int = 1,
    data_seed: int = 1,
    batch_size: int = BATCH_SIZE,
    epochs: int = LONG,
    dropout: bool = True,
    precision: str = "fp32",
) -> Case:
    """Return a trial of a registered method with its default parameters and learning rate.

    ``model`` may be a folder. ``rows`` is the number of training rows, drawn by ``data_seed``; None takes all.
    """
    ref = resolve_model(model)
    spec = TrialSpec(
        model=ref.name,
        dataset=dataset,
        method=method,
        method_params=complete_params(method, {}),
        seed=seed,
        learning_rate=METHODS[method].learning_rate,
        batch_size=batch_size,
        epochs=epochs,
        train_limit=rows,
        data_seed=data_seed,
        precision=precision,
    )
    return Case(spec, ref, dropout)


def prepared_of(case: Case) -> PreparedData:
    """Return the case's data, tokenised."""
    found = fingerprint_of(case.spec, case.ref.revision, DATASETS[case.spec.dataset].content_hash)
    return prepare_splits(case.spec, found, case.ref, Path("no folder of own data"))


def model_of(case: Case) -> PreTrainedModel:
    """Return the case's model as its method changes it, with a trained head: the same model for every side."""
    model = build_model(case.spec, case.ref, prepared_of(case))
    return model if case.dropout else without_dropout(model)


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """Set every rate of dropout of ``model`` to 0 and return it."""
    module: Any
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    return model


def order_of(case: Case, epoch: int) -> np.ndarray:
    """Return the training rows of ``epoch`` (from 1) in the order in which our trial takes them, (N,)."""
    return np.concatenate(list(batches(len(prepared_of(case).splits["train"]), case.spec, epoch)))


def pack_of(cases: Sequence[Case], device: str = "cpu") -> Pack:
    """Return trials of ours as one pack, ready for their first epoch."""
    where = torch.device(device)
    be_deterministic(where, torch.get_num_threads())
    return Pack([Member(case.spec, model_of(case), prepared_of(case).splits["train"], where) for case in cases])


def train(pack: Pack) -> list[Slice]:
    """Train the next epoch of ``pack`` and return what it gave each trial."""
    return [Slice(found.num_tokens, tuple(found.losses)) for found in pack.train_epoch()]


def train_ours(gate: Gate, case: Case, device: str = "cpu") -> None:
    """Train one trial of ours, one epoch a turn: a worker's task."""
    pack = pack_of([case], device)
    while gate.wait():
        gate.done(train(pack)[0])


def train_pack(gate: Gate, cases: Sequence[Case], device: str = "cpu") -> None:
    """Train trials of ours as one pack, one epoch a turn: a worker's task."""
    pack = pack_of(cases, device)
    while asked := gate.wait():
        gate.done(train(pack) if asked is True else asked(pack))
