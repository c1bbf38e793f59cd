"""What only a GPU can show: kernels agree with their twins, and captured steps give the bits of eager ones.

``make gpu-tests`` runs them, on a machine with a GPU.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.packs import specs_of
from tests.support.runs import numbers
from tests.support.trials import build, fingerprint, specify
from tunekit.engine.capture import CudaGraphs, Replayer
from tunekit.engine.determinism import be_deterministic
from tunekit.engine.device_steps import DeviceSteps
from tunekit.engine.host_steps import HostSteps
from tunekit.engine.job import Job
from tunekit.engine.kernels.attention import ATTENTION, FIRST_TOKEN_ATTENTION
from tunekit.engine.kernels.choice import Operation, Setting, disagreement, fallbacks
from tunekit.engine.kernels.dropout import DROPOUT
from tunekit.engine.kernels.gelu import BIAS_GELU
from tunekit.engine.kernels.residual_norm import RESIDUAL_NORM
from tunekit.engine.member import Member
from tunekit.engine.run import TrialRun
from tunekit.engine.train import Pack
from tunekit.models.loading import resolve_model
from tunekit.schema import TrialSpec

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]
GPU = torch.device("cuda")
METHODS = pytest.mark.parametrize("method", ["full", "lora", "adapter"])
PRECISIONS = pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])


@pytest.fixture(scope="module", autouse=True)
def _gpu() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.fail("torch finds no GPU here")
    be_deterministic(GPU, 1)
    yield
    torch.use_deterministic_algorithms(False)


def on_gpu(specs: list[TrialSpec], *, dropout: bool = True, micro_batches: int = 1) -> list[Member]:
    """Trials on the GPU, ready for their first epoch."""
    members = []
    for spec in specs:
        prepared, model = build(spec)
        if not dropout:
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        members.append(Member(spec, model, prepared.splits["train"], GPU, micro_batches=micro_batches))
    return members


def captured(members: list[Member]) -> Pack:
    return Pack(members, make_steps=lambda *found: DeviceSteps(found[0], found[1], CudaGraphs(GPU), found[2]))


def eager(members: list[Member]) -> Pack:
    return Pack(members, make_steps=lambda *found: DeviceSteps(found[0], found[1], None, found[2]))


def by_host(members: list[Member]) -> Pack:
    return Pack(members, make_steps=lambda members, model, note: HostSteps(members, model))


def losses(pack: Pack, epochs: int) -> np.ndarray:
    """The losses (members, steps) of ``epochs`` epochs."""
    return np.concatenate([[one.losses for one in pack.train_epoch()] for _ in range(epochs)], axis=1)


def state(member: Member) -> list[torch.Tensor]:
    kept = member.trained.values()
    return [tensor.clone() for one in kept for tensor in (one.parameter.detach(), one.first, one.second)]


@pytest.mark.parametrize("operation", [ATTENTION, FIRST_TOKEN_ATTENTION, DROPOUT, BIAS_GELU, RESIDUAL_NORM],
                         ids=lambda one: one.name)  # fmt: skip
@pytest.mark.parametrize("size", [32, 64, 384, 768])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_kernel_agrees_with_its_twin(operation: Operation, size: int, dtype: torch.dtype):
    if (size > 128) == (operation in (ATTENTION, FIRST_TOKEN_ATTENTION)):
        size = {32: 384, 64: 768, 384: 128, 768: 16}[size]
    for tf32 in (False, True) if dtype == torch.float32 else (False,):
        assert disagreement(operation, Setting(GPU, dtype, size, tf32)) is None


@METHODS
@PRECISIONS
@pytest.mark.parametrize("trials", [1, 3])
def test_captured_steps_give_the_bits_of_eager_ones(method: str, precision: str, trials: int):
    # 76 examples in batches of 8: the last batch of an epoch is smaller.
    specs = specs_of(method, epochs=9, precision=precision)[:trials]
    ours, theirs = captured(on_gpu(specs)), eager(on_gpu(specs))
    split = build(specs[0])[0].splits["test"]
    for _ in range(3):
        assert np.array_equal(losses(ours, 1), losses(theirs, 1))
        assert np.array_equal(ours.predict(split), theirs.predict(split))
    assert ours.steps.training.replayer._replays, "no step was captured"
    assert ours.steps._scoring[split].replayer._replays
    for one, other in zip(ours.members, theirs.members, strict=True):
        assert all(torch.equal(*pair) for pair in zip(state(one), state(other), strict=True))
    assert fallbacks() == ()


@METHODS
def test_captured_steps_in_parts_give_the_bits_of_eager_ones(method: str):
    specs = specs_of(method, epochs=9)[:1]
    ours, theirs = captured(on_gpu(specs, micro_batches=3)), eager(on_gpu(specs, micro_batches=3))
    assert np.array_equal(losses(ours, 3), losses(theirs, 3))
    assert ours.steps.training.replayer._replays, "no step was captured"


@METHODS
def test_steps_of_the_device_have_the_losses_of_the_host(method: str):
    specs = specs_of(method, epochs=3)
    found = losses(captured(on_gpu(specs, dropout=False)), 3)
    expected = losses(by_host(on_gpu(specs, dropout=False)), 3)
    assert np.ptp(expected, axis=1).min() > 0.005, "losses that never move would agree with anything"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@METHODS
def test_a_trial_is_the_same_alone_and_in_any_slot_of_a_pack(method: str):
    specs = specs_of(method, epochs=3)
    expected = np.concatenate([losses(captured(on_gpu([spec])), 3) for spec in specs])
    for order in (1, -1):
        found = losses(captured(on_gpu(specs[::order])), 3)
        np.testing.assert_allclose(found[::order], expected, rtol=0, atol=1e-4)


@PRECISIONS
def test_a_trial_resumed_in_the_middle_has_the_bits_of_one_that_was_not_stopped(tmp_path: Path, precision: str):
    spec = specify(method="full", epochs=6, batch_size=8, train_limit=76, precision=precision)

    def begin(sweep: Path) -> TrialRun:
        return TrialRun(Job(spec, fingerprint(spec), resolve_model(spec.model), sweep, 0, 1, "cuda"), lambda line: None)

    whole, first = begin(tmp_path / "whole"), begin(tmp_path / "stopped")
    while not whole.done:
        whole.train_epoch()
    for _ in range(3):
        first.train_epoch()
    first.save(first.records, first.member.trained)
    second = begin(tmp_path / "stopped")
    assert len(second.records) == 3
    while not second.done:
        second.train_epoch()
    assert numbers(second.records) == numbers(whole.records)
    assert second.recorded.steps.equals(whole.recorded.steps)
    assert second.recorded.predictions.equals(whole.recorded.predictions)


def test_equal_specs_give_equal_bits():
    spec = replace(specify(method="full", batch_size=8, train_limit=76), epochs=3)
    one, other = (captured(on_gpu([spec])) for _ in range(2))
    assert np.array_equal(losses(one, 3), losses(other, 3))
    assert all(torch.equal(*pair) for pair in zip(state(one.members[0]), state(other.members[0]), strict=True))


def test_the_host_never_waits_for_the_device_in_an_epoch(monkeypatch: pytest.MonkeyPatch):
    pack = captured(on_gpu(specs_of("lora", epochs=9)))
    losses(pack, 2)
    run = Replayer.run

    def watched(self: Replayer, bucket: object, left: int) -> None:
        torch.cuda.set_sync_debug_mode("error")
        try:
            run(self, bucket, left)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Replayer, "run", watched)
    assert np.isfinite(losses(pack, 2)).all()
    fresh = eager(on_gpu(specs_of("lora", epochs=9)))
    assert np.isfinite(losses(fresh, 1)).all()
