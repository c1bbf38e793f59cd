"""A hub on loopback that serves repositories, each at one commit, and remembers what was asked."""

import hashlib
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

REPOSITORY = "acme/tiny-bert"
DATASET = "acme/reviews"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves ``folder`` at ``COMMIT``, as the model ``REPOSITORY`` or the dataset ``DATASET``; a context manager.

    Each name in ``branches`` leads to the commit, too. ``commit`` may be changed while the hub runs, as when somebody
    pushes to a branch. ``asked`` holds the files that were asked for, and the paths of everything else. ``name`` is
    another name of the repository, and ``others`` are hubs whose repositories this one serves, too.
    """

    def __init__(
        self,
        folder: Path,
        kind: Literal["model", "dataset"] = "model",
        branches: tuple[str, ...] = ("main",),
        name: str | None = None,
        commit: str = COMMIT,
        others: Sequence["FakeHub"] = (),
    ) -> None:
        self.folder, self.branches, self.commit, self.others = folder, branches, commit, others
        self.name = name or (REPOSITORY if kind == "model" else DATASET)
        self.files = f"/{self.name}/" if kind == "model" else f"/datasets/{self.name}/"
        self.listing = f"/api/{kind}s/{self.name}/revision/"
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                path = unquote(self.path.split("?")[0])
                owner = next((one for one in hub.others if path.startswith((one.listing, one.files))), hub)
                content, code = owner.find(path)
                self.send_response(404 if code else 200)
                if code:
                    self.send_header("X-Error-Code", code)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", owner.commit)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def find(self, path: str) -> tuple[bytes, str]:
        """Return what is at ``path`` and no code, or nothing and the hub's word for what is missing."""
        if path == "/":
            return b"hub", ""
        revisions = (self.commit, *self.branches)
        if path.startswith(self.listing):
            self.asked.append(path)
            return (self._listed(), "") if path.removeprefix(self.listing) in revisions else (b"", "RevisionNotFound")
        if not path.startswith(self.files):
            self.asked.append(path)
            return b"", "RepoNotFound"
        revision, _, file = path.removeprefix(f"{self.files}resolve/").partition("/")
        self.asked.append(file)
        found = self.folder / file
        if revision not in revisions or not found.is_file():
            return b"", "EntryNotFound"
        return found.read_bytes(), ""

    def _listed(self) -> bytes:
        files = [file for file in sorted(self.folder.rglob("*")) if file.is_file()]
        siblings = [
            {"rfilename": file.relative_to(self.folder).as_posix(), "size": file.stat().st_size} for file in files
        ]
        return json.dumps({"id": self.name, "sha": self.commit, "siblings": siblings}).encode()

    def __enter__(self) -> "FakeHub":
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        for one in (self, *self.others):
            one.server.server_close()
