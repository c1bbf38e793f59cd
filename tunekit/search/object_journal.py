"""Optuna's journal as one object of an object store, for a search that is kept there."""

import json
from collections.abc import Generator
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from tunekit.storage.lease import check_current
from tunekit.storage.object_path import ObjectPath


class ObjectJournal(BaseJournalBackend):
    """The journal in the object ``path``, which lies in a sweep's folder. Only the driver of ``start`` writes it.

    Raises ValueError where the object is damaged, OSError where the server does not answer and, on writing, Superseded
    where a later start owns the sweep.
    """

    def __init__(self, path: ObjectPath, start: int) -> None:
        self.path, self.start = path, start
        self._lines = path.read_bytes().splitlines() if path.exists() else []
        self._logs: list[dict[str, Any]] = [json.loads(line) for line in self._lines]

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the log entries from a number on."""
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append log entries. The object holds them when this returns."""
        check_current(self.path.parent, self.start)
        lines = [json.dumps(log, separators=(",", ":")).encode() for log in logs]
        self.path.write_bytes(b"".join(line + b"\n" for line in (*self._lines, *lines)))
        self._lines += lines
        self._logs += logs
