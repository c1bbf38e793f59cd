"""Training and scoring on a GPU: the host says which bucket comes next, and the device does all else.

An epoch's order of the examples and its learning rates go to the device at the epoch's start. A step is found there by
a counter, which the step itself raises: it computes its batch, and writes its loss into a row of the epoch's losses.
The host never waits for the device within an epoch. The same code runs on a CPU, for tests.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from tunekit.engine.capture import Graphs, Replayer
from tunekit.engine.casts import TrainedCasts
from tunekit.engine.forward.device_batch import DeviceSplit
from tunekit.engine.forward.patching import logits, position_offset_of
from tunekit.engine.kernels.choice import fallbacks
from tunekit.engine.kernels.masks import DropoutKeys, seed_words
from tunekit.engine.losses import PackLoss
from tunekit.engine.member import Indices, LabelledSplit, Member
from tunekit.engine.optim import AdamW
from tunekit.engine.watchdog import note_batch
from tunekit.memory.length_groups import bucket_tokens
from tunekit.memory.trial import EVAL_TOKENS
from tunekit.seeding import stream_seed

SCORED_TOKENS = 1024
"""The numbers of tokens of scoring's buckets are multiples of this."""


class Part(NamedTuple):
    """The sizes of the batch of one part of a step."""

    sequences: int
    """B."""
    tokens: int
    """T."""


Bucket = tuple[Part, ...]
"""The sizes of the parts of a step, which fix all its shapes."""


class DeviceSteps:
    """The steps of ``members``, which ``model`` runs as one, on batches without padding."""

    def __init__(
        self, members: Sequence[Member], model: PreTrainedModel, graphs: Graphs | None, note: Callable[[str], None]
    ) -> None:
        """``graphs`` captures steps; None runs all of them eagerly. ``note`` is given each line for people once."""
        self.members, self.model, self.graphs, self._note = members, model, graphs, note
        self.buffers = members[0].buffers
        self._scoring: dict[LabelledSplit, ScoringSteps] = {}
        self._said: set[str] = set()

    @cached_property
    def training(self) -> "TrainingSteps":
        """The steps of training."""
        return TrainingSteps(self.members, self.model, self._on_device(self.members[0].train), self.graphs, self._say)

    def _on_device(self, split: LabelledSplit) -> DeviceSplit:
        return DeviceSplit(
            split.tokens, split.row_targets, self.members[0].device, pad_id=self.model.config.pad_token_id or 0,
            position_offset=position_offset_of(self.model),
        )  # fmt: skip

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._note(line)

    def train(self, rates: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], Indices]:
        """Train the next epoch of every member, whose learning rates are ``rates`` (steps, K).

        Return the losses (steps, K), and the numbers of tokens (K,).
        """
        with self.graphs.stream() if self.graphs else nullcontext():
            found = self.training.run(rates)
        for line in fallbacks():
            self._say(line)
        return found

    def predict(self, split: LabelledSplit) -> npt.NDArray[np.float32]:
        """Return the logits (K, R, C) of all members for the R rows of ``split``, in the order of the split."""
        if split not in self._scoring:
            self._scoring[split] = ScoringSteps(
                self.members, self.model, split, self._on_device(split), self.graphs, self._say
            )
        with self.graphs.stream() if self.graphs else nullcontext():
            return self._scoring[split].run()


class TrainingSteps:
    """The steps of training K trials, and the tensors of an epoch, which keep their places from epoch to epoch."""

    def __init__(
        self, members: Sequence[Member], model: PreTrainedModel, split: DeviceSplit, graphs: Graphs | None,
        note: Callable[[str], None],
    ) -> None:  # fmt: skip
        first, device, num_trials = members[0], members[0].device, len(members)
        num_steps, num_rows = first.steps_per_epoch, len(first.train)
        self.members, self.model, self.split = members, model, split
        self.optimizer, self.pack_loss = AdamW(members, model), PackLoss(members)
        self.casts = TrainedCasts(model, self.members[0].buffers) if first.spec.precision == "bf16" else None
        self.replayer = Replayer(self._step, graphs, note)
        self.order = torch.zeros(num_trials, num_rows, dtype=torch.int64, device=device)
        """The examples of each trial's epoch, in order."""
        self.shares = torch.zeros(num_steps, first.micro_batches, num_trials, device=device)
        """The share of each part in the mean loss of its batch."""
        self.rates, self.losses = (torch.zeros(num_steps, num_trials, device=device) for _ in range(2))
        self.taken = torch.zeros(num_trials, device=device)
        """The steps that each trial has taken."""
        self.first_steps = torch.zeros(num_trials, dtype=torch.int32, device=device)
        """The number of each trial's first step in the epoch."""
        self.step = torch.zeros(1, dtype=torch.int64, device=device)
        """The number of the next step in the epoch."""
        self.numbers = torch.arange(num_steps, device=device)[:, None]
        self.seeds = seed_words([stream_seed(member.spec.seed, "dropout") for member in members]).to(device)
        self.part_numbers = torch.arange(first.micro_batches, dtype=torch.int32, device=device)
        begins = np.arange(num_steps) * first.spec.batch_size
        sizes = np.minimum(first.spec.batch_size, num_rows - begins)  # (steps,), B of each step
        parts = [np.cumsum([0, *map(len, np.array_split(np.arange(size), first.micro_batches))]) for size in sizes]
        self.bounds = begins[:, None] + np.array(parts)  # (steps, parts + 1), where parts begin and end in the order
        self.begins = torch.from_numpy(self.bounds[:, :-1]).to(device)

    @property
    def state(self) -> list[torch.Tensor]:
        """All tensors that a step changes."""
        buffers = self.members[0].buffers
        return [self.losses, self.taken, self.step, buffers.weights, buffers.first, buffers.second]

    def run(self, rates: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], Indices]:
        """Train an epoch at ``rates`` (steps, K). Return losses (steps, K) and numbers of tokens (K,)."""
        members = self.members
        orders = np.stack([np.concatenate(list(member.batches())) for member in members])  # (K, N)
        taken = np.array([member.step for member in members])
        for tensor, values in (
            (self.order, orders), (self.rates, rates), (self.taken, taken), (self.first_steps, taken),
            (self.shares, self._shares_of(orders)),
        ):  # fmt: skip
            tensor.copy_(torch.from_numpy(values))
        self.step.zero_()
        lengths = members[0].train.tokens.lengths[orders]  # (K, N)
        buckets = self._buckets(lengths)
        in_epoch, left = Counter(buckets), Counter(buckets)
        epochs_after = min(member.epochs_left for member in members) - 1
        for bucket in buckets:
            note_batch()
            self.replayer.run(bucket, left[bucket] + epochs_after * in_epoch[bucket])
            left[bucket] -= 1
        return self.losses.double().cpu().numpy(), lengths.sum(axis=1)

    def _shares_of(self, orders: Indices) -> npt.NDArray[np.float64]:
        """Return the share of each part in the mean loss of its batch, (steps, parts, K), for ``orders`` (K, N)."""
        weights = np.stack([one.example_weights[order] for one, order in zip(self.members, orders, strict=True)])
        before = np.cumsum(np.pad(weights, ((0, 0), (1, 0))), axis=1)  # (K, N + 1), the weight before each example
        parts = np.diff(before[:, self.bounds])  # (K, steps, parts)
        whole = parts.sum(-1, keepdims=True)
        shares: npt.NDArray[np.float64] = parts / np.where(whole > 0, whole, 1)
        return shares.transpose(1, 2, 0)

    def _buckets(self, lengths: Indices) -> list[Bucket]:
        """Return the bucket of each step, for ``lengths`` (K, N) of the examples in order."""
        before = np.cumsum(np.pad(lengths, ((0, 0), (1, 0))), axis=1)  # (K, N + 1), the tokens before each example
        tokens = np.diff(before[:, self.bounds]).max(axis=0)  # (steps, parts)
        return [
            tuple(Part(size, bucket_tokens(width)) for size, width in zip(*each, strict=True) if size)
            for each in zip(np.diff(self.bounds).tolist(), tokens.tolist(), strict=True)
        ]

    def _step(self, bucket: Bucket) -> None:
        """Train the step that the counter points at, whose parts have the sizes of ``bucket``."""
        # A capture that broke off has left gradients that were never computed.
        self.optimizer.free_gradients()
        first = self.members[0]
        begins = self.begins.index_select(0, self.step)[0]  # (parts,), where each part begins in the order
        steps = self.first_steps + self.step.to(torch.int32)
        losses, shares = torch.zeros_like(self.losses[0]), self.shares.index_select(0, self.step)[0]
        for number, part in enumerate(bucket):
            batch = self.split.batch(self.order, begins[number], part.sequences, part.tokens)
            keys = DropoutKeys(self.seeds, steps, self.part_numbers[number : number + 1])
            with self.casts.in_bf16() if self.casts else nullcontext():
                found = logits(self.model, batch, keys, first.spec.precision)
            share = self.pack_loss.mean(found, batch.labels) * shares[number]
            share.sum().backward()  # type: ignore[no-untyped-call]
            losses += share.detach()
        self.losses.copy_(torch.where(self.numbers == self.step, losses, self.losses))
        self.optimizer.step(self.rates.index_select(0, self.step)[0], self.taken)
        self.step.add_(1)


class ScoringSteps:
    """The steps of scoring one split by K trials, in batches of sequences of similar lengths."""

    def __init__(
        self, members: Sequence[Member], model: PreTrainedModel, scored: LabelledSplit, split: DeviceSplit,
        graphs: Graphs | None, note: Callable[[str], None],
    ) -> None:  # fmt: skip
        """``scored`` is the split, which ``split`` holds on the device."""
        device, num_trials, order = members[0].device, len(members), scored.longest_first
        lengths = scored.tokens.lengths[order]
        self.members, self.model, self.scored, self.split = members, model, scored, split
        self.replayer = Replayer(self._step, graphs, note)
        bounds = [0]
        while bounds[-1] < len(lengths):
            count = max(1, EVAL_TOKENS // int(lengths[bounds[-1]]))
            # Powers of two, the last batch apart, so that few buckets serve all batches.
            bounds.append(min(len(lengths), bounds[-1] + (1 << count.bit_length() - 1)))
        tokens = np.diff(np.cumsum([0, *lengths])[bounds])
        self.row_bounds = np.cumsum([0, *np.diff(scored.row_offsets)[order]])[bounds].tolist()
        """The first row of logits of each batch, and the end of the last batch's rows."""
        self.buckets = [
            Part(end - begin, bucket_tokens(int(width), SCORED_TOKENS))
            for begin, end, width in zip(bounds, bounds[1:], tokens, strict=False)
        ]
        self.begins = torch.tensor(bounds[:-1], device=device)
        self.order = torch.from_numpy(order).to(device).expand(num_trials, -1)
        self.step = torch.zeros(1, dtype=torch.int64, device=device)
        """The number of the next batch."""
        num_labels = model.config.num_labels
        most = max(part.tokens if split.of_words else part.sequences for part in self.buckets)
        self.batch_logits = torch.zeros(num_trials, most, num_labels, device=device)
        """The logits of the step that ran last."""
        self.logits = torch.zeros(num_trials, self.row_bounds[-1], num_labels, device=device)

    def run(self) -> npt.NDArray[np.float32]:
        """Return the logits (K, R, C), in the order of the split."""
        self.step.zero_()
        counts, epochs = Counter(self.buckets), 1 + min(member.epochs_left for member in self.members)
        for bucket, begin, end in zip(self.buckets, self.row_bounds, self.row_bounds[1:], strict=False):
            note_batch()
            self.replayer.run(bucket, counts[bucket] * epochs)
            self.logits[:, begin:end].copy_(self.batch_logits[:, : end - begin])
        return self.scored.in_order(self.logits.cpu().numpy())

    @torch.no_grad()
    def _step(self, bucket: Part) -> None:
        """Compute the logits of the batch that the counter points at, whose sizes are those of ``bucket``."""
        begin = self.begins.index_select(0, self.step)
        batch = self.split.batch(self.order, begin, bucket.sequences, bucket.tokens)
        found = logits(self.model, batch, precision=self.members[0].spec.precision)
        rows = found.view(len(self.members), -1, found.shape[-1])
        self.batch_logits[:, : rows.shape[1]].copy_(rows)
        self.step.add_(1)
