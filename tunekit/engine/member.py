"""A trial as a pack trains it: its model, its training data, its trained weights, and how far it has trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.buffers import Buffers, Trained
from tunekit.engine.checkpoint import trainable
from tunekit.engine.forward.context import ForwardContext
from tunekit.engine.forward.patching import patch_model
from tunekit.engine.kernels.choice import implementation
from tunekit.engine.precision import cast_frozen_to_bf16
from tunekit.engine.schedule import decayed_names, learning_rate_at, rate_factors
from tunekit.engine.stacking import is_stackable
from tunekit.planning.batching import shared_in_packs, why_padded
from tunekit.schema import TrialSpec
from tunekit.seeding import stream_seed
from tunekit.tasks import Task, task_of

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelledSplit:
    """One split of one dataset, N examples, tokenised for one model."""

    tokens: TokenisedSplit
    """The N texts."""
    labels: npt.NDArray[Any]
    """The targets of N labels as the loss of the task takes them: int64 (N,) of classes, float32 (N,) or (N, C)."""

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Indices) -> "LabelledSplit":
        """Return the examples of ``indices`` (M,), in that order."""
        return LabelledSplit(self.tokens.subset(indices), self.labels[indices])


@dataclass(eq=False)
class Member:
    """One trial: its model, its training data, and how far it has trained."""

    spec: TrialSpec
    model: PreTrainedModel
    """The trial's model, which a member patches (``tunekit.engine.forward.patching``) and moves to its device."""
    train: LabelledSplit
    """The training data."""
    device: torch.device
    micro_batches: int = 1
    """How many parts a batch is computed in, one after another, where memory would not hold it whole."""
    class_weights: npt.NDArray[np.float64] | None = None
    """(C,), the weights that the spec's ``class_weights`` stand for (``tunekit.engine.losses``); None for none."""
    step: int = 0
    """The optimizer steps taken."""
    task: Task = field(init=False)
    """The task of the spec's dataset."""
    context: ForwardContext = field(init=False)
    """What the patched modules of the model need in a forward pass."""
    trained: dict[str, Trained] = field(init=False)
    """The trainable parameters with the optimizer's moments, by name."""
    decayed: frozenset[str] = field(init=False)
    """The names of those that weight decay shrinks."""
    rate_factors: dict[str, float] = field(init=False)
    """What the learning rate of a trained parameter is multiplied by, by its name; 1 for those that are left out."""
    buffers: Buffers = field(init=False)
    """What holds ``trained`` now: buffers of the trial alone, or those of the pack that trains it."""

    def __post_init__(self) -> None:
        if (self.spec.class_weights == "none") is not (self.class_weights is None):
            raise ValueError(
                f"the spec's class_weights are {self.spec.class_weights!r}; give the weights of each class"
            )
        self.task = task_of(self.spec.dataset)
        self.context = patch_model(
            self.model, padded=why_padded(self.model.config.model_type, self.spec.method) is not None
        )
        self.model.to(self.device)  # type: ignore[arg-type]
        if self.device.type == "cuda" and self.spec.precision == "bf16" and is_stackable(self.model):
            cast_frozen_to_bf16(self.model)  # other methods may use weights outside of products, as DoRA does
        self.decayed = decayed_names(self.model)
        self.rate_factors = rate_factors(self.model, self.spec)
        self.trained = {
            # Moments begin at 0; the buffers get memory for them.
            name: Trained(p, *[p.detach().new_zeros(()).expand(p.shape)] * 2)
            for name, p in trainable(self.model).items()
        }
        self.take_own_buffers()

    def take_own_buffers(self) -> None:
        """Move the trial's weights and moments out of the buffers that it shares, into buffers of its own."""
        self.buffers = Buffers([self.trained])

    @property
    def attention(self) -> str:
        """How attention is computed: ``padded`` by the library, or without padding.

        On a GPU that is by kernels in ``triton`` or by plain ``torch``. Where the host makes the batches, as on a CPU,
        it is ``explicit``, step by step, or by ``sdpa``.
        """
        if self.context.padded:
            return "padded"
        if self.device.type == "cuda" and self.context.on_device:
            return implementation(self.device)
        return "explicit" if self.context.sites.has_pairs else "sdpa"

    @property
    def state_bytes(self) -> int:
        """The bytes of the trained weights and their moments."""
        return sum(3 * one.parameter.nbytes for one in self.trained.values())

    def state_on_host(self) -> dict[str, Trained]:
        """Return a copy of the trained weights and moments in the host's memory, which training does not change."""
        return self.buffers.copy_on_host(self.trained)

    @property
    def steps_per_epoch(self) -> int:
        """The optimizer steps of an epoch. The last batch may be smaller than the others."""
        return -(-len(self.train) // self.spec.batch_size)

    @property
    def epochs_left(self) -> int:
        """The epochs that are not trained yet."""
        return self.spec.epochs - self.step // self.steps_per_epoch

    def learning_rates(self) -> list[float]:
        """Return the learning rate of each step of the next epoch."""
        total = self.steps_per_epoch * self.spec.epochs
        return [learning_rate_at(self.step + number, total, self.spec) for number in range(self.steps_per_epoch)]

    def batches(self) -> Iterator[Indices]:
        """Yield the indices (B,) of the next epoch's training examples, batch by batch."""
        return batches(len(self.train), self.spec, self.step // self.steps_per_epoch + 1)

    def pack_key(self) -> tuple[object, ...]:
        """Return all that the members of one pack have in common; members with equal keys can be one pack.

        What a spec holds and the key does not may differ from member to member: the optimizer and the loss have it of
        each trial for itself.
        """
        trained = tuple((name, one.parameter.dim()) for name, one in self.trained.items())
        return (*shared_in_packs(self.spec), self.context.sites.sites, trained)


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
