"""The one training loop, for a pack of trials; a single trial is a pack of one.

Plain PyTorch. A pack advances all its members step by step: each has its own data order, dropout stream, schedule,
clipping and optimizer state, so that no member's numbers depend on its mates.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.dropout import MaskStream, has_attention_dropout, use_stream
from tunekit.engine.optim import learning_rate_at, make_optimizer, step_optimizer
from tunekit.engine.packing import PackedBatch, pack
from tunekit.models import MODEL_TYPES
from tunekit.schema import TrialSpec
from tunekit.seeding import stream_seed

EVAL_TOKENS = 8192
"""Tokens an evaluation batch holds at most, padding counted."""


@dataclass(frozen=True)
class LabelledSplit:
    """One split of one dataset, tokenised for one model."""

    tokens: TokenisedSplit
    labels: np.ndarray
    """(N,) int64"""

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: np.ndarray) -> "LabelledSplit":
        """The examples ``indices`` (M,), in that order."""
        return LabelledSplit(self.tokens.subset(indices), self.labels[indices])


class Diverged(ArithmeticError):
    """A training loss or a score's loss was NaN or infinite."""


@dataclass
class TrainedEpoch:
    """What one member's epoch of training measured; scoring comes after."""

    losses: list[float]
    """Mean loss of each batch, in order."""
    learning_rates: list[float]
    train_loss: float
    """Mean over examples."""
    num_tokens: int
    seconds: float


@dataclass
class Member:
    """One trial of a pack: its model, its data and where it stands."""

    spec: TrialSpec
    model: PreTrainedModel
    train: LabelledSplit
    device: torch.device
    step: int = 0
    """Optimizer steps taken."""
    micro_batches: int = 1
    """Parts that a batch is trained in; their gradients add up to that of the whole batch's mean loss."""
    optimizer: torch.optim.AdamW = field(init=False)
    parameters: list[nn.Parameter] = field(init=False)
    masks: MaskStream = field(init=False)

    def __post_init__(self) -> None:
        self.model.to(self.device)
        self.masks = MaskStream(self.spec.seed, self.device)
        use_stream(self.model, self.masks)
        self.explicit_attention = has_attention_dropout(self.model)
        self.optimizer = make_optimizer(self.model, self.spec)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.position_offset = self.model.config.pad_token_id + 1 if self.model.config.model_type == "roberta" else 0

    @property
    def backbone(self) -> PreTrainedModel:
        """The encoder, without the classification head."""
        return getattr(self.model, MODEL_TYPES[self.model.config.model_type].backbone)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; the last batch may be smaller."""
        return -(-len(self.train) // self.spec.batch_size)

    def batches(self, epoch: int) -> Iterator[np.ndarray]:
        """Training examples of ``epoch``, batch by batch."""
        return batches(len(self.train), self.spec, epoch)

    def packed(self, split: LabelledSplit, indices: np.ndarray) -> tuple[PackedBatch, torch.Tensor]:
        """The examples ``indices`` (B,) as a packed batch, and their labels (B,)."""
        pad_id = self.model.config.pad_token_id
        batch = pack(split.tokens, indices, pad_id=pad_id, position_offset=self.position_offset, device=self.device)
        return batch, torch.from_numpy(split.labels[indices]).to(self.device, non_blocking=True)

    def logits(self, batch: PackedBatch) -> torch.Tensor:
        """Class logits (B, C) in fp32: the encoder on packed rows, the head on each sequence's first token."""
        model, backbone = self.model, self.backbone
        with self._autocast():
            hidden = backbone(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                token_type_ids=batch.token_type_ids,
                position_ids=batch.position_ids,
                # Asking for attentions makes the libraries' SDPA classes take their explicit path.
                output_attentions=model.training and self.explicit_attention,
            ).last_hidden_state  # (R, L, H)
            first = hidden.flatten(0, 1)[batch.first].unsqueeze(1)  # (B, 1, H)
            if backbone.pooler is not None:
                return model.classifier(model.dropout(backbone.pooler(first))).float()
            return model.classifier(first).float()

    def loss(self, indices: np.ndarray) -> tuple[torch.Tensor, int]:
        """Mean cross-entropy of the training examples ``indices``, and their number of tokens."""
        batch, labels = self.packed(self.train, indices)
        return F.cross_entropy(self.logits(batch), labels), batch.num_tokens

    def backward(self, indices: np.ndarray) -> tuple[torch.Tensor, int]:
        """Add the gradients of ``loss``, part by part. Returns the loss, detached, and the number of tokens."""
        total, num_tokens = torch.zeros((), device=self.device), 0
        for part in np.array_split(indices, min(self.micro_batches, len(indices))):
            loss, tokens = self.loss(part)
            share = loss * (len(part) / len(indices))
            share.backward()
            total += share.detach()
            num_tokens += tokens
        return total, num_tokens

    def _autocast(self) -> torch.autocast | nullcontext[None]:
        if self.spec.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


def batches(num_rows: int, spec: TrialSpec, epoch: int) -> Iterator[np.ndarray]:
    """Training examples of ``epoch`` (from 1): one permutation by the trial's seed, cut into batches."""
    generator = torch.Generator().manual_seed(stream_seed(spec.seed, "order", epoch))
    order = torch.randperm(num_rows, generator=generator).numpy()
    for start in range(0, len(order), spec.batch_size):
        yield order[start : start + spec.batch_size]


def train_epoch(members: Sequence[Member], epoch: int) -> list[TrainedEpoch]:
    """Train every member for ``epoch`` (from 1) and return what each measured, in order.

    Losses stay on the device until the end, so that no step waits for the host. A member whose loss became NaN or
    infinite has it in its ``losses``; the others are not touched by it.
    """
    start = time.perf_counter()
    losses: list[list[torch.Tensor]] = [[] for _ in members]
    rates: list[list[float]] = [[] for _ in members]
    sizes: list[list[int]] = [[] for _ in members]
    tokens = [0 for _ in members]
    orders = [member.batches(epoch) for member in members]
    for member in members:
        member.model.train()
    for step in range(max(member.steps_per_epoch for member in members)):
        for slot, member in enumerate(members):
            if step >= member.steps_per_epoch:
                continue
            indices = next(orders[slot])
            member.masks.start(member.step)
            loss, num_tokens = member.backward(indices)
            rate = learning_rate_at(member.step, member.steps_per_epoch * member.spec.epochs, member.spec)
            step_optimizer(member.optimizer, member.parameters, rate)
            member.step += 1
            losses[slot].append(loss)
            rates[slot].append(rate)
            sizes[slot].append(len(indices))
            tokens[slot] += num_tokens
    results = []
    for slot in range(len(members)):
        values = torch.stack(losses[slot]).double().tolist()
        mean = float(np.average(values, weights=sizes[slot]))
        results.append(TrainedEpoch(values, rates[slot], mean, tokens[slot], time.perf_counter() - start))
    return results


@torch.inference_mode()
def predict(member: Member, split: LabelledSplit) -> np.ndarray:
    """Class logits (N, C) of every example, float32, dropout off, in large batches of like lengths."""
    member.model.eval()
    lengths = split.tokens.lengths
    order = np.argsort(-lengths, kind="stable")
    logits = None
    start = 0
    while start < len(order):
        stop = start + max(1, EVAL_TOKENS // int(lengths[order[start]]))
        indices = order[start:stop]
        batch, _ = member.packed(split, indices)
        values = member.logits(batch).cpu().numpy()
        if logits is None:
            logits = np.empty((len(order), values.shape[1]), np.float32)
        logits[indices] = values
        start = stop
    return logits


def mean_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean loss of (N, C) logits against (N,) labels. Raises Diverged where it is not finite."""
    value = float(F.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels)))
    if not np.isfinite(value):
        raise Diverged(f"a score's loss is {value}")
    return value
