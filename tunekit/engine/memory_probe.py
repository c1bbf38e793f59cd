"""The bytes that one training step keeps and allocates, measured while the engine itself computes the step.

The closed forms of ``tunekit.memory`` are checked against these measurements, and where a model or a method has no
closed form they take its place.
"""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from tunekit.data.tokens import TokenisedSplit, Words
from tunekit.engine.build import adapt
from tunekit.engine.host_steps import HostSteps
from tunekit.engine.member import LabelledSplit, Member
from tunekit.engine.train import Pack
from tunekit.memory import ADAMW_STATES, FP32
from tunekit.memory.trial import PROCESS_BYTES, STEP
from tunekit.methods.base import count_parameters
from tunekit.models.families import FAMILIES
from tunekit.schema import TrialSpec
from tunekit.tasks import task_of


def member_of(
    config: Mapping[str, Any], spec: TrialSpec, lengths: Sequence[int], num_labels: int, device: str = "cpu"
) -> Member:
    """Return a trial of a model with random weights, which trains on one sequence of each of ``lengths``.

    The model is built from ``config``, the values of a config.json. The loss has no class weights, which take next to
    no memory.

    Raises UserError where the method does not fit the model.
    """
    kind = FAMILIES[config["model_type"]]
    config_class, model_class = kind.config_class(), kind.model_class(task_of(spec.dataset).head_class)
    usual: int = config_class().pad_token_id or 0
    pad = usual if usual < config["vocab_size"] - 1 else 0  # ModernBERT's padding id exceeds a small vocabulary
    values = {"pad_token_id": pad, **config, "num_labels": num_labels, "attn_implementation": kind.attention}
    model = model_class(config_class(**values))
    adapt(model, spec)
    targets: dict[str, npt.NDArray[Any]] = {
        "class": np.zeros(1, np.int64),
        "number": np.zeros(1, np.float32),
        "labels": np.zeros((1, num_labels), np.float32),
        "tags": np.zeros(1, np.int64),
    }
    task = task_of(spec.dataset)
    sequences = _sequences(lengths, pad + 1, targets[task.form], of_words=task.of_words)
    plain = replace(spec, class_weights=TrialSpec.class_weights)
    member = Member(plain, model, sequences, torch.device(device))
    model.train()
    return member


def _sequences(
    lengths: Sequence[int], token: int, targets: npt.NDArray[Any], *, of_words: bool = False
) -> LabelledSplit:
    """Return sequences of ``lengths`` that hold nothing but ``token``, all with the first of ``targets``.

    With ``of_words`` each token is a word and has that target.
    """
    total = sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    begun = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    words = Words(begun, np.array(lengths, np.int64)) if of_words else None
    tokens = TokenisedSplit(np.full(total, token, np.int32), np.zeros(total, np.int8), offsets, 0, words)
    return LabelledSplit(tokens, np.repeat(targets[:1], total if of_words else len(lengths), axis=0))


class _Saved:
    """A tensor that the graph has saved; it lives as long as the graph."""

    def __init__(self, tensor: torch.Tensor) -> None:
        # Detached, since a node that saves its own output would otherwise be held by it for ever.
        self.tensor = tensor.detach()


def autograd_bytes(member: Member) -> int:
    """Return the bytes that the graph keeps once the loss of all of ``member``'s examples is computed.

    A storage counts once, however many tensors share it. Parameters don't count.
    """
    parameters = {parameter.untyped_storage()._cdata for parameter in member.model.parameters()}
    alive: weakref.WeakSet[_Saved] = weakref.WeakSet()

    def hold(tensor: torch.Tensor) -> _Saved:
        saved = _Saved(tensor)
        alive.add(saved)
        return saved

    with saved_tensors_hooks(hold, lambda saved: saved.tensor):
        loss, _ = HostSteps([member], member.model).loss([np.arange(len(member.train))])
    storages = [saved.tensor.untyped_storage() for saved in alive]
    sizes = {storage._cdata: storage.nbytes() for storage in storages}
    del loss
    return sum(size for storage, size in sizes.items() if storage not in parameters)


def make_weights_fake(member: Member) -> FakeTensorMode:
    """Replace ``member``'s weights, in place, by fake tensors, which have a shape and no data.

    Return the mode in which the member then runs the same operators on shapes alone, so that batches which no memory
    could hold can be measured.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    for module in member.model.modules():
        for name, weight in module.named_parameters(recurse=False):
            empty = mode.from_tensor(weight.detach())
            module.register_parameter(name, nn.Parameter(empty, requires_grad=weight.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, mode.from_tensor(buffer))
    return mode


def with_lengths(member: Member, lengths: Sequence[int]) -> Member:
    """Give ``member`` one sequence of each of ``lengths`` as its training examples, and return it."""
    token, of_words = (member.model.config.pad_token_id or 0) + 1, member.task.of_words
    member.train = _sequences(lengths, token, member.train.labels, of_words=of_words)
    return member


def step_bytes(member: Member) -> int:
    """Return the most bytes that a training step on all of ``member``'s examples holds beside weights and optimizer.

    On CUDA this is the allocator's own peak, on a CPU the highest running sum of what torch's profiler saw allocated
    and freed.
    """
    _step(member)  # the libraries take workspaces at their first products
    if member.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(member.device)
        before = torch.cuda.memory_allocated(member.device)
        _step(member)
        return torch.cuda.max_memory_allocated(member.device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        _step(member)
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(0, int(np.cumsum(changes).max()))


def measure_peak(
    config: Mapping[str, Any], spec: TrialSpec, lengths: Sequence[int], num_labels: int, *, gpu: bool
) -> int:
    """Return peak bytes of training on sequences of ``lengths``, measured by two steps of a model with random weights.

    They count what ``trial_peak`` counts on a GPU or a CPU, without scoring. This serves models and methods without a
    closed form. Raises UserError where the method does not fit the model.
    """
    member = member_of(config, spec, lengths, num_labels)
    trainable, total = count_parameters(member.model)
    buffers = sum(buffer.nbytes for buffer in member.model.buffers())  # VeRA's random matrices are such
    state, step = FP32 * (total + ADAMW_STATES * trainable) + buffers, step_bytes(member)
    return state + step if gpu else PROCESS_BYTES + state + int(STEP * step)


def _step(member: Member) -> None:
    Pack([member]).train_epoch()  # one step, since all examples fit into a batch
    member.step = 0
