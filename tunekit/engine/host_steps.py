"""Training and scoring on a CPU: the host builds each batch and draws its masks, and every step runs at once.

On a GPU it serves models that need padding, and models that the kernels can't run (``Family.on_device``).
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from tunekit.engine.forward.dropout import DropoutMasks, MaskKind, MaskStream
from tunekit.engine.forward.flat_batch import FlatBatch
from tunekit.engine.forward.modules import context_of
from tunekit.engine.forward.padded_batch import PaddedBatch, seeded_dropout
from tunekit.engine.forward.patching import batch_of, logits
from tunekit.engine.losses import PackLoss
from tunekit.engine.member import Indices, LabelledSplit, Member
from tunekit.engine.optim import AdamW
from tunekit.engine.watchdog import note_batch
from tunekit.memory.trial import EVAL_TOKENS
from tunekit.tasks.base import IGNORED


class HostSteps:
    """The steps of ``members``, which ``model`` runs as one."""

    def __init__(self, members: Sequence[Member], model: PreTrainedModel) -> None:
        self.members, self.model, self.buffers = members, model, members[0].buffers
        self.masks = [MaskStream(member.spec.seed) for member in members]

    @cached_property
    def pack_loss(self) -> PackLoss:
        """The loss that the members minimise."""
        return PackLoss(self.members)

    @cached_property
    def optimizer(self) -> AdamW:
        """The optimizer of the members' weights."""
        return AdamW(self.members, self.model)

    def train(self, rates: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], Indices]:
        """Train the next epoch of every member, whose learning rates are ``rates`` (steps, K).

        Return the losses (steps, K), and the numbers of tokens (K,). Losses stay on the device until the end, so that
        no step waits for the host.
        """
        members, device = self.members, self.members[0].device
        on_device = torch.from_numpy(rates).to(device, torch.float64 if device.type == "cpu" else torch.float32)
        taken = torch.tensor([float(member.step) for member in members], device=device)
        losses: list[torch.Tensor] = []
        tokens = np.zeros(len(members), np.int64)
        for number, indices in enumerate(zip(*(member.batches() for member in members), strict=True)):
            loss, num_tokens = self.backward(indices, number)
            losses.append(loss)
            tokens += num_tokens
            self.optimizer.step(on_device[number], taken)
        return torch.stack(losses).double().cpu().numpy(), tokens

    def backward(self, indices: Sequence[Indices], number: int = 0) -> tuple[torch.Tensor, Indices]:
        """Add the gradients of each member's mean loss over its examples, whose ``indices`` (B,) are given.

        ``number`` counts the epoch's steps. Return the losses (K,), detached, and the numbers of tokens (K,).
        """
        num_parts = self.members[0].micro_batches
        total, tokens = torch.zeros(()), np.zeros(len(self.members), np.int64)
        for part, chunks in enumerate(zip(*(np.array_split(one, num_parts) for one in indices), strict=True)):
            if len(chunks[0]):
                loss, num_tokens = self.loss(chunks, number, part)
                share = loss * self._share_of_batch(chunks, indices)
                share.sum().backward()  # type: ignore[no-untyped-call]
                total = total + share.detach()
                tokens += num_tokens
        return total, tokens

    def _share_of_batch(self, chunks: Sequence[Indices], indices: Sequence[Indices]) -> float | torch.Tensor:
        """Return the share of the part ``chunks`` in the mean loss of its batch: of its examples, or weights (K,)."""
        if not self.pack_loss.is_weighted:
            return len(chunks[0]) / len(indices[0])
        part, whole = (
            np.array([one.example_weights[at].sum() for one, at in zip(self.members, each, strict=True)])
            for each in (chunks, indices)
        )
        shares = torch.from_numpy(part / np.where(whole > 0, whole, 1))
        return shares.to(self.members[0].device, torch.float32)

    def _targets(self, indices: Sequence[Indices]) -> torch.Tensor:
        """Return the targets (K * R,) or (K * R, C) of the rows of each member's training examples ``indices`` (B,).

        Trials with fewer rows than others have ``IGNORED`` behind their own.
        """
        members = self.members
        own = [
            torch.from_numpy(one.train.row_targets[one.train.rows(at)])
            for one, at in zip(members, indices, strict=True)
        ]
        padded = torch.nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=IGNORED)
        return padded.flatten(0, 1).to(members[0].device, non_blocking=True)

    def loss(self, indices: Sequence[Indices], number: int = 0, part: int = 0) -> tuple[torch.Tensor, tuple[int, ...]]:
        """Return each member's mean loss (K,) over its training examples ``indices`` (B,), and the tokens of each.

        The examples are part number ``part`` of the batch of the epoch's step ``number``. Dropout is on where the model
        is in training mode.
        """
        members = self.members
        batch = self.batch([(one.train, at) for one, at in zip(members, indices, strict=True)], train=True)
        if isinstance(batch, PaddedBatch):
            [member] = members
            with seeded_dropout(member.spec.seed, member.device, member.step + number, part):
                found = logits(self.model, batch, precision=member.spec.precision)
        else:
            found = logits(self.model, batch, self.draw_masks(batch, number, part), members[0].spec.precision)
        return self.pack_loss.mean(found, self._targets(indices)), batch.num_tokens

    def batch(self, parts: Sequence[tuple[LabelledSplit, Indices]], *, train: bool = False) -> FlatBatch | PaddedBatch:
        """Return the batch of each member's split and indices (B,), as the model takes it."""
        note_batch()
        return batch_of(self.model, [(split.tokens, indices) for split, indices in parts], train=train)

    def draw_masks(self, batch: FlatBatch, number: int, part: int) -> DropoutMasks | None:
        """Return the dropout masks of ``batch``, which is part number ``part`` of the epoch's step ``number``."""
        sites = context_of(self.model).sites
        if not sites.sites:
            return None
        rows = {
            MaskKind.TOKEN: batch.num_tokens,
            MaskKind.PAIR: batch.num_pairs,
            MaskKind.SEQUENCE: [batch.num_sequences] * len(self.members),
        }
        draws = zip(self.masks, self.members, strict=True)
        masks = sites.masks([(stream, (member.step + number, part)) for stream, member in draws], rows)
        device = self.members[0].device
        return masks if device.type == "cpu" else masks.to(device)

    @torch.inference_mode()
    def predict(self, split: LabelledSplit) -> npt.NDArray[np.float32]:
        """Return the logits (K, R, C) of all members for the R rows of all examples of ``split``.

        The batches are large, of sequences of similar lengths; the logits are in the order of the split.
        """
        lengths, order = split.tokens.lengths, split.longest_first
        found: list[torch.Tensor] = []
        start = 0
        while start < len(order):
            stop = start + max(1, EVAL_TOKENS // int(lengths[order[start]]))
            batch = self.batch([(split, order[start:stop])] * len(self.members))
            part = logits(self.model, batch, precision=self.members[0].spec.precision)
            found.append(part.view(len(self.members), -1, part.shape[-1]))
            start = stop
        return split.in_order(torch.cat(found, dim=1).float().cpu().numpy())
