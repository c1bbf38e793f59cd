"""Files of public repositories, each at a pinned commit and checked by sha256 on every use."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from tunekit.errors import UserError
from tunekit.storage.files import locked
from tunekit.storage.paths import cache_dir

DATA_DIR = "TUNEKIT_DATA_DIR"
"""The environment variable with a folder that has the files, such as ``acl_arc/train.jsonl``. Nothing is then
fetched."""


_MAY_FETCH: ContextVar[bool] = ContextVar("may_fetch", default=True)


class NotHere(UserError):
    """A file would have to be fetched, within ``nothing_fetched``."""


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """Return a context within which reading a file that is not on this machine raises NotHere."""
    token = _MAY_FETCH.set(False)
    try:
        yield
    finally:
        _MAY_FETCH.reset(token)


@dataclass(frozen=True)
class PinnedFile:
    """One file: its ``path`` in a data folder, and its source."""

    path: str
    repository: str
    """``owner/name@commit`` on GitHub."""
    source: str
    """The path in the repository."""
    sha256: str

    @property
    def url(self) -> str:
        """The address that the file is fetched from."""
        return f"https://raw.githubusercontent.com/{self.repository.replace('@', '/')}/{self.source}"


def read_pinned(file: PinnedFile) -> str:
    """Return the file's text, from the folder in TUNEKIT_DATA_DIR, else from the machine's cache, fetched once.

    Raises UserError, which names the file and its address, where it is missing, can't be fetched or has other content.
    """
    folder = os.environ.get(DATA_DIR)
    path = Path(folder) / file.path if folder else _fetched(file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {path} ({error.strerror}): copy it there from {file.url}, or unset {DATA_DIR}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise UserError(f"{path} has sha256 {found}, expected {file.sha256}: replace it by {file.url}")
    return content.decode("utf-8")


def _fetched(file: PinnedFile) -> Path:
    """Return the file's path in the machine's cache. Where it is missing, pooch downloads and checks it."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    path = cache_dir() / file.path
    if not path.is_file() and not _MAY_FETCH.get():
        raise NotHere(f"{file.path} is not on this machine yet; it is fetched from {file.url}")
    try:
        with nullcontext() if path.is_file() else locked(path.with_name(f"{path.name}.lock")):
            pooch.retrieve(file.url, known_hash=f"sha256:{file.sha256}", fname=path.name, path=path.parent)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; ValueError is a wrong hash
        raise UserError(
            f"cannot fetch {file.path} from {file.url} ({type(error).__name__}): copy it to {path}, "
            f"or set {DATA_DIR} to a folder that has {file.path}"
        ) from error
    return path
