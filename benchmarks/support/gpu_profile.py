"""What a warm epoch of ours costs the device and the host: kernels, their time, and the host's time, a step."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any
from unittest import mock

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.support.trial import Case, pack_of, train
from benchmarks.support.workers import Gate
from tunekit.engine.device_steps import Bucket, DeviceSteps
from tunekit.engine.train import Pack

WARM_EPOCHS = 3


def host_seconds(pack: Pack, device_steps: DeviceSteps) -> float:
    """Train an epoch and return the host's time from its start until its last step is launched.

    After that the host only waits for the device.
    """
    replayer = device_steps.training.replayer
    launch, launched = replayer.run, 0.0

    def timed(bucket: Bucket, left: int) -> None:
        nonlocal launched
        launch(bucket, left)
        launched = perf_counter()

    with mock.patch.object(replayer, "run", timed):
        start = perf_counter()
        train(pack)
    return launched - start


def profile_ours(gate: Gate, cases: Sequence[Case], device: str) -> None:
    """Train trials of ours as one pack and profile an epoch each turn: a worker's task."""
    pack = pack_of(cases, device)
    for _ in range(WARM_EPOCHS):
        train(pack)
    steps = pack.members[0].steps_per_epoch
    while gate.wait():
        start = perf_counter()
        train(pack)
        seconds = perf_counter() - start
        found: dict[str, Any] = {"ms a step": 1e3 * seconds / steps}
        if isinstance(pack.steps, DeviceSteps):
            found["host ms a step"] = 1e3 * host_seconds(pack, pack.steps) / steps
            found["reserved MiB"] = torch.cuda.memory_reserved() >> 20
            with profile(activities=[ProfilerActivity.CUDA]) as profiled:
                train(pack)
            kernels = [event for event in profiled.key_averages() if event.self_device_time_total]
            found["kernels a step"] = sum(event.count for event in kernels) / steps
            found["kernel ms a step"] = sum(event.self_device_time_total for event in kernels) / 1e3 / steps
            largest = sorted(kernels, key=lambda event: event.self_device_time_total, reverse=True)[:12]
            found["largest kernels, ms a step"] = {
                event.key[:80]: event.self_device_time_total / 1e3 / steps for event in largest
            }
        gate.done(found)
