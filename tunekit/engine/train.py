"""The one training loop, for a pack of trials; a single trial is a pack of one.

Plain PyTorch. A pack advances all its members step by step: each has its own data order, dropout stream, schedule,
clipping and optimizer state, so that no member's numbers depend on its mates.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.forward.dropout import ForwardContext, MaskKind, Masks, MaskStream
from tunekit.engine.forward.flat_batch import FlatBatch
from tunekit.engine.forward.padded_batch import PaddedBatch, dropout_of
from tunekit.engine.forward.patching import batch_of, logits, patch_model
from tunekit.engine.optim import StackedAdamW, learning_rate_at, make_optimizer, step_optimizer
from tunekit.engine.stacking import Stack, is_stackable
from tunekit.planning.batching import why_padded
from tunekit.schema import TrialSpec
from tunekit.seeding import stream_seed
from tunekit.tasks import Task, task_of

EVAL_TOKENS = 8192
"""Tokens an evaluation batch of one trial holds at most, padding counted."""


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
    """A training loss or a score was NaN or infinite."""


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


@dataclass(eq=False)
class Member:
    """One trial: its model, its data and where it stands."""

    spec: TrialSpec
    model: PreTrainedModel
    train: LabelledSplit
    device: torch.device
    micro_batches: int = 1
    """Parts that a batch is computed in, one after another, where its memory would not hold it whole."""
    step: int = 0
    """Optimizer steps taken."""
    task: Task = field(init=False)
    optimizer: torch.optim.AdamW = field(init=False)
    parameters: list[nn.Parameter] = field(init=False)
    masks: MaskStream = field(init=False)
    context: ForwardContext = field(init=False)

    def __post_init__(self) -> None:
        self.task = task_of(self.spec.dataset)
        self.model.to(self.device)
        self.context = patch_model(
            self.model, padded=why_padded(self.model.config.model_type, self.spec.method) is not None
        )
        self.masks = MaskStream(self.spec.seed, self.device)
        self.optimizer = make_optimizer(self.model, self.spec)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; the last batch may be smaller."""
        return -(-len(self.train) // self.spec.batch_size)

    @property
    def learning_rate(self) -> float:
        """Rate of the next step."""
        return learning_rate_at(self.step, self.steps_per_epoch * self.spec.epochs, self.spec)

    def batches(self) -> Iterator[np.ndarray]:
        """Training examples of the next epoch, batch by batch."""
        return batches(len(self.train), self.spec, self.step // self.steps_per_epoch + 1)

    def group(self) -> tuple[object, ...]:
        """What members of one pack have in common."""
        trained = tuple((name, p.dim()) for name, p in self.model.named_parameters() if p.requires_grad)
        spec = self.spec
        return (
            spec.model, spec.dataset, spec.method, spec.precision, spec.batch_size, spec.max_length, spec.train_limit,
            spec.val_fraction, spec.data_seed, self.context.sites.sites, trained,
        )  # fmt: skip


def batches(num_rows: int, spec: TrialSpec, epoch: int) -> Iterator[np.ndarray]:
    """Training examples of ``epoch`` (from 1): one permutation by the trial's seed, cut into batches."""
    generator = torch.Generator().manual_seed(stream_seed(spec.seed, "order", epoch))
    order = torch.randperm(num_rows, generator=generator).numpy()
    for start in range(0, len(order), spec.batch_size):
        yield order[start : start + spec.batch_size]


def packable(members: Sequence[Member]) -> bool:
    """Whether ``members`` can be one pack."""
    first = members[0]
    if first.context.padded or not is_stackable(first.model):
        return False
    return all(one.micro_batches == 1 and one.group() == first.group() for one in members)


class Pack:
    """Members that train step by step as one model; with one member, its own model.

    Members of a pack are at epoch ends of their own. ``close`` gives them back, each as if it had trained alone.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        """Raises ValueError where members can't be one pack."""
        self.members = list(members)
        self.stack: Stack | None = None
        if len(members) == 1:
            self.model = members[0].model
            return
        if not packable(members):
            raise ValueError("these trials can't be one pack: they differ in more than seed, rates and sizes")
        self.stack = Stack([member.model for member in members])
        self.model = self.stack.model
        self.optimizer = StackedAdamW(
            self.stack, [member.optimizer for member in members], [member.step for member in members]
        )

    def close(self) -> None:
        """Give each member weights and optimizer state of its own."""
        if self.stack is not None:
            self.optimizer.release()
            self.stack.release()

    def train_epoch(self) -> list[TrainedEpoch]:
        """Train every member's next epoch and return what each measured, in order.

        Losses stay on the device until the end, so that no step waits for the host. A member whose loss became NaN or
        infinite has it in its ``losses``; the others are not touched by it.
        """
        start = time.perf_counter()
        losses: list[torch.Tensor] = []
        rates: list[list[float]] = []
        sizes: list[int] = []
        tokens = np.zeros(len(self.members), np.int64)
        self.model.train()
        for indices in zip(*(member.batches() for member in self.members), strict=True):
            loss, num_tokens = self.backward(indices)
            losses.append(loss)
            sizes.append(len(indices[0]))
            rates.append([member.learning_rate for member in self.members])
            tokens += num_tokens
            self._step(rates[-1])
        values = torch.stack(losses).double().cpu().numpy()  # (steps, K)
        if self.stack is not None:
            self.optimizer.write_steps()
        seconds = time.perf_counter() - start
        return [
            TrainedEpoch(
                losses=values[:, trial].tolist(),
                learning_rates=[each[trial] for each in rates],
                train_loss=float(np.average(values[:, trial], weights=sizes)),
                num_tokens=int(tokens[trial]),
                seconds=seconds,
            )
            for trial in range(len(self.members))
        ]

    def backward(self, indices: Sequence[np.ndarray]) -> tuple[torch.Tensor, np.ndarray]:
        """Gradients of each member's mean loss over its examples ``indices`` (B,): losses (K,), and tokens (K,)."""
        num_parts = self.members[0].micro_batches
        total, tokens = torch.zeros(()), np.zeros(len(self.members), np.int64)
        for part, chunks in enumerate(zip(*(np.array_split(one, num_parts) for one in indices), strict=True)):
            if len(chunks[0]):
                loss, num_tokens = self.loss(chunks, part)
                share = loss * (len(chunks[0]) / len(indices[0]))
                share.sum().backward()
                total = total + share.detach()
                tokens += num_tokens
        return total, tokens

    def loss(self, indices: Sequence[np.ndarray], part: int = 0) -> tuple[torch.Tensor, tuple[int, ...]]:
        """The task's mean loss (K,) of each member's training examples ``indices`` (B,), and their numbers of tokens.

        ``part`` is which part of its batch that is.
        """
        members = self.members
        batch = self.batch([(one.train, at) for one, at in zip(members, indices, strict=True)], train=True)
        labels = np.concatenate([one.train.labels[at] for one, at in zip(members, indices, strict=True)])
        if isinstance(batch, PaddedBatch):
            with dropout_of(members[0].spec.seed, members[0].device, members[0].step, part):
                found = logits(self.model, batch, precision=members[0].spec.precision)
        else:
            found = logits(self.model, batch, self._masks(batch, part), members[0].spec.precision)
        each = members[0].task.loss(found, torch.from_numpy(labels).to(found.device, non_blocking=True))  # (K * B,)
        return each.view(len(members), -1).mean(1), batch.num_tokens

    def batch(
        self, parts: Sequence[tuple[LabelledSplit, np.ndarray]], *, train: bool = False
    ) -> FlatBatch | PaddedBatch:
        """The examples of each member's split, as its model takes them."""
        return batch_of(self.model, [(split.tokens, indices) for split, indices in parts], train=train)

    def _masks(self, batch: FlatBatch, part: int) -> Masks | None:
        sites = self.model.tunekit_context.sites
        if not sites.sites:
            return None
        rows = {
            MaskKind.TOKEN: batch.num_tokens,
            MaskKind.PAIR: batch.num_pairs,
            MaskKind.SEQUENCE: [batch.sequences] * len(self.members),
        }
        return sites.masks([(one.masks, (one.step, part)) for one in self.members], rows)

    def _step(self, rates: Sequence[float]) -> None:
        if self.stack is None:
            step_optimizer(self.members[0].optimizer, self.members[0].parameters, rates[0])
        else:
            self.optimizer.step(rates)
        for member in self.members:
            member.step += 1

    @torch.inference_mode()
    def predict(self, split: LabelledSplit) -> list[np.ndarray]:
        """Each member's class logits (N, C) of every example, float32, dropout off, in large batches."""
        self.model.eval()
        lengths = split.tokens.lengths
        order = np.argsort(-lengths, kind="stable")
        found: list[torch.Tensor] = []
        start = 0
        while start < len(order):
            stop = start + max(1, EVAL_TOKENS // int(lengths[order[start]]))
            batch = self.batch([(split, order[start:stop])] * len(self.members))
            part = logits(self.model, batch, precision=self.members[0].spec.precision)
            found.append(part.view(len(self.members), batch.sequences, -1))
            start = stop
        ordered = torch.cat(found, dim=1).float().cpu().numpy()
        result = np.empty_like(ordered)
        result[:, order] = ordered
        return list(result)
