"""The storage of a search's Optuna studies: a journal file in the sweep's folder, or a database by its URL."""

import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import UserError, first_line
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.storages.journal import BaseJournalBackend


JOURNAL = "study.journal"
"""The name of the journal file in the sweep's folder."""
LOCK_SECONDS = 5
"""A lock on the journal that was not renewed for so long is broken, since its process was killed."""
CONNECT_SECONDS = 10
"""The longest wait for a connection to a PostgreSQL server."""
SCHEMES = ("sqlite", "postgresql")
"""The databases that a search can use."""


def redacted(url: str) -> str:
    """Return ``url`` without its password, and without the values after a ``?``, which may be passwords too."""
    return re.sub(r"([?&][^=&\s]*)=[^&\s]*", r"\1=***", re.sub(r"(//[^:/@\s]*):.*@", r"\1:***@", url))


def check_url(url: str) -> None:
    """Raise UserError where ``url`` names no database that a search can use, or where it holds a password."""
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
    """Return the storage at ``url``, or the journal in the folder ``sweep``, which is made where there is none.

    ``start`` is the number of the driver's start. Raises UserError where the database can't be reached, where its
    Python driver is missing, and where the journal is damaged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return _journal(sweep / JOURNAL, start) if url is None else _database(url)


def _journal(path: Place, start: int) -> "BaseStorage":
    """Return the storage in the journal ``path``. Raises UserError where the journal is damaged."""
    from optuna.storages import JournalStorage

    try:
        return JournalStorage(_object_journal(path, start) if isinstance(path, ObjectPath) else _file_journal(path))
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{path} is damaged ({error}); restore it, or search under another --sweep: trials are not lost"
        ) from error


def _object_journal(path: ObjectPath, start: int) -> "BaseJournalBackend":
    from tunekit.search.object_journal import ObjectJournal

    return ObjectJournal(path, start)


def _file_journal(path: Path) -> "BaseJournalBackend":
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    _cut_incomplete_line(path)
    # The lock is a link to this path. A link to a relative path would dangle, and Optuna never breaks a dangling lock.
    absolute = str(path.resolve())
    return JournalFileBackend(absolute, lock_obj=JournalFileSymlinkLock(absolute, grace_period=LOCK_SECONDS))


def _cut_incomplete_line(path: Path) -> None:
    """Remove a last line that a power cut has left incomplete. The next start logs again what it said."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _database(url: str) -> "BaseStorage":
    """Return the storage in a database. Raises UserError where it can't be reached or its Python driver is missing."""
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
