"""A real S3 server on loopback for the tests that keep a sweep there."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer
from pyarrow.fs import S3FileSystem


class Requests(logging.Handler):
    """Counts what the server was asked, by method."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """A line of the server's log."""
        parts = record.getMessage().split('"')
        if len(parts) > 1:
            self.seen.append(parts[1])

    def take(self) -> list[str]:
        """The requests since the last call."""
        seen, self.seen = self.seen, []
        return seen


class Server:
    """A running server, and a way to make buckets."""

    def __init__(self, host: str, requests: Requests) -> None:
        self.host, self.requests, self.count = host, requests, 0
        self.url = f"http://{host}"
        self.filesystem = S3FileSystem(
            endpoint_override=host, scheme="http", region="us-east-1", allow_bucket_creation=True
        )

    def bucket(self) -> str:
        """A new bucket's name."""
        self.count += 1
        name = f"bucket-{self.count}"
        self.filesystem.create_dir(name)
        return name


@contextmanager
def serving() -> Iterator[Server]:
    """A server until the end."""
    requests, log = Requests(), logging.getLogger("werkzeug")
    log.setLevel(logging.INFO)
    log.addHandler(requests)
    log.propagate = False
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Server(f"{host}:{port}", requests)
    finally:
        server.stop()
        log.removeHandler(requests)
