"""Writing files so that a reader or a power cut never sees half of one."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write ``content`` by a temporary file, fsync and rename. Raises OSError; ``path`` is then as before.

    Without ``durable`` nothing waits for the disk: a killed process loses nothing, a power cut may, until ``sync``.
    """
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


def sync(path: Path) -> None:
    """Wait until the disk holds what was written to ``path``. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def probe(folder: Path) -> None:
    """Write, rename and read a file in ``folder`` and remove it. Raises OSError where that can't be done."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tunekit-probe-") as inside:
        path = Path(inside) / "probe"
        write_atomic(path, b"probe")
        if path.read_bytes() != b"probe":
            raise OSError(errno.EIO, "it gives back other bytes than were written", str(folder))


def cache_dir() -> Path:
    """``TUNEKIT_CACHE_DIR``, else the user's cache folder: what the processes of a machine share."""
    import pooch

    return Path(os.environ.get("TUNEKIT_CACHE_DIR") or pooch.os_cache("tunekit"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Do in one process of this machine at a time what follows, by the lock file ``path``, made with its folder.

    A process that dies lets go of it. Raises OSError where ``path`` can't be written.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
