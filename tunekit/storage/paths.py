"""Where sweeps are kept: a folder, or a prefix of an object store."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

from tunekit.errors import UserError
from tunekit.storage.object_path import ObjectPath, threads

OPTIONS = {"s3": ("endpoint_override", "region", "scheme"), "gs": ("endpoint_override", "scheme")}
"""What may stand behind the ``?`` of a URI, by its scheme; the names are pyarrow's."""

T, R = TypeVar("T"), TypeVar("R")
Place = Path | ObjectPath


def location(text: str | os.PathLike[str] | ObjectPath) -> Place:
    """The folder or object store that ``text`` names. Raises UserError on a URI that names none, or holds a secret."""
    if isinstance(text, ObjectPath):
        return text
    if "://" not in str(text):
        return Path(text).expanduser()
    scheme, _, rest = str(text).partition("://")
    if scheme not in OPTIONS:
        raise UserError(f"storage is a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, not {scheme}://")
    place, _, query = rest.partition("?")
    bucket, _, prefix = place.partition("/")
    if "@" in bucket or ":" in bucket:
        raise UserError(
            f"{scheme}://***@...: others can read a command's arguments, and stores keep them; leave the key out of "
            "the URI and put it into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
        )
    if not bucket:
        raise UserError(f"{text} names no bucket; give {scheme}://BUCKET/PREFIX")
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name in given:
        if name not in OPTIONS[scheme]:
            raise UserError(f"{scheme}://{place}: unknown option {name!r}; there are {', '.join(OPTIONS[scheme])}")
    if scheme == "s3":
        given = _endpoint() | given
    return ObjectPath(scheme, PurePosixPath(bucket, prefix.strip("/")), query, tuple(sorted(given.items())))


def snapshot(place: Place) -> Place:
    """``place``, listed once where it is on an object store (``ObjectPath.snapshot``)."""
    return place.snapshot() if isinstance(place, ObjectPath) else place


def live(place: Place) -> Place:
    """``place`` without a snapshot."""
    return place.live if isinstance(place, ObjectPath) else place


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``work`` of each item, in order, many at a time; what it raises is raised in its turn."""
    return threads().map(work, items)


def cache_dir() -> Path:
    """``TUNEKIT_CACHE_DIR``, else the user's cache folder: what the processes of a machine share."""
    import pooch

    return Path(os.environ.get("TUNEKIT_CACHE_DIR") or pooch.os_cache("tunekit"))


def local_folder(place: ObjectPath) -> Path:
    """Where this machine keeps what belongs to ``place`` and can be had again."""
    digest = hashlib.sha256(str((place.live, place.options)).encode()).hexdigest()[:12]
    return cache_dir() / "stores" / f"{place.name}-{digest}"


def _endpoint() -> dict[str, str]:
    """The S3 server that the environment names, as AWS's own tools read it; none for AWS itself."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return {}
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise UserError("AWS_ENDPOINT_URL has to be http://HOST:PORT or https://HOST:PORT, with no key in it")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return {"endpoint_override": parts.netloc, "scheme": parts.scheme, "region": region}
