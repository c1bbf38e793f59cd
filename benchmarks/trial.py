"""All that the benchmarks ask of the engine: specs, data, models, warm packs, and an epoch of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from benchmarks.workers import Gate
from tunekit.data.base import DATASETS
from tunekit.engine.build import PreparedData, build_model, prepare_splits
from tunekit.engine.train import Member, Pack, batches
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.models.loading import ModelRef, resolve_model
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.schema import TrialSpec

BATCH_SIZE = 32
LONG = 1_000
"""Epochs of a warm trial's schedule: more than any benchmark trains, so that its rate stays near the first."""


@dataclass(frozen=True)
class Case:
    """What each side trains."""

    spec: TrialSpec
    ref: ModelRef
    dropout: bool = True
    """False where losses are compared."""


@dataclass(frozen=True)
class Slice:
    """One epoch of one warm trial."""

    tokens: int
    """Real tokens, padding not counted."""
    losses: tuple[float, ...]
    """Mean loss of each batch, in order."""


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
) -> Case:
    """A trial of the registered method with its own parameters and rate, in fp32; ``model`` may be a folder.

    ``rows`` limits the training rows to as many, drawn by ``data_seed``; None takes all.
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
        precision="fp32",
    )
    return Case(spec, ref, dropout)


def prepared_of(case: Case) -> PreparedData:
    """The case's data, tokenised once a process."""
    found = fingerprint_of(case.spec, case.ref.revision, DATASETS[case.spec.dataset].content_hash)
    return prepare_splits(case.spec, found, case.ref, Path("no folder of own data"))


def model_of(case: Case) -> PreTrainedModel:
    """The case's model, changed by its method, its head trained: the same for every side."""
    model = build_model(case.spec, case.ref, prepared_of(case))
    return model if case.dropout else without_dropout(model)


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """``model`` with every rate of dropout at 0."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    return model


def order_of(case: Case, epoch: int) -> np.ndarray:
    """Training rows of ``epoch`` (from 1) in the order in which our trial takes them, batch after batch."""
    return np.concatenate(list(batches(len(prepared_of(case).splits["train"]), case.spec, epoch)))


def pack_of(cases: Sequence[Case], device: str = "cpu") -> Pack:
    """Warm trials of ours as one pack, ready for their first epoch."""
    return Pack(
        [Member(case.spec, model_of(case), prepared_of(case).splits["train"], torch.device(device)) for case in cases]
    )


def train(pack: Pack) -> list[Slice]:
    """Train the next epoch of ``pack``."""
    return [Slice(found.num_tokens, tuple(found.losses)) for found in pack.train_epoch()]


def train_ours(gate: Gate, case: Case, device: str = "cpu") -> None:
    """A worker's task: one warm trial of ours, an epoch a turn."""
    pack = pack_of([case], device)
    while gate.wait():
        gate.done(train(pack)[0])
