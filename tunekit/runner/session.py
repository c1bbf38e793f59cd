"""Start Ray on this machine or join a cluster, with the settings that a sweep needs; and stop it."""

import logging
import os
import secrets
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import ray

from tunekit.errors import UserError, first_line
from tunekit.planning.resources import Node

OBJECT_STORE_BYTES = 256 * 2**20
"""Trials exchange no large objects, so Ray's object store is small."""
ASK_SECONDS = 3
"""The seconds in which an address must answer; then it counts as unreachable."""
NODE_SECONDS = 1800
"""The seconds that a cluster may take until a node can train: it may have to rent its first worker."""
PRELOADING = {
    "preload_python_modules": ["tunekit.runner.preloaded"],
    "idle_worker_killing_time_threshold_ms": 3_600_000,
}
"""Settings of a Ray whose processes import in advance the libraries that train trials.

Tune reserves cores for trials before it starts their actors. By default Ray ends an idle process for which no core is
free after a second, and so would end the very processes that these actors are to get.
"""


@dataclass(frozen=True)
class Session:
    """A connection to Ray."""

    dashboard: str | None
    """Address of the dashboard, None where it does not run."""
    nodes: tuple[Node, ...]
    """The nodes that are alive."""
    ours: bool
    """Whether this process started Ray, and so stops it."""
    warning: str | None = None
    """A line for people on a danger of the cluster that was joined; None without one."""

    @property
    def num_cpus(self) -> float:
        """The number of cores of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def num_gpus(self) -> float:
        """The number of GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)


class RayStart:
    """Starts or joins Ray in a thread of its own, so that the caller can prepare a run meanwhile.

    Enter it to begin. ``wait`` returns the session. Leaving it stops a Ray that was started here.
    """

    def __init__(self, *, preload: bool = False) -> None:
        """With ``preload``, processes that Ray starts in advance, one a core, import the training libraries at once.

        Set it only if trials will train in most of these processes: each of them takes the memory of the libraries.
        """
        self._preload = preload
        self._session: Session | None = None
        self._error: Exception | None = None
        self._ready, self._over = threading.Event(), threading.Event()
        # A daemon: an interrupted process must not wait until Ray has started. Ray's processes end with this one.
        self._thread = threading.Thread(target=self._hold_session, name="ray-start", daemon=True)

    def __enter__(self) -> "RayStart":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        if self._ready.is_set() or not isinstance(error, KeyboardInterrupt):
            self._thread.join()

    def wait(self) -> Session:
        """Return the session once Ray has started. Raises UserError if there is no Ray to join, or none starts."""
        self._ready.wait()
        if self._session is None:
            raise self._error or UserError("Ray has not started")
        return self._session

    def _hold_session(self) -> None:
        """Start Ray, and stop it in the same thread.

        Linux kills the processes that Ray has started when the *thread* ends that started them (PR_SET_PDEATHSIG), so
        this thread lasts as long as the session.
        """
        try:
            self._session = connect(preload=self._preload)
        except (UserError, OSError) as error:
            self._error = error  # ``wait`` raises it
            return
        finally:
            self._ready.set()
        self._over.wait()
        disconnect(self._session)


def connect(*, preload: bool = False) -> Session:
    """Join the cluster of ``RAY_ADDRESS`` or the Ray that this process is connected to, else start Ray here.

    A Ray started here asks for a token (unless RAY_AUTH_MODE says otherwise) and shows its dashboard on loopback only;
    for ``preload`` see ``RayStart``. The session of a cluster that asks for no token has a warning. Raises UserError
    if there is no Ray to join, or none starts.
    """
    ours = not (ray.is_initialized() or os.environ.get("RAY_ADDRESS"))
    warning = None
    if ray.is_initialized():
        url = None
    elif address := os.environ.get("RAY_ADDRESS"):
        url = _join(address)
        if url and answers_without_token(f"http://{url}"):
            warning = open_line(f"http://{url}")
    else:
        keep_token_private()
        url = _init(
            "Ray does not start on this machine; where it is only busy, the same command may succeed later",
            address="local",
            dashboard_host="127.0.0.1",
            object_store_memory=OBJECT_STORE_BYTES,
            _system_config=PRELOADING if preload else None,
        )
    return Session(f"http://{url}" if url else None, _nodes(), ours, warning)


def wait_for_nodes(session: Session, wait: Callable[[str], None]) -> Session:
    """Wait until a node can train, and return the session with the nodes at that time. Raises UserError if none comes.

    These nodes decide whether trials run on GPUs. ``wait`` is told what is waited for.
    """
    deadline = time.monotonic() + NODE_SECONDS
    session = replace(session, nodes=_nodes())
    if not any(node.trains for node in session.nodes):
        wait("waiting for a node with cores or GPUs")
    while not any(node.trains for node in session.nodes):
        if time.monotonic() > deadline:
            raise UserError(f"no node with cores or GPUs in {NODE_SECONDS} s; give the cluster at least one worker")
        time.sleep(1)
        session = replace(session, nodes=_nodes())
    return session


def _nodes() -> tuple[Node, ...]:
    """Return the nodes that are alive."""
    nodes: Any = ray.nodes  # has no types
    return tuple(
        Node(
            one["NodeID"],
            f"{one['NodeManagerHostname']} ({one['NodeManagerAddress']})",
            one["Resources"].get("CPU", 0.0),
            one["Resources"].get("GPU", 0.0),
        )
        for one in nodes()
        if one["Alive"]
    )


def _join(address: str) -> str | None:
    """Join the Ray at ``address`` and return its dashboard's address. Raises UserError.

    The address is tried by a plain connection first: Ray itself would try a dead one for many minutes.
    """
    problem = f"can't join the Ray at RAY_ADDRESS={address}; start the cluster, or unset RAY_ADDRESS"
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), ASK_SECONDS).close()
        except OSError as error:
            raise UserError(f"{problem} ({error})") from error
    return _init(problem)


def _init(problem: str, **settings: Any) -> str | None:
    """Call ``ray.init`` and return its dashboard's address. Raises UserError with ``problem`` and Ray's reason."""
    try:
        context: Any = ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
        url: str | None = context.dashboard_url
        return url
    except Exception as error:  # Ray raises it bare where a process of its own does not come up
        ray.shutdown()
        raise UserError(f"{problem} ({first_line(error)})") from error


def disconnect(session: Session) -> None:
    """Stop a Ray that ``connect`` started."""
    if session.ours:
        ray.shutdown()


def keep_token_private() -> None:
    """Write the file of Ray's token, readable by its owner alone; Ray itself would leave it readable by all.

    Raises OSError if it can't be written.
    """
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        path.chmod(0o600)


def answers_without_token(dashboard: str | None) -> bool:
    """Return whether Ray's job API at ``dashboard`` answers a request without a token."""
    if not dashboard:
        return False
    try:
        with urllib.request.urlopen(f"{dashboard}/api/jobs/", timeout=ASK_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError):
        return False


def open_line(dashboard: str | None) -> str:
    """Return a line for people on a cluster that asks for no token: the danger, and how to mend it."""
    return f"Ray at {dashboard} asks for no token: whoever reaches it can run code; start it with RAY_AUTH_MODE=token"
