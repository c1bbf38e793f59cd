"""What users run today: Hugging Face's Trainer, alone here, and under Ray Tune in ``support/peer_grid.py``.

Peers train the model that we train (``trial.model_of``: the same libraries' modules, the head trained), on
the same rows, with the same batch size, rate and epochs; optimizer, schedule and clipping are Trainer's defaults, which
ours equal. So what is compared is the training loop and what runs it. Trackers, progress bars and checkpoints are off.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from transformers import (
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from benchmarks.support.trial import Case, Slice, model_of, order_of, prepared_of
from benchmarks.support.workers import Gate
from tunekit.engine.member import LabelledSplit
from tunekit.seeding import stream_seed

TUNED = {"logging_nan_inf_filter": False, "logging_strategy": "no"}
GROUPED = {"group_by_length": True}
FUSED = {**TUNED, "optim": "adamw_torch_fused"}
WORKERS = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True, "dataloader_pin_memory": True}
COMPILED = {"torch_compile": True}


@dataclass(frozen=True)
class Peer:
    """One way to train."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """TrainingArguments that are not at their default."""
    reuse_actors: bool = True
    cpus: tuple[int, ...] = (1, 2)
    """Cores of a trial; where there are several, the best counts."""

    @property
    def grouped(self) -> bool:
        """Whether its batches hold sequences of similar lengths."""
        return bool(self.arguments.get("group_by_length"))


PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        peer.name: peer
        for peer in (
            Peer("p0", reuse_actors=False, cpus=(1,)),
            Peer("p1", TUNED),
            Peer("p1g", {**TUNED, **GROUPED}),
            Peer("fused", FUSED),
            Peer("fused, workers", {**FUSED, **WORKERS}),
            Peer("fused, grouped", {**FUSED, **GROUPED}),
            Peer("fused, grouped, workers", {**FUSED, **GROUPED, **WORKERS}),
            Peer("fused, grouped, workers, compiled", {**FUSED, **GROUPED, **WORKERS, **COMPILED}),
        )
    }
)
GPU_CANDIDATES = tuple(name for name in PEERS if name.startswith("fused"))
"""The peers of which the fastest is P1 on a GPU. The models' attention is SDPA in every one of them."""
COMPILED_CANDIDATES = tuple(name for name in GPU_CANDIDATES if PEERS[name].arguments.get("torch_compile"))
"""Those of them that ``torch.compile`` compiles."""


class Rows(Dataset[dict[str, Any]]):
    """A split as Trainer's collator takes it."""

    def __init__(self, split: LabelledSplit) -> None:
        self.ids = [part.tolist() for part in np.split(split.tokens.ids, split.tokens.offsets[1:-1])]
        self.types = [part.tolist() for part in np.split(split.tokens.types, split.tokens.offsets[1:-1])]
        self.labels = split.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids, types = self.ids[index], self.types[index]
        return {
            "input_ids": ids,
            "token_type_ids": types,
            "attention_mask": [1] * len(ids),
            "labels": self.labels[index],
        }


class GivenOrder(Sampler[int]):
    """The rows of each epoch in turn, as ``order`` gives them for its number (from 1)."""

    def __init__(self, order: Callable[[int], np.ndarray]) -> None:
        self.order, self.epoch, self.rows = order, 0, order(1)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        self.rows = self.order(self.epoch)
        return iter(self.rows.tolist())


class OrderedTrainer(Trainer):
    """Trainer over given orders, which keeps each batch's loss."""

    def __init__(self, order: Callable[[int], np.ndarray], **options: Any) -> None:
        super().__init__(**options)
        self.sampler = GivenOrder(order)
        self.losses: list[torch.Tensor] = []

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        return self.sampler

    def compute_loss(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """Trainer's own; its value is kept where it is."""
        loss: torch.Tensor = super().compute_loss(*arguments, **options)
        self.losses.append(loss.detach())
        return loss


class Turns(TrainerCallback):
    """Lets Trainer train one epoch a turn."""

    def __init__(self, gate: Gate, trainer: OrderedTrainer, lengths: np.ndarray) -> None:
        self.gate, self.trainer, self.lengths = gate, trainer, lengths
        gate.wait()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Hand over the epoch and wait for the next."""
        losses = tuple(torch.stack(self.trainer.losses).tolist())
        self.trainer.losses.clear()
        self.gate.done(Slice(int(self.lengths[self.trainer.sampler.rows].sum()), losses))
        control.should_training_stop = not self.gate.wait()


def grouped_order(case: Case, steps: int) -> Callable[[int], np.ndarray]:
    """Of all training rows as ``group_by_length`` batches them, ``steps`` whole batches of evenly spread sizes."""
    lengths = prepared_of(case).splits["train"].tokens.lengths
    size = case.spec.batch_size

    def order(epoch: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(stream_seed(case.spec.seed, "order", epoch))
        rows = list(LengthGroupedSampler(size, lengths=lengths.tolist(), generator=generator))
        whole = np.array(rows[: len(rows) // size * size]).reshape(-1, size)
        by_size = np.argsort(lengths[whole].sum(axis=1), kind="stable")
        middles = (np.arange(steps) + 0.5) * len(whole) / steps
        chosen: np.ndarray = whole[by_size[middles.astype(int)]]
        return chosen.ravel()

    return order


def options_of(peer: Peer, case: Case, device: str = "cpu", **arguments: Any) -> dict[str, Any]:
    """What Trainer takes, but for data to evaluate. On CUDA the precision is that of the case's spec."""
    prepared, spec = prepared_of(case), case.spec
    if device == "cuda":
        arguments |= {"use_cpu": False, "bf16": spec.precision == "bf16", "tf32": spec.precision == "tf32"}
    return {
        "model": model_of(case),
        "args": TrainingArguments(
            per_device_train_batch_size=spec.batch_size,
            per_device_eval_batch_size=spec.batch_size,
            learning_rate=spec.learning_rate,
            weight_decay=spec.weight_decay,
            num_train_epochs=spec.epochs,
            seed=spec.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **{"output_dir": ".", "use_cpu": True, **peer.arguments, **arguments},
        ),
        "data_collator": DataCollatorWithPadding(prepared.tokenizer),
        "train_dataset": Rows(prepared.splits["train"]),
    }


def train_peer(gate: Gate, name: str, case: Case, steps: int, device: str = "cpu") -> None:
    """A worker's task: one warm Trainer, an epoch of ``steps`` batches a turn.

    They are the batches of ``train_ours``, but for a peer with ``group_by_length``, whose batches are those of
    ``grouped_order``.
    """
    peer = PEERS[name]
    order = grouped_order(case, steps) if peer.grouped else lambda epoch: order_of(case, epoch)
    # The sampler gives the order. transformers 5 knows no ``group_by_length``.
    plain = replace(peer, arguments={key: value for key, value in peer.arguments.items() if key not in GROUPED})
    trainer: Any = OrderedTrainer(order, **options_of(plain, case, device))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Turns(gate, trainer, prepared_of(case).splits["train"].tokens.lengths))
    trainer.train()
