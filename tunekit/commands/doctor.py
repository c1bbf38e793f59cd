"""`tunekit doctor`: check whether this machine is fit for a sweep. The line of a problem says how to mend it.

Nothing is fetched, and Ray is not started. Heavy packages are imported only where a check needs them.
"""

import os
import shutil
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from tunekit.commands.checks import check_ray_settings
from tunekit.data.base import DATASETS, PINNED
from tunekit.data.copies import load_dataset
from tunekit.data.files import NotHere, nothing_fetched
from tunekit.errors import UserError
from tunekit.models import hub
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef, hub_id_of
from tunekit.models.safety import refuse_kernels
from tunekit.planning import disk, machine
from tunekit.planning.args import GridArgs
from tunekit.planning.plan import plan_sweep
from tunekit.planning.resolve import ResolvedSweep, resolve_grid
from tunekit.planning.sizes import shapes_of
from tunekit.schema import TrialSpec
from tunekit.storage.files import check_writable
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place
from tunekit.store.result_store import ResultStore


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    ok: bool
    text: str
    """The finding, and for a problem how to mend it."""

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'problem':<8} {self.subject}: {self.text}"


def examine(storage: Place, config: Path | None, keep_models: str = "none") -> Iterator[Finding]:
    """Yield a finding on everything that a sweep needs; with ``config``, a grid's YAML file, that this grid needs.

    ``keep_models`` is the value of the grid's flag. Raises UserError where ``config`` can't be read.
    """
    yield from _versions()
    yield _kernels()
    yield _gpu()
    if machine.has_accelerator():
        yield _compiler()
    yield _ray(storage)
    yield _storage(storage)
    sweep = resolve_grid(GridArgs(config=config), {}) if config else None
    yield _disk(storage, sweep, keep_models)
    own = sweep.own_data if sweep else {}
    for name in dict.fromkeys(spec.dataset for spec in sweep.specs) if sweep else DATASETS:
        yield Finding(f"data {name}", True, "read from your files") if name in own else _data(name)
    for ref in sweep.models.values() if sweep else (ModelRef(name, MODELS[name].revision) for name in MODELS):
        yield _model(ref)


def _versions() -> Iterator[Finding]:
    """Compare the installed packages with the ranges in this package's own metadata."""
    wanted = [Requirement(text) for text in requires("tunekit") or []]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = []
    for one in wanted:
        try:
            found = version(one.name)
        except PackageNotFoundError:
            found = "not installed"
        if found == "not installed" or not one.specifier.contains(found, prereleases=True):
            wrong.append(f"{one.name} is {found}, supported is {one.specifier}")
    for text in wrong:
        yield Finding("versions", False, f"{text}; pip install -c constraints.txt -e .")
    if not wrong:
        yield Finding("versions", True, f"{len(wanted)} packages in their supported ranges")


def _kernels() -> Finding:
    try:
        refuse_kernels()
    except UserError as error:
        return Finding("kernels", False, str(error))
    return Finding("kernels", True, "not installed, so that no model of the hub can bring code that transformers runs")


def _gpu() -> Finding:
    if not machine.has_accelerator():
        return Finding("gpu", True, f"none here; trials run on {machine.cores()} processor cores")
    import torch

    if not torch.cuda.is_available():
        return Finding("gpu", False, "there is one, but torch can't use it; install torch's CUDA build, or its driver")
    return Finding("gpu", True, f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}")


def _compiler() -> Finding:
    """Look for a C compiler and Python's headers, with which Triton compiles the launchers of a GPU's kernels."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    missing = [*([] if compiler else ["a C compiler"]), *([] if header.exists() else [str(header)])]
    if missing:
        return Finding(
            "compiler",
            False,
            "plain PyTorch computes what Triton's kernels would compute faster on the GPU, for lack of "
            f"{' and '.join(missing)}; install gcc and Python's headers (on Debian python3-dev)",
        )
    return Finding("compiler", True, f"{compiler} and Python's headers, for the GPU's kernels")


def _ray(storage: Place) -> Finding:
    """Check the cluster of RAY_ADDRESS and its nodes, or say that Ray would be started here."""
    try:
        check_ray_settings()
    except UserError as error:
        return Finding("ray", False, str(error))
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        if os.environ.get("RAY_AUTH_MODE", "token") != "token":
            return Finding("ray", False, "RAY_AUTH_MODE turns token authentication off; unset it")
        return Finding("ray", True, "started here with a sweep, with a token and its dashboard on loopback")
    from tunekit.runner import nodes, session  # imports ray, which takes seconds and only a cluster needs

    try:
        joined = session.connect()
    except UserError as error:
        return Finding("ray", False, str(error))
    try:
        folder = _existing(storage)
        with nodes.asked(joined, folder, folder / f".tunekit-probe-{os.getpid()}"):
            pass
    except (UserError, OSError) as error:
        return Finding("ray", False, str(error))
    finally:
        session.disconnect(joined)
    if session.answers_without_token(joined.dashboard):
        return Finding("ray", False, session.open_line(joined.dashboard))
    found = f"{len(joined.nodes)} nodes, {joined.num_cpus:.0f} cores, {joined.num_gpus:.0f} GPUs, token asked for"
    return Finding("ray", True, f"{address}: {found}")


def _existing(folder: Place) -> Place:
    """Return ``folder``, or the nearest folder above it that exists."""
    folder = folder.resolve()
    if isinstance(folder, ObjectPath):
        return folder
    return folder if folder.is_dir() else _existing(folder.parent)


def _storage(storage: Place) -> Finding:
    """Write, rename and read in ``storage``, or in the folder in which it would be made."""
    folder = _existing(storage)
    try:
        check_writable(folder)
    except OSError as error:
        return Finding("storage", False, f"{folder} can't be written ({error.strerror}); give another with --storage")
    how = "listed and read" if isinstance(storage, ObjectPath) else "renamed in and read"
    return Finding("storage", True, f"{storage} can be written, {how}")


def _pending(sweep: ResolvedSweep, storage: Place) -> list[TrialSpec]:
    """Return the trials of ``sweep`` that a run would train."""
    plan = plan_sweep(sweep, ResultStore(storage / sweep.name))
    return [trial.spec for trial in plan.pending(retry_failed=False)]


def _disk(storage: Place, sweep: ResolvedSweep | None, keep_models: str) -> Finding:
    """Compare the free space with that which the records of a run of ``sweep`` take, if there is a sweep."""
    if isinstance(storage, ObjectPath):
        return Finding("disk", True, "not looked at: records and checkpoints go to an object store")
    free = shutil.disk_usage(str(_existing(storage))).free
    needed, text = 0, f"{free / 1e9:.1f} GB free"
    if sweep and (specs := _pending(sweep, storage)):
        needed = disk.disk_bytes(specs, shapes_of(sweep), machine.cores(), keep_models)
        text += f", records and checkpoints of {len(specs)} trials may take {needed / 1e9:.1f} GB"
    return Finding("disk", free >= needed, text if free >= needed else f"{text}; free some, or give another --storage")


def _data(name: str) -> Finding:
    """Check a registered dataset's files and their hashes, where they are on this machine."""
    subject = f"data {name}"
    if DATASETS[name].content_hash.startswith(PINNED):
        return Finding(subject, True, "read from the hub at a pinned revision when a trial needs it; not looked at")
    try:
        with nothing_fetched():
            load_dataset(name)
    except NotHere as error:
        return Finding(subject, True, str(error))
    except UserError as error:
        return Finding(subject, False, str(error))
    return Finding(subject, True, "here, with its declared hash")


def _model(ref: ModelRef) -> Finding:
    """Check whether a model's files are on this machine."""
    subject = f"model {ref.name}"
    if ref.path:
        return Finding(subject, True, f"read from {ref.path}")
    hub_id = hub_id_of(ref)
    if ref.name == "minilm":
        try:
            hub.folder_of_minilm(ref.revision)
        except UserError as error:
            return Finding(subject, False, str(error))
        return Finding(subject, True, "its package is here, with its hash")
    if hub_id is None:
        return Finding(subject, True, "built here")
    missing = hub.not_cached(hub_id, ref.revision)
    if not missing:
        return Finding(subject, True, f"{hub_id} is in the cache")
    text = f"{' and '.join(missing)} of {hub_id} not in the cache"
    if os.environ.get("HF_HUB_OFFLINE", "0") in ("0", ""):
        return Finding(subject, True, f"{text}; fetched from the hub when a trial needs them")
    return Finding(subject, False, f"{text}, and HF_HUB_OFFLINE is set; unset it once where the hub can be reached")
