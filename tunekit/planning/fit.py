"""How many trials run at a time, by what they need and what there is: pure decisions on numbers read elsewhere."""

from dataclasses import replace

from tunekit.memory import how_many_fit
from tunekit.planning.resources import Resources

GIB = 2**30
CUDA_PROCESS_BYTES = GIB
"""Of a process's CUDA context, its libraries' workspaces and what the allocator rounds up: 0.7 GiB on an H100."""

MOST_PER_GPU = 32
"""Each trial of a pack has a process of its own on the host, too."""


def on_gpu(resources: Resources, peak: int | None, device: int | None) -> tuple[Resources, str]:
    """``resources`` with as many trials a GPU of ``device`` bytes as fit with a tenth to spare, and why, in one line.

    ``peak`` is the largest predicted of any trial. None where either is not known: one trial a GPU then.
    """
    if peak is None or device is None:
        what = "no closed form of a trial's memory" if peak is None else "the memory of the cluster's GPUs is not known"
        return replace(resources, trials_per_device=1), f"one trial a GPU ({what}); --trials-per-device sets another"
    fit = max(1, min(MOST_PER_GPU, how_many_fit(peak, device - CUDA_PROCESS_BYTES)))
    line = f"{fit} trials a GPU: at most {peak / GIB:.1f} GiB each, {device / GIB:.0f} GiB there"
    return replace(resources, trials_per_device=fit), line


def on_cpu(resources: Resources, peak: int, process: int, available: int, at_a_time: int) -> tuple[Resources, str]:
    """``resources`` with no more trials at a time than fit into ``available`` bytes, and why; "" where all fit.

    Each takes ``peak`` bytes and the ``process`` bytes of its libraries.
    """
    fit = max(1, how_many_fit(peak, available, process))
    if fit >= at_a_time:
        return resources, ""
    need = f"a trial may take {(peak + process) / GIB:.1f} GiB, {available / GIB:.1f} GiB are free"
    return replace(resources, max_concurrent=fit), f"{fit} of {at_a_time} trials at a time: {need}"
