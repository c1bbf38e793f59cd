"""Refuse, before any work, flags that no sweep can start with, storage that can't be used, and days on a CPU."""

import os
import re
import shutil
from typing import TYPE_CHECKING

from tunekit.errors import UserError
from tunekit.models.safety import refuse_kernels
from tunekit.parsing import how_many
from tunekit.planning import plugins
from tunekit.planning.args import SweepArgs
from tunekit.planning.machine import cores, has_accelerator
from tunekit.planning.options import RunOptions
from tunekit.planning.resources import Resources
from tunekit.storage.files import check_writable
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place, location
from tunekit.store.existing import SEARCH_FILE, SWEEP_FILE

if TYPE_CHECKING:
    from tunekit.planning.estimate import Timing

LONG_HOURS = 12
RAY_ADDRESS = re.compile(r"auto|local|ray://\S+|(?!.*://)\S+:\d+")
"""The forms of the address of a Ray cluster."""
SOCKET = "/ray/session_2026-11-28_12-00-00_000000_{pid}/sockets/plasma_store"
"""The path of the longest socket that Ray makes below its folder for temporary files."""
MAX_SOCKET_BYTES = 107
"""The longest path of a socket on Linux."""


def check_flags(args: SweepArgs) -> None:
    """Raise UserError on flags and packages that no sweep can start with.

    From here on the methods, datasets and models of plugins are registered.
    """
    check_options(args)
    if args.json and not args.dry_run:
        raise UserError("--json goes with --dry-run; --format json prints the closing table as JSON")
    plugins.load(args.plugin)


def check_options(options: RunOptions) -> None:
    """Raise UserError on options and packages that no sweep can start with."""
    resources_of(options)
    check_ray_settings()
    refuse_kernels()
    if options.track:
        from tunekit.trackers.available import check_trackers

        check_trackers(options.track)


def check_ray_settings() -> None:
    """Raise UserError where RAY_ADDRESS, RAY_TMPDIR or TMPDIR has a value with which Ray can't be joined or started."""
    address = os.environ.get("RAY_ADDRESS")
    if address and address.startswith(("http://", "https://")):
        raise UserError(
            f"RAY_ADDRESS={address} is the address of a dashboard; give the cluster's own, HOST:PORT as in "
            f"10.0.0.1:6379, or send this command by ray job submit --address {address}"
        )
    if address and not RAY_ADDRESS.fullmatch(address):
        raise UserError(f"RAY_ADDRESS takes HOST:PORT as in 10.0.0.1:6379, ray://HOST:PORT or auto, got {address!r}")
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder, most = os.environ.get(name, ""), MAX_SOCKET_BYTES - len(SOCKET.format(pid=os.getpid()))
    if not address and len(os.fsencode(folder)) > most:
        raise UserError(
            f"{name}={folder} is too long: Ray makes sockets below it, and the path of a socket has at most "
            f"{MAX_SOCKET_BYTES} bytes; set RAY_TMPDIR to a folder of at most {most} bytes, such as /tmp"
        )


def resources_of(options: RunOptions) -> Resources:
    """Return the resources of each trial. Raises UserError on values that no machine, or not this one, can give."""
    numbers = {
        "max-concurrent": options.max_concurrent,
        "cpus-per-trial": options.cpus_per_trial,
        "pack": options.pack,
    }
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise UserError(f"--{name} must be 1 or more, got {value}")
    if not os.environ.get("RAY_ADDRESS") and options.cpus_per_trial > cores():
        raise UserError(
            f"--cpus-per-trial {options.cpus_per_trial} is more than the {how_many(cores(), 'core')} of this machine; "
            "give fewer, or join a cluster by RAY_ADDRESS"
        )
    per_device = 1
    if options.trials_per_device != "auto":
        if not options.trials_per_device.isdigit() or int(options.trials_per_device) < 1:
            raise UserError(f"--trials-per-device takes a number from 1 or auto, got {options.trials_per_device!r}")
        per_device = int(options.trials_per_device)
    return Resources(options.cpus_per_trial, per_device, options.max_concurrent, options.pack, options.kept)


def sweep_folder(storage: str, name: str) -> Place:
    """Return the folder of the sweep called ``name``. Raises UserError where its object store can't be used."""
    return usable(location(storage) / name)


def usable(root: Place) -> Place:
    """Return ``root``. Raises UserError where its object store can't be reached or read."""
    if isinstance(root, ObjectPath):
        try:
            root.check()
        except OSError as error:
            raise UserError(f"can't use the storage {error}") from error
    return root


def refuse_search(root: Place) -> None:
    """Raise UserError where ``root`` holds a search. A grid needs a folder of its own."""
    if (root / SEARCH_FILE).exists():
        raise UserError(
            f"{root} holds a search, and a grid needs a folder of its own: give it another --sweep (in Python, another "
            "folder); tunekit search continues the search"
        )


def refuse_grid(root: Place) -> None:
    """Raise UserError where ``root`` holds a sweep that is no search. A search needs a folder of its own."""
    if not (root / SWEEP_FILE).exists() or (root / SEARCH_FILE).exists():
        return
    from tunekit.store.sweep_file import read_requests

    # A search of an earlier version has no search.json before its first trial has ended.
    if not any("search" in request for request in read_requests(root / SWEEP_FILE, None)):
        raise UserError(
            f"{root} holds a grid, and a search needs a folder of its own: give it another --sweep (in Python, another "
            "folder); tunekit run continues the grid"
        )


def check_storage(root: Place, needed: int) -> None:
    """Raise UserError where the storage can't be written or has fewer than ``needed`` bytes free, before any work."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        check_writable(root)
    except OSError as error:
        raise UserError(f"can't write to the storage {root}: {error.strerror}; give another with --storage") from error
    if isinstance(root, ObjectPath):
        return
    free = shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"the storage {root} has {free / 1e9:.1f} GB free, records and checkpoints may take {needed / 1e9:.1f} GB; "
            "free some, or give another with --storage"
        )


def refuse_long(timing: "Timing | None", args: SweepArgs, shorter: str) -> None:
    """Raise UserError where a sweep takes at least LONG_HOURS on a CPU, and the user did not give --yes."""
    if timing is not None and timing.low > LONG_HOURS * 3600 and not args.yes and not has_accelerator():
        raise UserError(
            f"this would take {timing} here; run it where there is a GPU, take --preset {shorter}, or add --yes to "
            "start it all the same"
        )
