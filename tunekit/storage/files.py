"""Writing files so that a reader or a power cut never sees half of one, on disks and object stores alike."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar

from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place, in_threads

T, R = TypeVar("T"), TypeVar("R")
COPY_BYTES = 2**24


def write_atomic(path: Place, content: bytes, *, durable: bool = True) -> None:
    """Write ``content`` by a temporary file, fsync and rename; on an object store by a PUT.

    Without ``durable`` nothing waits for the disk: a killed process loses nothing, a power cut may, until ``sync``.
    Raises OSError; ``path`` is then as before.
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


def sync(path: Place) -> None:
    """Wait until the disk holds what was written to ``path``; an object that was PUT is there. Raises OSError."""
    if isinstance(path, ObjectPath):
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def check_writable(folder: Place) -> None:
    """Write, rename and read a file in ``folder`` and remove it. Raises OSError where that can't be done."""
    if isinstance(folder, ObjectPath):
        path = folder / f".tunekit-probe-{os.urandom(8).hex()}"
        _check_written(path)
        if path.name not in {one.name for one in folder.iterdir()}:
            raise OSError(errno.EIO, "it does not list what was written a moment ago", str(folder))
        path.unlink()
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tunekit-probe-") as inside:
        _check_written(Path(inside) / "probe")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Do in one process of this machine at a time what follows, by the lock file ``path``, made with its folder.

    A process that dies lets go of it. Raises OSError where ``path`` can't be written.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def _check_written(path: Place) -> None:
    write_atomic(path, b"probe")
    if path.read_bytes() != b"probe":
        raise OSError(errno.EIO, "it gives back other bytes than were written", str(path.parent))


def sha256_of(path: Place) -> str:
    """Hex sha256 of a file's bytes."""
    if isinstance(path, ObjectPath):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_line(path: Place, line: str) -> None:
    """Put ``line`` at the end of a text. On an object store all of it is written anew: for short ones, and one writer.

    Raises OSError.
    """
    if isinstance(path, ObjectPath):
        former = path.read_bytes() if path.exists() else b""
        path.write_bytes(former + f"{line}\n".encode())
        return
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def remove_tree(folder: Place) -> None:
    """Remove ``folder`` and what lies in it, as far as that can be done."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        folder.rmtree()
    except OSError:
        return  # not there, or left for another time


def move_file(file: Place, target: Place) -> None:
    """Rename ``file`` to ``target``; on an object store a copy, then a removal. Raises OSError."""
    if isinstance(file, Path):
        file.rename(target)
        return
    file.copy(target)
    file.unlink()


def move_folder(folder: Place, target: Place, last: str) -> None:
    """Rename ``folder`` to ``target``. Raises OSError.

    On an object store all is copied, then removed, the object called ``last`` after the others both times: where this
    breaks off, ``folder`` still has it, or ``target`` is whole.
    """
    if isinstance(folder, Path):
        folder.rename(target)
        return
    objects = sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder) == PurePosixPath(last))
    for path in objects:
        path.copy(target / path.relative_to(folder))
    for path in objects:
        path.unlink()
    remove_tree(folder)  # the empty object that stands for it


def copy_folder(folder: Place, target: Path) -> None:
    """Copy ``folder`` and what lies in it to ``target``, a folder on this machine. Raises OSError."""
    if isinstance(folder, Path):
        shutil.copytree(folder, target)
        return
    for path in folder.rglob("*"):
        _fetch(path, target / path.relative_to(folder))


@contextmanager
def fetched(folder: Place, names: Sequence[str]) -> Iterator[Path]:
    """A folder on this machine that holds the files ``names`` of ``folder``: itself, or a copy while entered.

    Raises OSError.
    """
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="tunekit-") as here:
        for name in names:
            _fetch(folder / name, Path(here) / name)
        yield Path(here)


def upload(file: Path, path: ObjectPath) -> None:
    """PUT a file of this machine, of any size. Raises OSError."""
    import pyarrow

    with pyarrow.memory_map(str(file)) as mapped:
        path.write_bytes(mapped.read_buffer())


def _fetch(path: ObjectPath, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with path.stream() as source, file.open("wb") as target:
        shutil.copyfileobj(source, target, COPY_BYTES)


def each(work: Callable[[T], R], items: Iterable[T], place: Place) -> Iterator[R]:
    """``work`` of each item, in order; many at a time where ``place`` is an object store, which answers slowly."""
    return in_threads(work, items) if isinstance(place, ObjectPath) else map(work, items)
