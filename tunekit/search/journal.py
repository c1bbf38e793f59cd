"""Optuna's journal as one object, in the form of its journal file: read when a search starts, PUT whole each time."""

import json
from collections.abc import Generator
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from tunekit.storage.lease import check_current
from tunekit.storage.object_path import ObjectPath


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
