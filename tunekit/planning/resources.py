"""The resources of a trial, and the number of trials that a cluster's nodes have room for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tunekit.errors import UserError
from tunekit.memory import how_many_fit


@dataclass(frozen=True)
class Resources:
    """The resources of a trial. They change no number beyond its last digits."""

    cpus_per_trial: int = 1
    trials_per_device: int = 1
    """The number of trials that share one GPU."""
    max_concurrent: int | None = None
    pack: int | None = None
    """The number of trials that one process trains together. None means as many as share a GPU, and one on a CPU."""
    keep_models: str = "none"
    """The epochs whose weights a trial keeps for export: none, last, best or all."""
    probed: bool = False
    """Whether a probe on the GPU chooses, up to ``trials_per_device``, how many trials of a grid share it."""


@dataclass(frozen=True)
class Node:
    """A machine of a cluster, with what it offers to trials."""

    node_id: str
    name: str
    """The name that messages use."""
    cpus: float
    gpus: float

    @property
    def trains(self) -> bool:
        """Whether the machine offers cores or GPUs; a head node often offers none."""
        return bool(self.cpus or self.gpus)


def pack_of(nodes: Sequence[Node], resources: Resources) -> int:
    """Return the number of trials that one process trains together."""
    return resources.pack or (resources.trials_per_device if on_gpus(nodes) else 1)


def on_gpus(nodes: Sequence[Node]) -> bool:
    """Return whether trials run on GPUs. All do where any node has one, and nodes without one then stay idle."""
    return any(node.gpus for node in nodes)


def share_of(nodes: Sequence[Node], resources: Resources) -> dict[str, float]:
    """Return the resources that a trial asks Ray for: its share of a GPU, or of the cores that its pack trains on."""
    pack = pack_of(nodes, resources)
    cpus = resources.cpus_per_trial / pack
    # Ray takes whole numbers above 1 and four places below.
    return {"cpu": int(cpus) if cpus > 1 else cpus, "gpu": 1 / pack if on_gpus(nodes) else 0}


def check_room(nodes: Sequence[Node], resources: Resources) -> None:
    """Raise UserError where no node could ever take a trial: Ray would wait for one without end."""
    if not room(nodes, resources):
        with_gpu = " beside a GPU" if on_gpus(nodes) else ""
        most = max((node.cpus for node in nodes if node.gpus or not with_gpu), default=0)
        raise UserError(
            f"a trial asks for {resources.cpus_per_trial} cores{with_gpu}, the largest node has {most:.0f}; "
            "lower --cpus-per-trial, or start when a larger node is there"
        )


def room(nodes: Sequence[Node], resources: Resources) -> int:
    """Return how many trials run at a time; a trial never spreads over nodes, nor over GPUs."""
    share, pack = share_of(nodes, resources), pack_of(nodes, resources)
    found = 0
    for node in nodes:
        by_cores = int(node.cpus / share["cpu"] + 1e-9)
        found += min(by_cores, int(node.gpus) * pack) if share["gpu"] else by_cores
    return min(found, resources.max_concurrent or found)


GIB = 2**30
CUDA_PROCESS_BYTES = GIB
"""The memory of a process's CUDA context, its libraries' workspaces and rounding (0.7 GiB on an H100)."""

MOST_PER_GPU = 32
"""The most trials on one GPU, since each trial of a pack also has a process of its own on the host."""


def limit_on_gpu(resources: Resources, peak: int | None, device: int | None) -> tuple[Resources, str]:
    """Return ``resources`` with as many trials on a GPU as fit with a tenth to spare, and a line that says why.

    ``peak`` is the largest predicted peak of a trial and ``device`` the memory of a GPU, both in bytes. Where one of
    them is None, which means that it is not known, there is one trial on a GPU. A probe may choose fewer trials later.
    """
    if peak is None or device is None:
        what = "a trial's memory has no closed form" if peak is None else "its memory is not known here"
        gpu = "a GPU of the cluster, if it has any," if device is None else "a GPU"
        line = f"{gpu} trains one trial at a time ({what}); --trials-per-device sets how many share one"
        return replace(resources, trials_per_device=1), line
    fit = max(1, min(MOST_PER_GPU, how_many_fit(peak, device - CUDA_PROCESS_BYTES)))
    trials = f"up to {fit} trials" if fit > 1 else "1 trial"
    line = f"{trials} a GPU: at most {peak / GIB:.1f} GiB each, {device / GIB:.0f} GiB there"
    return replace(resources, trials_per_device=fit, probed=fit > 1), line


def limit_on_cpu(resources: Resources, peak: int, available: int, at_a_time: int) -> tuple[Resources, str]:
    """Return ``resources`` with no more trials at a time than fit into ``available`` bytes, and a line that says why.

    A trial takes ``peak`` bytes, including its share of its process. The line is empty where ``at_a_time`` trials fit.
    """
    fit = max(1, how_many_fit(peak, available))
    if fit >= at_a_time:
        return resources, ""
    need = f"a trial may take {peak / GIB:.1f} GiB, {available / GIB:.1f} GiB are free"
    return replace(resources, max_concurrent=fit), f"{fit} of {at_a_time} trials at a time: {need}"
