"""Objects of S3 and Google Cloud Storage as paths, with the part of pathlib's interface that a sweep's store uses.

A PUT of a whole object is the commit: a reader sees the former object or the new one, never a part. Folders are only
prefixes. Credentials are the environment's, a profile's or the machine's role.
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

from tunekit.storage.object_errors import explained

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

FIXED = {"s3": {"allow_delayed_open": "true"}, "gs": {"retry_limit_seconds": "30"}}
"""A small object is written by one request; an endpoint that does not answer is not waited for a quarter of an hour."""
CLOUDS = {"s3": "AWS", "gs": "Google Cloud Storage"}
SLICE_BYTES = 2**26
THREADS = 32
"""Objects that are read at a time."""

threads = cache(lambda: ThreadPoolExecutor(THREADS, "tunekit-storage"))
"""Those of this process."""


@dataclass(frozen=True, order=True)
class ObjectPath:
    """An object, or a prefix of objects. As with ``pathlib.Path``, whether it exists is another question.

    Everything that asks the server raises OSError, FileNotFoundError where there is no such object; its ``strerror`` is
    one clear line.
    """

    scheme: str
    """s3 or gs."""
    key: PurePosixPath
    """The bucket and what follows."""
    query: str = ""
    """The URI's options as they were typed."""
    options: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """The same, and the endpoint that this machine's environment names, which so holds on every other machine too."""
    listing: "Listing | None" = field(default=None, compare=False, repr=False)
    """What ``snapshot`` saw here and below."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}{f'?{self.query}' if self.query else ''}"

    def __truediv__(self, name: str | PurePosixPath) -> "ObjectPath":
        return replace(self, key=self.key / name)

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.key.name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.key.stem

    @property
    def parent(self) -> "ObjectPath":
        """The prefix that this lies in, of which no snapshot is kept."""
        return replace(self, key=self.key.parent, listing=None)

    def with_name(self, name: str) -> "ObjectPath":
        """Another name in the same prefix."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> "ObjectPath":
        """The name with another suffix."""
        return self.with_name(self.key.with_suffix(suffix).name)

    def relative_to(self, root: "ObjectPath") -> PurePosixPath:
        """The part below ``root``."""
        return self.key.relative_to(root.key)

    def resolve(self) -> "ObjectPath":
        """Itself: it is absolute, and there are no links."""
        return self

    def is_symlink(self) -> bool:
        """False."""
        return False

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a prefix is there when an object is."""

    @property
    def live(self) -> "ObjectPath":
        """The same without a snapshot."""
        return replace(self, listing=None)

    def snapshot(self) -> "ObjectPath":
        """The same with all that lies here and below listed once: what is asked of it then needs no request.

        A thousand objects are one request.
        """
        if self.listing is not None:
            return self
        return replace(self, listing=Listing(self._listed(recursive=True)))

    # -- asking ------------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether there is an object, or one below."""
        return self._info() is not None or (self.listing is not None and self.is_dir())

    def is_file(self) -> bool:
        """Whether there is an object."""
        info = self._info()
        return info is not None and info.is_file

    def is_dir(self) -> bool:
        """Whether there is an object below."""
        if self.listing is not None:
            return self.key in self.listing.names
        info = self._info()
        return info is not None and not info.is_file

    def stat(self) -> SimpleNamespace:
        """``st_size`` in bytes of an object, and ``st_mtime`` and ``st_mtime_ns`` by the server's clock."""
        info = self._info()
        if info is None or not info.is_file:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return SimpleNamespace(st_size=info.size, st_mtime=info.mtime_ns / 1e9, st_mtime_ns=info.mtime_ns)

    lstat = stat

    def iterdir(self) -> Iterator["ObjectPath"]:
        """What lies here; nothing where nothing does."""
        names = (
            (PurePosixPath(info.path).name for info in self._listed(recursive=False))
            if self.listing is None
            else self.listing.names.get(self.key, ())
        )
        return (self / name for name in names)

    def glob(self, pattern: str) -> Iterator["ObjectPath"]:
        """What lies here and is called as ``pattern`` says."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str) -> Iterator["ObjectPath"]:
        """The objects here and anywhere below that are called as ``pattern`` says."""
        here = self.snapshot()
        found = (replace(here, key=key) for key in here.listing.infos if self.key in key.parents)
        return (path for path in found if fnmatchcase(path.name, pattern))

    def open(self, mode: str = "rb") -> Any:
        """A file to read bytes from, at any place; each read is a request."""
        if mode != "rb":
            raise ValueError(f"objects are opened for reading bytes, not {mode!r}")
        with self._clear():
            return self._filesystem.open_input_file(str(self.key))

    def stream(self) -> Any:
        """A file to read bytes from, from start to end."""
        with self._clear():
            return self._filesystem.open_input_stream(str(self.key))

    def read_bytes(self) -> bytes:
        """The whole object."""
        with self._clear(), self.stream() as stream:
            return stream.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole object as text. Raises UnicodeDecodeError too."""
        return self.read_bytes().decode(encoding)

    # -- changing ----------------------------------------------------------------------------------------------------

    def write_bytes(self, content: bytes) -> None:
        """Make ``content`` (bytes, or what lends its own) the object, whole or not at all."""
        # In a thread of its own: a signal between two of its steps would leave an empty object.
        with self._clear():
            threads().submit(self._put, content).result()

    def _put(self, content: bytes) -> None:
        view = memoryview(content)
        stream = self._filesystem.open_output_stream(str(self.key))
        for begin in range(0, len(view), SLICE_BYTES):
            stream.write(view[begin : begin + SLICE_BYTES])
            if len(view) > SLICE_BYTES:
                stream.flush()  # waits for the parts, which are copies
        stream.close()

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        try:
            with self._clear():
                self._filesystem.delete_file(str(self.key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rmtree(self) -> None:
        """Remove all that lies here."""
        with self._clear():
            self._filesystem.delete_dir(str(self.key))

    def copy(self, target: "ObjectPath") -> None:
        """Have the server copy the object to ``target``, whole or not at all."""
        with self._clear():
            self._filesystem.copy_file(str(self.key), str(target.key))

    # -- the server --------------------------------------------------------------------------------------------------

    @property
    def _filesystem(self) -> "FileSystem":
        return _connected(self.scheme, self.key.parts[0], self.options)

    def _info(self) -> "FileInfo | None":
        if self.listing is not None:
            return self.listing.infos.get(self.key)
        with self._clear():
            info = self._filesystem.get_file_info(str(self.key))
        return info if info.is_file or info.type.name == "Directory" else None

    def check(self) -> None:
        """Raise OSError where the bucket is missing or what lies here can't be listed; nothing has to lie here."""
        from pyarrow.fs import FileSelector

        try:
            with self._clear():
                self._filesystem.get_file_info(FileSelector(str(self.key)))
        except FileNotFoundError:
            return

    def _listed(self, *, recursive: bool) -> "list[FileInfo]":
        from pyarrow.fs import FileSelector

        with self._clear():
            selector = FileSelector(str(self.key), allow_not_found=True, recursive=recursive)
            return self._filesystem.get_file_info(selector)

    @contextmanager
    def _clear(self) -> Iterator[None]:
        """Errors of the server as OSErrors that say what is wrong and how to mend it."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from error
        except OSError as error:
            server = dict(self.options).get("endpoint_override") or CLOUDS[self.scheme]
            raise explained(str(error), str(self), self.key.parts[0], server) from error


class Listing:
    """What lay below a prefix at one time."""

    def __init__(self, infos: "Iterable[FileInfo]") -> None:
        self.infos = {PurePosixPath(info.path): info for info in infos if info.is_file}
        self.names: dict[PurePosixPath, dict[str, None]] = {}
        """Of what lay in each prefix itself, in order."""
        for key in self.infos:
            while key.name and key.name not in self.names.setdefault(key.parent, {}):
                self.names[key.parent][key.name] = None
                key = key.parent


@cache
def _connected(scheme: str, bucket: str, options: tuple[tuple[str, str], ...]) -> "FileSystem":
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(f"{scheme}://{bucket}/?{urlencode({**dict(options), **FIXED[scheme]})}")[0]
