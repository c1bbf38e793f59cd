"""What a warm epoch of ours costs the device and the host: kernels, their time, and the host's time, a step."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.trial import Case, pack_of, train
from benchmarks.workers import Gate

WARM_EPOCHS = 3


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
        if device == "cuda":
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
