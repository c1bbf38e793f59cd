"""The one training loop, for a pack of trials; a single trial is a pack of one.

Plain PyTorch. A ``Member`` is one trial with its model and data. A ``Pack`` trains its members step by step as one
model and returns what each of them measured. Each member has its own data order, dropout stream, schedule, clipping and
optimizer state, so that no member's numbers depend on the other members.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.forward.dropout import DropoutMasks, ForwardContext, MaskKind, MaskStream
from tunekit.engine.forward.flat_batch import FlatBatch
from tunekit.engine.forward.padded_batch import PaddedBatch, seeded_dropout
from tunekit.engine.forward.patching import batch_of, context_of, logits, patch_model
from tunekit.engine.optim import StackedAdamW, learning_rate_at, make_optimizer, step_optimizer
from tunekit.engine.stacking import Stack, is_stackable
from tunekit.memory.trial import EVAL_TOKENS
from tunekit.planning.batching import why_padded
from tunekit.schema import TrialSpec
from tunekit.seeding import stream_seed
from tunekit.tasks import Task, task_of

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelledSplit:
    """One split of one dataset, N examples, tokenised for one model."""

    tokens: TokenisedSplit
    """The N texts."""
    labels: npt.NDArray[np.int64]
    """(N,)."""

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Indices) -> "LabelledSplit":
        """Return the examples of ``indices`` (M,), in that order."""
        return LabelledSplit(self.tokens.subset(indices), self.labels[indices])


class Diverged(ArithmeticError):
    """A training loss or a score was NaN or infinite."""


@dataclass
class TrainedEpoch:
    """What one member's epoch of training measured. Scores come later."""

    losses: list[float]
    """The mean loss of each batch, in order."""
    learning_rates: list[float]
    """The learning rate of each step, in order."""
    train_loss: float
    """The mean loss over examples."""
    num_tokens: int
    """The tokens that the epoch trained on, padding not counted."""
    seconds: float
    """How long the epoch took, for a pack all members together."""


@dataclass(eq=False)
class Member:
    """One trial: its model, its training data, and how far it has trained."""

    spec: TrialSpec
    model: PreTrainedModel
    """The trial's model, which a member moves to its device and patches (``tunekit.engine.forward.patching``)."""
    train: LabelledSplit
    """The training data."""
    device: torch.device
    micro_batches: int = 1
    """How many parts a batch is computed in, one after another, where memory would not hold it whole."""
    step: int = 0
    """The optimizer steps taken."""
    task: Task = field(init=False)
    """The task of the spec's dataset."""
    optimizer: torch.optim.AdamW = field(init=False)
    parameters: list[nn.Parameter] = field(init=False)
    """The trainable parameters, in the order of the optimizer's groups."""
    masks: MaskStream = field(init=False)
    """The random bits of the trial's dropout."""
    context: ForwardContext = field(init=False)
    """What the patched modules of the model need in a forward pass."""

    def __post_init__(self) -> None:
        self.task = task_of(self.spec.dataset)
        self.model.to(self.device)  # type: ignore[arg-type]
        self.context = patch_model(
            self.model, padded=why_padded(self.model.config.model_type, self.spec.method) is not None
        )
        self.masks = MaskStream(self.spec.seed, self.device)
        self.optimizer = make_optimizer(self.model, self.spec)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def steps_per_epoch(self) -> int:
        """The optimizer steps of an epoch. The last batch may be smaller than the others."""
        return -(-len(self.train) // self.spec.batch_size)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return learning_rate_at(self.step, self.steps_per_epoch * self.spec.epochs, self.spec)

    def batches(self) -> Iterator[Indices]:
        """Yield the indices (B,) of the next epoch's training examples, batch by batch."""
        return batches(len(self.train), self.spec, self.step // self.steps_per_epoch + 1)

    def pack_key(self) -> tuple[object, ...]:
        """Return all that the members of one pack have in common; members with equal keys can be one pack."""
        trained = tuple((name, p.dim()) for name, p in self.model.named_parameters() if p.requires_grad)
        spec = self.spec
        return (
            spec.model, spec.dataset, spec.method, spec.precision, spec.batch_size, spec.max_length, spec.train_limit,
            spec.val_fraction, spec.data_seed, self.context.sites.sites, trained,
        )  # fmt: skip


def batches(num_rows: int, spec: TrialSpec, epoch: int) -> Iterator[Indices]:
    """Yield the batches of ``epoch`` (from 1) as indices (B,): one permutation of all rows by the trial's seed, cut."""
    generator = torch.Generator().manual_seed(stream_seed(spec.seed, "order", epoch))
    order: Indices = torch.randperm(num_rows, generator=generator).numpy()
    for start in range(0, len(order), spec.batch_size):
        yield order[start : start + spec.batch_size]


def packable(members: Sequence[Member]) -> bool:
    """Return whether ``members`` can be one pack."""
    first = members[0]
    if first.context.padded or not is_stackable(first.model):
        return False
    return all(one.micro_batches == 1 and one.pack_key() == first.pack_key() for one in members)


class Pack:
    """Members that train step by step as one model; the model of a single member is its own.

    Each member stands at the end of an epoch, not all of the same one. ``close`` gives the members back, each as if it
    had trained alone.
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
        """Train the next epoch of every member. Return what each of them measured, in the order of the members.

        Losses stay on the device until the end, so that no step waits for the host. A member whose loss became NaN or
        infinite has that value in its ``losses``; the other members' numbers stay as they are.
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

    def backward(self, indices: Sequence[Indices]) -> tuple[torch.Tensor, Indices]:
        """Add the gradients of each member's mean loss over its examples, whose ``indices`` (B,) are given.

        Return the losses (K,), detached, and the numbers of tokens (K,).
        """
        num_parts = self.members[0].micro_batches
        total, tokens = torch.zeros(()), np.zeros(len(self.members), np.int64)
        for part, chunks in enumerate(zip(*(np.array_split(one, num_parts) for one in indices), strict=True)):
            if len(chunks[0]):
                loss, num_tokens = self.loss(chunks, part)
                share = loss * (len(chunks[0]) / len(indices[0]))
                share.sum().backward()  # type: ignore[no-untyped-call]
                total = total + share.detach()
                tokens += num_tokens
        return total, tokens

    def loss(self, indices: Sequence[Indices], part: int = 0) -> tuple[torch.Tensor, tuple[int, ...]]:
        """Return each member's mean loss (K,) over its training examples ``indices`` (B,), and the tokens of each.

        ``part`` says which part of its batch these examples are. Dropout is on where the model is in training mode.
        """
        members = self.members
        batch = self.batch([(one.train, at) for one, at in zip(members, indices, strict=True)], train=True)
        labels = np.concatenate([one.train.labels[at] for one, at in zip(members, indices, strict=True)])
        if isinstance(batch, PaddedBatch):
            with seeded_dropout(members[0].spec.seed, members[0].device, members[0].step, part):
                found = logits(self.model, batch, precision=members[0].spec.precision)
        else:
            found = logits(self.model, batch, self._masks(batch, part), members[0].spec.precision)
        each = members[0].task.loss(found, torch.from_numpy(labels).to(found.device, non_blocking=True))  # (K * B,)
        return each.view(len(members), -1).mean(1), batch.num_tokens

    def batch(self, parts: Sequence[tuple[LabelledSplit, Indices]], *, train: bool = False) -> FlatBatch | PaddedBatch:
        """Return the batch of each member's split and indices (B,), as the pack's model takes it."""
        return batch_of(self.model, [(split.tokens, indices) for split, indices in parts], train=train)

    def _masks(self, batch: FlatBatch, part: int) -> DropoutMasks | None:
        sites = context_of(self.model).sites
        if not sites.sites:
            return None
        rows = {
            MaskKind.TOKEN: batch.num_tokens,
            MaskKind.PAIR: batch.num_pairs,
            MaskKind.SEQUENCE: [batch.num_sequences] * len(self.members),
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
    def predict(self, split: LabelledSplit) -> list[npt.NDArray[np.float32]]:
        """Return the logits (N, C) of each member for all N examples of ``split``, float32, with dropout off.

        The batches are large, of sequences of similar lengths; the logits are in the order of the split.
        """
        self.model.eval()
        lengths = split.tokens.lengths
        order = np.argsort(-lengths, kind="stable")  # (N,), from the longest to the shortest
        found: list[torch.Tensor] = []
        start = 0
        while start < len(order):
            stop = start + max(1, EVAL_TOKENS // int(lengths[order[start]]))
            batch = self.batch([(split, order[start:stop])] * len(self.members))
            part = logits(self.model, batch, precision=self.members[0].spec.precision)
            found.append(part.view(len(self.members), batch.num_sequences, -1))
            start = stop
        ordered = torch.cat(found, dim=1).float().cpu().numpy()  # (K, N, C)
        result = np.empty_like(ordered)
        result[:, order] = ordered
        return list(result)
