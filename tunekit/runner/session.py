"""Start or join Ray, with the settings that a sweep needs; and stop it."""

import os
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from tunekit.errors import UserError, first_line
from tunekit.planning.resources import Node

OBJECT_STORE_BYTES = 256 * 2**20
ASK_SECONDS = 3
NODE_SECONDS = 1800
"""A cluster may have to rent its first worker."""


@dataclass(frozen=True)
class Session:
    """A connection to Ray."""

    dashboard: str | None
    """Address of the dashboard, None where it does not run."""
    nodes: tuple[Node, ...]
    """Those that are alive."""
    ours: bool
    """Whether we started this Ray and so stop it."""

    @property
    def num_cpus(self) -> float:
        """Cores of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def num_gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)


def connect() -> Session:
    """Join the cluster of ``RAY_ADDRESS`` or one this process is connected to, else start Ray on this machine.

    A Ray started here asks for a token (unless RAY_AUTH_MODE says otherwise) and shows its dashboard on loopback only;
    trials exchange no large objects, so its store is small. A cluster that asks for no token gets one line of warning.
    Raises UserError where there is no Ray to join, or none starts.
    """
    ours = False
    if ray.is_initialized():
        url = None
    elif address := os.environ.get("RAY_ADDRESS"):
        url = _join(address)
        if answers_without_token(url and f"http://{url}"):
            sys.stderr.write(f"warning: {open_line(url)}\n")
    else:
        ours = True
        keep_token_private()
        url = _init(
            "Ray does not start on this machine; it has 30 s, which a busy one may exceed: try again",
            address="local",
            dashboard_host="127.0.0.1",
            object_store_memory=OBJECT_STORE_BYTES,
        )
    return Session(f"http://{url}" if url else None, _nodes(), ours)


def wait_for_nodes(session: Session) -> Session:
    """``session`` once a node can train. Raises UserError where none comes.

    Whether trials run on GPUs is decided by the nodes that are there then.
    """
    deadline = time.monotonic() + NODE_SECONDS
    if not any(node.trains for node in session.nodes):
        sys.stderr.write("waiting for a node with cores or GPUs\n")
    while not any(node.trains for node in session.nodes):
        if time.monotonic() > deadline:
            raise UserError(f"no node with cores or GPUs in {NODE_SECONDS} s; give the cluster at least one worker")
        time.sleep(1)
        session = replace(session, nodes=_nodes())
    return session


def _nodes() -> tuple[Node, ...]:
    """Those that are alive."""
    return tuple(
        Node(
            one["NodeID"],
            f"{one['NodeManagerHostname']} ({one['NodeManagerAddress']})",
            one["Resources"].get("CPU", 0.0),
            one["Resources"].get("GPU", 0.0),
        )
        for one in ray.nodes()
        if one["Alive"]
    )


def _join(address: str) -> str | None:
    """Join the Ray at ``address``, which is asked first: Ray itself would try a dead one for many minutes."""
    otherwise = f"can't join the Ray at RAY_ADDRESS={address}; start the cluster, or unset RAY_ADDRESS"
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), ASK_SECONDS).close()
        except OSError as error:
            raise UserError(f"{otherwise} ({error})") from error
    return _init(otherwise)


def _init(otherwise: str, **settings: Any) -> str | None:
    """``ray.init``; address of its dashboard. Raises UserError: ``otherwise``, and Ray's first line on why."""
    try:
        return ray.init(log_to_driver=False, logging_level="ERROR", **settings).dashboard_url
    except Exception as error:  # Ray raises it bare where a process of its own does not come up
        ray.shutdown()
        raise UserError(f"{otherwise} ({first_line(error)})") from error


def disconnect(session: Session) -> None:
    """Stop a Ray that ``connect`` started."""
    if session.ours:
        ray.shutdown()


def keep_token_private() -> None:
    """Make the file of Ray's token readable by its owner alone: Ray itself would leave it readable by all.

    Raises OSError where it can't be written.
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
    """Whether Ray's job API at ``dashboard`` answers whoever asks."""
    if not dashboard:
        return False
    try:
        with urllib.request.urlopen(f"{dashboard}/api/jobs/", timeout=ASK_SECONDS) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError):
        return False


def open_line(dashboard: str | None) -> str:
    """What is wrong with a cluster that asks for no token, and how to mend it."""
    return f"Ray at {dashboard} asks for no token: whoever reaches it can run code; start it with RAY_AUTH_MODE=token"
