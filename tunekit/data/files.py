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
"""Environment variable: a folder that has the files (``acl_arc/train.jsonl`` and so on); then nothing is fetched."""


_MAY_FETCH: ContextVar[bool] = ContextVar("may_fetch", default=True)


class NotHere(UserError):
    """A file that would have to be fetched, where that was not wanted."""


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """Within it, reading a file that is not on this machine raises NotHere."""
    token = _MAY_FETCH.set(False)
    try:
        yield
    finally:
        _MAY_FETCH.reset(token)


@dataclass(frozen=True)
class PinnedFile:
    """One file: its ``path`` in a data folder, and where it comes from."""

    path: str
    repository: str
    """``owner/name@commit`` on GitHub."""
    source: str
    """Path in the repository."""
    sha256: str

    @property
    def url(self) -> str:
        """Where the file is fetched from."""
        return f"https://raw.githubusercontent.com/{self.repository.replace('@', '/')}/{self.source}"


def read_pinned(file: PinnedFile) -> str:
    """The file's text, from the folder in TUNEKIT_DATA_DIR, else from the machine's cache, fetched once.

    Raises UserError, naming file, address and way out, where it is missing, cannot be fetched or has other content.
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
    """The file's place in the machine's cache, downloaded (and checked) by pooch where it is not there."""
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
