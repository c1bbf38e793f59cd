"""Hubs on loopback that serve one model or one dataset at one commit, and remember what was asked."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

REPOSITORY = "acme/tiny-bert"
DATASET = "acme/reviews"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves ``folder`` as ``REPOSITORY`` at ``COMMIT`` (branch main); a context manager."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                path = self.path.split("?")[0]
                content = None
                if path == "/":
                    content = b"hub"
                elif path.startswith((f"/{REPOSITORY}/resolve/{COMMIT}/", f"/{REPOSITORY}/resolve/main/")):
                    hub.asked.append(path.rsplit("/", 1)[1])
                    file = folder / hub.asked[-1]
                    content = file.read_bytes() if file.is_file() else None
                self.send_response(200 if content is not None else 404)
                if content is None:
                    content = b""
                    known = path.startswith(f"/{REPOSITORY}/")
                    self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "FakeHub":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class FakeDatasetHub:
    """Serves ``folder`` as the dataset ``DATASET`` at ``COMMIT``, and at each name in ``branches``; a context manager.

    ``commit`` may be changed while it runs, as when somebody pushes to a branch.
    """

    def __init__(self, folder: Path, branches: tuple[str, ...] = ("main",)) -> None:
        self.folder, self.branches, self.commit = folder, branches, COMMIT
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                path = unquote(self.path.split("?")[0])
                hub.asked.append(path)
                content, code = hub.find(path)
                self.send_response(200 if content is not None else 404)
                if code:
                    self.send_header("X-Error-Code", code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content or b"")))
                self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
                self.send_header("X-Repo-Commit", hub.commit)
                self.end_headers()
                if body:
                    self.wfile.write(content or b"")

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def find(self, path: str) -> tuple[bytes | None, str | None]:
        """Return what is at ``path``, or None and the hub's word for what is missing."""
        listing, files = f"/api/datasets/{DATASET}/revision/", f"/datasets/{DATASET}/resolve/{self.commit}/"
        if path.startswith(listing):
            revision = path.removeprefix(listing)
            if revision not in (self.commit, *self.branches):
                return None, "RevisionNotFound"
            names = [file for file in sorted(self.folder.rglob("*")) if file.is_file()]
            siblings = [
                {"rfilename": file.relative_to(self.folder).as_posix(), "size": file.stat().st_size} for file in names
            ]
            return json.dumps({"id": DATASET, "sha": self.commit, "siblings": siblings}).encode(), None
        if path.startswith(files):
            file = self.folder / path.removeprefix(files)
            return (file.read_bytes(), None) if file.is_file() else (None, "EntryNotFound")
        return None, "RepoNotFound"

    def __enter__(self) -> "FakeDatasetHub":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
