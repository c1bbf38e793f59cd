"""Files that are written so that neither a reader nor a power cut leaves half of one, on disks and object stores."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar, cast

from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place, in_threads

T = TypeVar("T")
R = TypeVar("R")


def write_atomic(path: Place, content: bytes, *, durable: bool = True) -> None:
    """Write ``content`` to ``path`` whole or not at all: by a temporary file, fsync and rename, or by one PUT.

    Without ``durable``, nothing waits for the disk: the file survives when the process is killed, but a power cut
    before ``sync`` can lose it. Raises OSError; ``path`` is then as before.
    """
    if isinstance(path, ObjectPath):
        path.write_bytes(content)
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def create(path: Place, content: bytes) -> bool:
    """Write ``content`` as a new file. Return False, and write nothing, where there is one.

    Of many processes that call this at once, one gets True. Raises OSError. A power cut may leave a part of the file
    on a disk.
    """
    if isinstance(path, ObjectPath):
        return path.create(content)
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def sync(path: Place) -> None:
    """Wait until the disk holds what was written to ``path``. An object store holds it already. Raises OSError."""
    if isinstance(path, ObjectPath):
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def check_writable(folder: Place) -> None:
    """Write, read and remove a file in ``folder`` as a test. Raises OSError where one of these fails."""
    if isinstance(folder, ObjectPath):
        _check_object_store(folder / f".tunekit-probe-{os.urandom(8).hex()}")
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tunekit-probe-") as inside:
        path = Path(inside) / "probe"
        write_atomic(path, b"probe")
        _check_read(path)


def _check_object_store(probe: ObjectPath) -> None:
    """Create, read, list and remove ``probe``. Raises OSError where the server does not do what a sweep relies on."""
    if not create(probe, b"probe") or create(probe, b"other"):
        raise OSError(errno.EIO, "it writes over an object that was to be written only where there is none", str(probe))
    _check_read(probe)
    if probe.name not in {one.name for one in probe.parent.iterdir()}:
        raise OSError(errno.EIO, "it does not list a file that was written a moment ago", str(probe))
    probe.unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Run the ``with`` block in one process of this machine at a time, by a lock on the file ``path``.

    The file and its folder are made where they are missing. The lock of a process that dies is free at once. Raises
    OSError where ``path`` can't be written.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def _check_read(path: Place) -> None:
    """Raise OSError where the file at ``path`` does not read as the bytes ``probe``, which were written to it."""
    if path.read_bytes() != b"probe":
        raise OSError(errno.EIO, "it returns other bytes than were written", str(path))


def sha256_of(path: Place) -> str:
    """Return the sha256 of a file's bytes as hex digits. Raises OSError."""
    if isinstance(path, ObjectPath):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_line(path: Place, line: str) -> None:
    """Append ``line`` to a text file. Raises OSError.

    On an object store the whole file is written anew, so this is for short files that one process writes.
    """
    if isinstance(path, ObjectPath):
        former = path.read_bytes() if path.exists() else b""
        path.write_bytes(former + f"{line}\n".encode())
        return
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def remove_tree(folder: Place) -> None:
    """Remove ``folder`` and everything in it. Files that can't be removed stay, and no error is raised."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        folder.rmtree()
    except OSError:
        return  # the folder does not exist, or a later call removes it


def move_file(file: Place, target: Place) -> None:
    """Rename ``file`` to ``target``, which is in the same storage. Raises OSError.

    On an object store the file is copied and then removed.
    """
    if isinstance(file, Path):
        file.rename(cast(Path, target))
        return
    file.copy(cast(ObjectPath, target))
    file.unlink()


def move_folder(folder: Place, target: Place, last: str) -> None:
    """Rename ``folder`` to ``target``, which is in the same storage. Raises OSError.

    On an object store all objects are copied and then removed, and the one called ``last`` comes after the others both
    times. Where the process is killed in between, either ``folder`` still holds ``last`` or ``target`` is complete.
    """
    if isinstance(folder, Path):
        folder.rename(cast(Path, target))
        return
    target = cast(ObjectPath, target)
    objects = sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder) == PurePosixPath(last))
    for path in objects:
        path.copy(target / path.relative_to(folder))
    for path in objects:
        path.unlink()
    remove_tree(folder)  # consoles and some tools keep an empty object that stands for the folder


def copy_folder(folder: Place, target: Path) -> None:
    """Copy ``folder`` and everything in it to ``target``, a new folder on this machine. Raises OSError."""
    if isinstance(folder, Path):
        shutil.copytree(folder, target)
        return
    for path in folder.rglob("*"):
        path.fetch(target / path.relative_to(folder))


@contextmanager
def fetched(folder: Place, names: Sequence[str]) -> Iterator[Path]:
    """Yield a folder on this machine that holds the files ``names`` of ``folder``. Raises OSError.

    It is ``folder`` itself where that is on a disk, else a temporary folder that ends with the ``with`` block.
    """
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="tunekit-") as here:
        for name in names:
            (folder / name).fetch(Path(here) / name)
        yield Path(here)


def map_files(work: Callable[[T], R], items: Iterable[T], storage: Place) -> Iterator[R]:
    """Return ``work(item)`` of each item, in order.

    Where ``storage`` is in an object store, which answers slowly, many items are worked on at the same time.
    """
    return in_threads(work, items) if isinstance(storage, ObjectPath) else map(work, items)
