"""Where a search's Optuna studies live: a journal file in the sweep's folder, or a database by its URL."""

import json
import os
import re
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.storages.journal import BaseJournalBackend

from tunekit.errors import UserError, first_line
from tunekit.storage.lease import check_current
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.storages.journal import BaseJournalBackend


JOURNAL = "study.journal"
LOCK_SECONDS = 5
"""After this long without a sign of life, the journal lock of a killed process is broken."""
CONNECT_SECONDS = 10
SCHEMES = ("sqlite", "postgresql")


def redacted(url: str) -> str:
    """``url`` without its password and without the values behind a ``?``, where drivers take passwords too."""
    return re.sub(r"([?&][^=&\s]*)=[^&\s]*", r"\1=***", re.sub(r"(//[^:/@\s]*):.*@", r"\1:***@", url))


def check_url(url: str) -> None:
    """Raise UserError where ``url`` names no database that a search can use, or holds a password."""
    scheme = url.split(":", 1)[0].split("+", 1)[0]
    if "://" not in url or scheme not in SCHEMES:
        raise UserError(
            f"--optuna-storage takes sqlite:///FILE or postgresql://USER@HOST/DATABASE, got {redacted(url)!r}"
        )
    if re.search(r"//[^:/@]*:.*@", url) or re.search(r"[?&][^=]*pass[^=]*=", url):
        raise UserError(
            f"--optuna-storage {redacted(url)}: others can read a command's arguments; "
            "leave the password out and put it in PGPASSWORD or ~/.pgpass"
        )


def open_storage(url: str | None, sweep: Place, start: int = 0) -> "BaseStorage":
    """The storage at ``url``, or the journal of ``sweep``, made where there is none; ``start`` is the driver's.

    Raises UserError where the database can't be reached or its driver is missing, and where the journal is damaged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return _journal(sweep / JOURNAL, start) if url is None else _database(url)


def _journal(path: Place, start: int) -> "BaseStorage":
    from optuna.storages import JournalStorage

    try:
        return JournalStorage(_object_journal(path, start) if isinstance(path, ObjectPath) else _file_journal(path))
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{path} is damaged ({error}); restore it, or search under another --sweep: trials are not lost"
        ) from error


def _object_journal(path: ObjectPath, start: int) -> "BaseJournalBackend":
    return ObjectJournal(path, start)


def _file_journal(path: Path) -> "BaseJournalBackend":
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    _mend(path)
    # The lock is a link to this path: a relative one would dangle, and a dangling one is never broken.
    absolute = str(path.resolve())
    return JournalFileBackend(absolute, lock_obj=JournalFileSymlinkLock(absolute, grace_period=LOCK_SECONDS))


def _mend(path: Path) -> None:
    """Cut a last line that a power cut tore off; whatever it said, the store and the next start say again."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _database(url: str) -> "BaseStorage":
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    check_url(url)
    arguments = {"connect_args": {"connect_timeout": CONNECT_SECONDS}} if url.startswith("postgresql") else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    except ImportError as error:
        raise UserError(f"{redacted(url)} needs a driver that is not installed; pip install psycopg2-binary") from error
    except (SQLAlchemyError, RuntimeError) as error:
        reason = first_line(error)
        raise UserError(f"the database {redacted(url)} can't be reached: {redacted(reason)}") from error


class ObjectJournal(BaseJournalBackend):
    """The journal ``path`` in a sweep's folder, for the driver of its ``start``, which alone writes it.

    Raises ValueError where the object is damaged, OSError where the server can't be asked, and Superseded on writing
    where a later start has taken over.
    """

    def __init__(self, path: ObjectPath, start: int) -> None:
        self.path, self.start = path, start
        self._lines = path.read_bytes().splitlines() if path.exists() else []
        self._logs = [json.loads(line) for line in self._lines]

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """What was logged, from a number on."""
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Log more; it is in the object when this returns."""
        check_current(self.path.parent, self.start)
        lines = [json.dumps(log, separators=(",", ":")).encode() for log in logs]
        self.path.write_bytes(b"".join(line + b"\n" for line in (*self._lines, *lines)))
        self._lines += lines
        self._logs += logs
