"""Where sweeps are kept: a folder, or a prefix of an object store."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import parse_qsl

from tunekit.errors import UserError
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.object_servers import SERVICES, from_environment

THREADS = 32
"""The number of objects that are worked on at the same time."""

T = TypeVar("T")
R = TypeVar("R")
Place = Path | ObjectPath
"""The path of a file or a folder, on a disk or in an object store."""


def location(text: str | os.PathLike[str] | ObjectPath) -> Place:
    """Return the path that ``text`` names. Raises UserError on a URI that names no bucket, or that holds a secret."""
    if isinstance(text, ObjectPath):
        return text
    if "://" not in str(text):
        return Path(text).expanduser()
    scheme, _, rest = str(text).partition("://")
    if scheme not in SERVICES:
        raise UserError(
            f"storage is a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX, not {scheme}://"
        )
    bucket_and_prefix, _, query = rest.partition("?")
    bucket, _, prefix = bucket_and_prefix.partition("/")
    if "@" in bucket or ":" in bucket:
        raise UserError(
            f"{scheme}://***@...: others can read a command's arguments, and stores keep them; leave the key out of "
            f"the URI and put it into the environment ({SERVICES[scheme].credentials})"
        )
    if not bucket:
        raise UserError(f"{text} names no bucket; give {scheme}://BUCKET/PREFIX")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in SERVICES[scheme].options:
            known = ", ".join(SERVICES[scheme].options)
            raise UserError(f"{scheme}://{bucket_and_prefix}: unknown option {name!r}; the options are {known}")
    options = from_environment(scheme) | options
    if scheme == "az" and "account_name" not in options:
        raise UserError(f"{text} names no account; set AZURE_STORAGE_ACCOUNT_NAME, or add ?account_name=NAME")
    return ObjectPath(scheme, PurePosixPath(bucket, prefix.strip("/")), query, tuple(sorted(options.items())))


def snapshot(path: Place) -> Place:
    """Return ``path`` with everything below it listed once, where it is in an object store; else ``path`` itself."""
    return path.snapshot() if isinstance(path, ObjectPath) else path


def without_snapshot(path: Place) -> Place:
    """Return ``path`` without its snapshot, so that the next question about it asks the server."""
    return path.without_snapshot() if isinstance(path, ObjectPath) else path


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Return ``work(item)`` of each item, in the order of ``items``, while many are at work at the same time.

    An error that ``work`` raises is raised when the result of its item is due.
    """
    return _thread_pool().map(work, items)


@cache
def _thread_pool() -> ThreadPoolExecutor:
    """Return the pool of threads that this process reads and writes objects with."""
    return ThreadPoolExecutor(THREADS, "tunekit-storage")


def cache_dir() -> Path:
    """Return the folder for what the processes of this machine share: ``TUNEKIT_CACHE_DIR``, or the user's cache."""
    import pooch

    return Path(os.environ.get("TUNEKIT_CACHE_DIR") or pooch.os_cache("tunekit"))


def local_folder(path: ObjectPath) -> Path:
    """Return the folder of this machine for files that belong to ``path`` and can be made again."""
    digest = hashlib.sha256(str((path.without_snapshot(), path.options)).encode()).hexdigest()[:12]
    return cache_dir() / "stores" / f"{path.name}-{digest}"
