"""Objects of S3 and Google Cloud Storage as paths, with the part of pathlib's interface that a sweep's store uses.

A whole object is written by one PUT, so a reader sees the former object or the new one and never a part. An object
store has no folders: a folder is the prefix that the keys of its objects share. Credentials come from the environment,
from a profile or from the role of the machine.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tunekit.storage.object_errors import server_error

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

FIXED = {"s3": {"allow_delayed_open": "true"}, "gs": {"retry_limit_seconds": "30"}}
"""Options that every path has, by scheme. With ``allow_delayed_open`` a small object is written by one request;
``retry_limit_seconds`` ends the wait for a server that does not answer, which is 15 minutes otherwise."""
CLOUDS = {"s3": "AWS", "gs": "Google Cloud Storage"}
"""The server's name in messages, where no endpoint is given."""
SLICE_BYTES = 2**26
"""The bytes that are handed to a stream at a time when a large object is written."""
THREADS = 32
"""The number of objects that are read at the same time."""


@cache
def thread_pool() -> ThreadPoolExecutor:
    """Return the pool of threads that this process reads and writes objects with."""
    return ThreadPoolExecutor(THREADS, "tunekit-storage")


@dataclass(frozen=True, order=True)
class ObjectPath:
    """The path of an object, or of a prefix that stands for a folder. As with ``pathlib.Path``, it need not exist.

    Every method that asks the server raises OSError with a ``strerror`` of one clear line, and FileNotFoundError where
    there is no such object.
    """

    scheme: str
    """The storage service: ``s3`` or ``gs``."""
    key: PurePosixPath
    """The bucket, followed by the key of the object in it."""
    query: str = ""
    """The options of the URI as the user typed them, for messages."""
    options: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """The options of the connection: the typed ones, and the endpoint that the environment of the machine named where
    the path was made, so that other machines use the same endpoint."""
    listing: "Listing | None" = field(default=None, compare=False, repr=False)
    """What ``snapshot`` found at this path and below; None where questions go to the server."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}{f'?{self.query}' if self.query else ''}"

    def __truediv__(self, name: str | PurePosixPath) -> "ObjectPath":
        return replace(self, key=self.key / name)

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self.key.name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.key.stem

    @property
    def parent(self) -> "ObjectPath":
        """The folder that holds this path. It has no snapshot."""
        return replace(self, key=self.key.parent, listing=None)

    def with_name(self, name: str) -> "ObjectPath":
        """Return the path with another name in the same folder."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> "ObjectPath":
        """Return the path with another suffix."""
        return self.with_name(self.key.with_suffix(suffix).name)

    def relative_to(self, root: "ObjectPath") -> PurePosixPath:
        """Return the part of the path below ``root``."""
        return self.key.relative_to(root.key)

    def resolve(self) -> "ObjectPath":
        """Return the path itself: it is absolute, and an object store has no links."""
        return self

    def is_symlink(self) -> bool:
        """Return False: an object store has no links."""
        return False

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder exists as soon as an object lies in it."""

    def without_snapshot(self) -> "ObjectPath":
        """Return the path without its snapshot, so that questions about it go to the server."""
        return replace(self, listing=None)

    def snapshot(self) -> "ObjectPath":
        """Return the path with everything below it listed once, so that questions about it need no further request.

        The server lists a thousand objects a request.
        """
        if self.listing is not None:
            return self
        return replace(self, listing=Listing(self._listed(recursive=True)))

    # -- asking ------------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Return whether there is an object at this path or below it."""
        return self._info() is not None or (self.listing is not None and self.is_dir())

    def is_file(self) -> bool:
        """Return whether there is an object at this path."""
        info = self._info()
        return info is not None and info.is_file

    def is_dir(self) -> bool:
        """Return whether there is an object below this path."""
        if self.listing is not None:
            return self.key in self.listing.names
        info = self._info()
        return info is not None and not info.is_file

    def stat(self) -> SimpleNamespace:
        """Return ``st_size`` in bytes, and ``st_mtime`` and ``st_mtime_ns`` by the server's clock, of the object."""
        info = self._info()
        if info is None or not info.is_file:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return SimpleNamespace(st_size=info.size, st_mtime=info.mtime_ns / 1e9, st_mtime_ns=info.mtime_ns)

    lstat = stat

    def iterdir(self) -> Iterator["ObjectPath"]:
        """Yield the objects and folders in this folder; none where it does not exist."""
        names = (
            (PurePosixPath(info.path).name for info in self._listed(recursive=False))
            if self.listing is None
            else self.listing.names.get(self.key, ())
        )
        return (self / name for name in names)

    def glob(self, pattern: str) -> Iterator["ObjectPath"]:
        """Yield the objects and folders in this folder whose names match ``pattern``."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str) -> Iterator["ObjectPath"]:
        """Yield the objects anywhere below this folder whose names match ``pattern``."""
        here = self.snapshot()
        infos = here.listing.infos if here.listing else {}
        found = (replace(here, key=key) for key in infos if self.key in key.parents)
        return (path for path in found if fnmatchcase(path.name, pattern))

    def open(self, mode: str = "rb") -> Any:
        """Return a file that bytes are read from at any position; each read is a request."""
        if mode != "rb":
            raise ValueError(f"objects are opened for reading bytes, not {mode!r}")
        with self._explained_errors():
            return self._filesystem.open_input_file(str(self.key))

    def stream(self) -> Any:
        """Return a file that bytes are read from, from the start to the end."""
        with self._explained_errors():
            return self._filesystem.open_input_stream(str(self.key))

    def read_bytes(self) -> bytes:
        """Return the bytes of the whole object."""
        with self._explained_errors(), self.stream() as stream:
            content: bytes = stream.read()
        return content

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole object as text. Raises UnicodeDecodeError too."""
        return self.read_bytes().decode(encoding)

    # -- changing ----------------------------------------------------------------------------------------------------

    def write_bytes(self, content: bytes) -> None:
        """Write ``content``, bytes or a buffer, as the whole object or not at all."""
        # Another thread writes: a signal that reaches the main thread between two steps would leave an empty object.
        with self._explained_errors():
            thread_pool().submit(self._put, content).result()

    def _put(self, content: bytes) -> None:
        view = memoryview(content)
        stream = self._filesystem.open_output_stream(str(self.key))
        for begin in range(0, len(view), SLICE_BYTES):
            stream.write(view[begin : begin + SLICE_BYTES])
            if len(view) > SLICE_BYTES:
                stream.flush()  # waits until the parts, which are copies in memory, have been sent
        stream.close()

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object. Raises FileNotFoundError where there is none, unless ``missing_ok``."""
        try:
            with self._explained_errors():
                self._filesystem.delete_file(str(self.key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rmtree(self) -> None:
        """Remove everything below this folder."""
        with self._explained_errors():
            self._filesystem.delete_dir(str(self.key))

    def copy(self, target: "ObjectPath") -> None:
        """Copy the object to ``target``, whole or not at all. The server copies it, so no bytes pass this machine."""
        with self._explained_errors():
            self._filesystem.copy_file(str(self.key), str(target.key))

    # -- the server --------------------------------------------------------------------------------------------------

    @property
    def _filesystem(self) -> "FileSystem":
        return _connected(self.scheme, self.key.parts[0], self.options)

    def _info(self) -> "FileInfo | None":
        if self.listing is not None:
            return self.listing.infos.get(self.key)
        with self._explained_errors():
            info = self._filesystem.get_file_info(str(self.key))
        return info if info.is_file or info.type.name == "Directory" else None

    def check(self) -> None:
        """Raise OSError where there is no such bucket or this folder can't be listed. The folder may be empty."""
        from pyarrow.fs import FileSelector

        try:
            with self._explained_errors():
                self._filesystem.get_file_info(FileSelector(str(self.key)))
        except FileNotFoundError:
            return

    def _listed(self, *, recursive: bool) -> "list[FileInfo]":
        from pyarrow.fs import FileSelector

        with self._explained_errors():
            selector = FileSelector(str(self.key), allow_not_found=True, recursive=recursive)
            infos: list[FileInfo] = self._filesystem.get_file_info(selector)
        return infos

    @contextmanager
    def _explained_errors(self) -> Iterator[None]:
        """Turn errors of the server into OSErrors that say what is wrong and how to mend it."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from error
        except OSError as error:
            server = dict(self.options).get("endpoint_override") or CLOUDS[self.scheme]
            raise server_error(str(error), str(self), self.key.parts[0], server) from error


class Listing:
    """What lay below a folder when it was listed."""

    def __init__(self, infos: "Iterable[FileInfo]") -> None:
        self.infos = {PurePosixPath(info.path): info for info in infos if info.is_file}
        self.names: dict[PurePosixPath, dict[str, None]] = {}
        """The names in each folder, in order; a dict serves as an ordered set."""
        for key in self.infos:
            while key.name and key.name not in self.names.setdefault(key.parent, {}):
                self.names[key.parent][key.name] = None
                key = key.parent


@cache
def _connected(scheme: str, bucket: str, options: tuple[tuple[str, str], ...]) -> "FileSystem":
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(f"{scheme}://{bucket}/?{urlencode({**dict(options), **FIXED[scheme]})}")[0]
