"""What a warm epoch of ours costs the device and the host: kernels, their time, and the host's time, a step."""

from time import perf_counter
from typing import Any
from unittest import mock

import torch
from torch.profiler import ProfilerActivity, profile

from tunekit.engine.device_steps import Bucket, DeviceSteps
from tunekit.engine.train import Pack

HOST = "host ms a step"
"""The key of the host's times."""
HOST_EPOCHS = 5
"""The epochs of which the host's time is measured."""
LARGEST = 12
"""The kernels that are named."""


def profiled(pack: Pack) -> dict[str, Any]:
    """Return what an epoch of the warm ``pack`` costs a step; nothing where the host makes its batches."""
    device_steps, steps = pack.steps, pack.members[0].steps_per_epoch
    if not isinstance(device_steps, DeviceSteps):
        return {}
    host = [1e3 * host_seconds(pack, device_steps) / steps for _ in range(HOST_EPOCHS)]
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        pack.train_epoch()
    kernels = [event for event in found.key_averages() if event.self_device_time_total]
    largest = sorted(kernels, key=lambda event: event.self_device_time_total, reverse=True)[:LARGEST]
    return {
        HOST: host,
        "reserved MiB": torch.cuda.memory_reserved() >> 20,
        "kernels a step": sum(event.count for event in kernels) / steps,
        "kernel ms a step": sum(event.self_device_time_total for event in kernels) / 1e3 / steps,
        "largest kernels, ms a step": {event.key[:80]: event.self_device_time_total / 1e3 / steps for event in largest},
    }


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
        pack.train_epoch()
    return launched - start
