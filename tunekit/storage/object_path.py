"""Objects of S3, Google Cloud Storage and Azure as paths, with the part of pathlib's interface that a store uses.

A whole object is written by one PUT, so a reader sees the former object or the new one and never a part. An object
store has no folders: a folder is the prefix that the keys of its objects share.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING

from tunekit.storage.object_errors import server_error
from tunekit.storage.object_servers import NoCredentials, connected

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PAGE = 1000
"""The most objects that a server lists at a time."""
PART_BYTES = 2**23
"""The bytes of a part: a larger object is written, and fetched, part by part."""
PARTS = 4
"""The parts of an object that are sent at the same time."""


@dataclass(frozen=True, order=True)
class ObjectPath:
    """The path of an object, or of a prefix that stands for a folder. As with ``pathlib.Path``, it need not exist.

    Every method that asks the server raises OSError with a ``strerror`` of one clear line, and FileNotFoundError where
    there is no such object.
    """

    scheme: str
    """The storage service: ``s3``, ``gs`` or ``az``."""
    key: PurePosixPath
    """The bucket (Azure's container), followed by the key of the object in it."""
    query: str = ""
    """The options of the URI as the user typed them, for messages."""
    options: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """The options of the connection: the typed ones, and the endpoint from the environment of the machine on which the
    path was made, so that other machines use the same endpoint."""
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
        return replace(self, listing=Listing(self.key.parts[0], self._listed()))

    # -- asking ------------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Return whether there is an object at this path or below it."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Return whether there is an object at this path."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Return whether there is an object below this path."""
        if self.listing is not None:
            return self.key in self.listing.names
        return next(self._listed(), None) is not None

    def stat(self) -> SimpleNamespace:
        """Return ``st_size`` in bytes, and ``st_mtime`` and ``st_mtime_ns`` by the server's clock, of the object."""
        if self.listing is None:
            with self._explained_errors():
                return _stat(self._store.head(self._name))
        if self.key not in self.listing.stats:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return self.listing.stats[self.key]

    lstat = stat

    def iterdir(self) -> Iterator["ObjectPath"]:
        """Yield the objects and folders in this folder; none where it does not exist."""
        return (self / name for name in self._names())

    def glob(self, pattern: str) -> Iterator["ObjectPath"]:
        """Yield the objects and folders in this folder whose names match ``pattern``."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str) -> Iterator["ObjectPath"]:
        """Yield the objects anywhere below this folder whose names match ``pattern``."""
        here = self.snapshot()
        keys = here.listing.stats if here.listing else ()
        found = (replace(here, key=key) for key in keys if self.key in key.parents)
        return (path for path in found if fnmatchcase(path.name, pattern))

    def open(self, mode: str = "rb") -> BytesIO:
        """Return a file that bytes are read from. The whole object is read at once, by one request."""
        if mode != "rb":
            raise ValueError(f"objects are opened for reading bytes, not {mode!r}")
        return BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        """Return the bytes of the whole object."""
        with self._explained_errors():
            return self._store.get(self._name).bytes().to_bytes()

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole object as text. Raises UnicodeDecodeError too."""
        return self.read_bytes().decode(encoding)

    def fetch(self, file: Path) -> None:
        """Copy the object, of any size, to a file of this machine, whose folder is made where it is missing."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._explained_errors(), file.open("wb") as target:
            for piece in self._store.get(self._name).stream(PART_BYTES):
                target.write(piece)

    # -- changing ----------------------------------------------------------------------------------------------------

    def write_bytes(self, content: bytes | Path) -> None:
        """Write ``content``, or the content of a file of this machine, as the whole object or not at all."""
        with self._explained_errors():
            self._store.put(self._name, content, chunk_size=PART_BYTES, max_concurrency=PARTS)

    def create(self, content: bytes) -> bool:
        """Write ``content`` where there is no object. Return False, and write nothing, where there is one.

        The server decides, so of many processes that call this at once one gets True.
        """
        from obstore.exceptions import AlreadyExistsError

        with self._explained_errors():
            try:
                self._store.put(self._name, content, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object. Raises FileNotFoundError where there is none, unless ``missing_ok``."""
        if not missing_ok:
            self.without_snapshot().stat()  # S3, unlike the others, gives no error where there is no object
        with self._explained_errors(), suppress(FileNotFoundError):
            self._store.delete(self._name)

    def rmtree(self) -> None:
        """Remove everything below this folder."""
        with self._explained_errors():
            self._store.delete([meta["path"] for meta in self._listed()])

    def copy(self, target: "ObjectPath") -> None:
        """Copy the object to ``target``, whole or not at all. The server copies it, so no bytes pass this machine."""
        with self._explained_errors():
            self._store.copy(self._name, target._name)

    # -- the server --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise OSError where there is no such bucket or this folder can't be listed. The folder may be empty."""
        next(self._listed(), None)

    @property
    def _store(self) -> "ObjectStore":
        return connected(self.scheme, self.key.parts[0], self.options)

    @property
    def _name(self) -> str:
        """The key of the object in its bucket."""
        return "/".join(self.key.parts[1:])

    def _listed(self) -> "Iterator[ObjectMeta]":
        """Yield the objects anywhere below this path. A thousand are listed by one request."""
        with self._explained_errors():
            for page in self._store.list(self._name, chunk_size=PAGE):
                yield from (meta for meta in page if not _stands_for_folder(meta))

    def _names(self) -> Iterable[str]:
        """Return the names in this folder."""
        if self.listing is not None:
            return self.listing.names.get(self.key, ())
        with self._explained_errors():
            found = self._store.list_with_delimiter(self._name)
        keys = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        return dict.fromkeys(key.rpartition("/")[2] for key in keys if key != self._name)

    @contextmanager
    def _explained_errors(self) -> Iterator[None]:
        """Turn errors of the server into OSErrors that say what is wrong and how to mend it."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, NoCredentials) as error:
            endpoint = dict(self.options).get("endpoint_override")
            raise server_error(error, self.scheme, str(self), self.key.parts[0], endpoint) from error


class Listing:
    """What lay below a folder when it was listed."""

    def __init__(self, bucket: str, metas: "Iterable[ObjectMeta]") -> None:
        self.stats = {PurePosixPath(bucket, meta["path"]): _stat(meta) for meta in metas}
        self.names: dict[PurePosixPath, dict[str, None]] = {}
        """The names in each folder, in order; a dict serves as an ordered set."""
        for key in self.stats:
            while key.name and key.name not in self.names.setdefault(key.parent, {}):
                self.names[key.parent][key.name] = None
                key = key.parent


def _stands_for_folder(meta: "ObjectMeta") -> bool:
    """Return whether an object is the empty ``folder/`` that consoles and some tools make, listed without its slash.

    Every record of a sweep has a suffix.
    """
    return meta["size"] == 0 and "." not in meta["path"].rpartition("/")[2]


def _stat(meta: "ObjectMeta") -> SimpleNamespace:
    microseconds = (meta["last_modified"] - EPOCH) // timedelta(microseconds=1)
    return SimpleNamespace(st_size=meta["size"], st_mtime=microseconds / 1e6, st_mtime_ns=microseconds * 1000)
