"""A hub on loopback that serves one repository at one commit, and remembers what was asked."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPOSITORY = "acme/tiny-bert"
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
