"""Start or join Ray, with the settings that a sweep needs; and stop it."""

import logging
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

from tunekit.errors import UserError, first_line

# Ray reads these at import: uv would ship the working directory, Tune would swallow the first Ctrl-C and, in its new
# output engine, print tables beside ours; a failed attempt is one line of ours, its traceback lies in Tune's folder.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"
if not os.environ.get("RAY_ADDRESS"):
    # As on other systems: the node's address is the loopback one, and no port of a Ray of ours is seen from outside.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray  # noqa: E402
from ray.tune.execution import class_cache  # noqa: E402

from tunekit.planning.resources import Node  # noqa: E402

# Tune would hand these to each trial by way of a log that everyone on the machine can read; no trial needs them.
class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
    {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
)


def in_one_line(record: logging.LogRecord) -> bool:
    """A filter for loggers: an error's first line in the place of its traceback."""
    if record.exc_info and record.exc_info[1]:
        record.msg, record.args = f"{record.getMessage().rstrip(': ')}: {first_line(record.exc_info[1])}", None
        record.exc_info = None
    return True


# What Tune can't write of its own state, on a full disk, say, we never read.
for _module in (
    "ray.tune.execution.experiment_state",
    "ray.tune.execution.tune_controller",
    "ray.train._internal.storage",
):
    logging.getLogger(_module).addFilter(in_one_line)

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
