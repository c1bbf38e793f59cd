"""A trial as a pack trains it: its model, its training data, its trained weights, and how far it has trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit, ranges
from tunekit.engine.buffers import Buffers, Trained
from tunekit.engine.checkpoint import trainable
from tunekit.engine.forward.context import ForwardContext
from tunekit.engine.forward.joint_linear import lay_side_by_side
from tunekit.engine.forward.patching import patch_model
from tunekit.engine.kernels.choice import implementation
from tunekit.engine.precision import cast_frozen_to_bf16
from tunekit.engine.schedule import decayed_names, learning_rate_at, rate_factors
from tunekit.engine.stacking import is_stackable
from tunekit.planning.batching import shared_in_packs, why_padded
from tunekit.schema import TrialSpec
from tunekit.seeding import stream_seed
from tunekit.tasks import Task, task_of
from tunekit.tasks.base import IGNORED

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelledSplit:
    """One split of one dataset, N examples, tokenised for one model.

    The model computes R *rows* of logits for them: one for each text, or one for each token where words have labels.
    """

    tokens: TokenisedSplit
    """The N texts."""
    labels: npt.NDArray[Any]
    """The targets of N labels as the loss of the task takes them: int64 (N,) of classes, float32 (N,) or (N, C); int64
    (words of all texts,) where words have labels."""

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def row_offsets(self) -> Indices:
        """The number (N + 1,) of the first row of each example, and R at the end."""
        return np.arange(len(self) + 1) if self.tokens.words is None else self.tokens.offsets

    @cached_property
    def word_offsets(self) -> Indices:
        """The number (N + 1,) of the first word of each text, counted over all texts, and that of all words."""
        assert self.tokens.words is not None
        return np.concatenate([[0], np.cumsum(self.tokens.words.counts)])

    @cached_property
    def words_of_rows(self) -> Indices:
        """The number (R,) of the word that each token begins, counted over all texts; -1 for all other tokens."""
        assert self.tokens.words is not None
        begun = self.tokens.words.begun
        return np.where(begun >= 0, begun + np.repeat(self.word_offsets[:-1], self.tokens.lengths), -1)

    @cached_property
    def row_targets(self) -> npt.NDArray[Any]:
        """The target (R,) or (R, C) of each row in the loss; ``IGNORED`` for a token that begins no word."""
        if self.tokens.words is None:
            return self.labels
        return np.where(self.words_of_rows >= 0, self.labels[self.words_of_rows], IGNORED)

    @cached_property
    def weights(self) -> Indices:
        """The weight (N,) of each example in the mean loss of a batch: 1, or the number of its words that are read."""
        if self.tokens.words is None:
            return np.ones(len(self), np.int64)
        return np.diff(np.concatenate([[0], np.cumsum(self.words_of_rows >= 0)])[self.tokens.offsets])

    def rows(self, indices: Indices) -> Indices:
        """Return the numbers of the rows of the examples ``indices`` (M,), in that order."""
        return indices if self.tokens.words is None else ranges(self.row_offsets, indices)

    @cached_property
    def longest_first(self) -> Indices:
        """The indices (N,) of the examples from the longest to the shortest: the order in which they are scored."""
        return np.argsort(-self.tokens.lengths, kind="stable")

    def in_order(self, scored: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return ``scored`` (K, R, C), the logits of the rows of ``longest_first``, in the order of the split."""
        result: npt.NDArray[np.float32] = np.empty_like(scored)
        result[:, self.rows(self.longest_first)] = scored
        return result

    def by_example(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | list[npt.NDArray[np.float32]]:
        """Return the logits (R, C) of all rows as the task takes them.

        They are unchanged or, where words have labels, N arrays (words, C), in which a word that is not read has zeros.
        """
        if self.tokens.words is None:
            return logits
        of_words = np.zeros((len(self.labels), logits.shape[1]), np.float32)
        is_word = self.words_of_rows >= 0
        of_words[self.words_of_rows[is_word]] = logits[is_word]
        return np.split(of_words, self.word_offsets[1:-1])

    def subset(self, indices: Indices) -> "LabelledSplit":
        """Return the examples of ``indices`` (M,), in that order."""
        labels = indices if self.tokens.words is None else ranges(self.word_offsets, indices)
        return LabelledSplit(self.tokens.subset(indices), self.labels[labels])


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
    """The weight (C,) of each class by the spec (``losses.class_weights``); None where it asks for none."""
    step: int = 0
    """The optimizer steps taken."""
    task: Task = field(init=False)
    """The task of the spec's dataset."""
    context: ForwardContext = field(init=False)
    """What the patched modules of the model need in a forward pass."""
    trained: dict[str, Trained] = field(init=False)
    """The trainable parameters with the optimizer's moments, by name."""
    decayed: frozenset[str] = field(init=False)
    """The names of the trainable parameters that weight decay shrinks."""
    rate_factors: dict[str, float] = field(init=False)
    """The factor of a trained parameter's learning rate, by the parameter's name; 1 for a name that is left out."""
    buffers: Buffers = field(init=False)
    """The buffers that hold ``trained`` now: the trial's own, or those of the pack that trains it."""

    def __post_init__(self) -> None:
        if (self.spec.class_weights == "none") is not (self.class_weights is None):
            raise ValueError(
                f"the spec's class_weights are {self.spec.class_weights!r}; give the weights of each class"
            )
        self.task = task_of(self.spec.dataset)
        self.context = patch_model(
            self.model,
            padded=why_padded(self.model.config.model_type, self.spec.method) is not None,
            of_words=self.task.of_words,
        )
        self.model.to(self.device)  # type: ignore[arg-type]
        if self.device.type == "cuda" and self.spec.precision == "bf16" and is_stackable(self.model):
            cast_frozen_to_bf16(self.model)  # other methods may use weights outside of products, as DoRA does
        if self.device.type == "cuda" and self.context.on_device:
            lay_side_by_side(self.model)
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
        """How attention is computed.

        ``padded`` is the library's own attention on padded batches. Without padding it is ``triton`` or ``torch`` on
        batches that a GPU makes, and ``explicit`` (step by step) or ``sdpa`` on batches that the host makes.
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

    @cached_property
    def example_weights(self) -> npt.NDArray[np.float64]:
        """The weight (N,) of each training example in the mean loss of a batch, by its words and its class."""
        weights = self.train.weights.astype(np.float64)
        return weights if self.class_weights is None else weights * self.class_weights[self.train.labels]

    def learning_rates(self) -> list[float]:
        """Return the learning rate of each step of the next epoch."""
        total = self.steps_per_epoch * self.spec.epochs
        return [learning_rate_at(self.step + number, total, self.spec) for number in range(self.steps_per_epoch)]

    def batches(self) -> Iterator[Indices]:
        """Yield the indices (B,) of the next epoch's training examples, batch by batch."""
        return batches(len(self.train), self.spec, self.step // self.steps_per_epoch + 1)

    def pack_key(self) -> tuple[object, ...]:
        """Return all that the members of one pack have in common; members with equal keys can be one pack.

        Fields of the spec that the key leaves out may differ: the optimizer and the loss treat each trial by its own.
        """
        trained = tuple((name, one.parameter.dim()) for name, one in self.trained.items())
        return (*shared_in_packs(self.spec), self.context.sites.sites, trained)


def batches(num_rows: int, spec: TrialSpec, epoch: int) -> Iterator[Indices]:
    """Yield the batches of ``epoch`` (from 1) as indices (B,), cut from one permutation of all rows by the seed."""
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
