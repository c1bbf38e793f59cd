"""Check that a cluster's nodes match the driver: they see the same storage and have the same source and versions.

Nodes that are there at the start are asked before the run, which is refused in one line if a node does not match. A
node that joins later refuses its first trial, and that ends the run: every trial would fail on such a node, so it
would take trials faster than any other.
"""

import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import ray
from ray import tune
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tunekit.errors import UserError
from tunekit.planning.provenance import differing, source_hash, versions
from tunekit.planning.resources import Node
from tunekit.runner.session import Session
from tunekit.storage.files import write_atomic
from tunekit.storage.lease import Lease
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place

ANSWER_SECONDS = 180
"""A node that has not answered in this time is refused. A new node may first have to unpack the working directory."""
REFUSED = "refused"
"""The key, in the result of a trial that its node refused, of the line that says why."""


@dataclass(frozen=True)
class Driver:
    """The facts that a node must have in common with the driver."""

    storage: Place
    probe: Place
    """A file or object that the driver wrote to the storage."""
    token: str
    """The content of the probe."""
    source_hash: str
    versions: tuple[tuple[str, str | None], ...]
    """The names of packages, and their versions; None for a package that is missing."""


class Guard(tune.Stopper):
    """Ends a run at the first trial that its node refused."""

    def __init__(self, driver: Driver | None) -> None:
        """``driver`` is None if the driver's own node is the only one."""
        self.driver = driver
        self.line: str | None = None
        """Why a node refused; None as long as none has."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether the trial ends with this result."""
        self.line = self.line or result.get(REFUSED)
        return REFUSED in result

    def stop_all(self) -> bool:
        """Return whether all trials end."""
        return self.line is not None

    def check(self) -> None:
        """Raise UserError if a node refused."""
        if self.line:
            raise UserError(self.line)


@contextmanager
def checked_nodes(joined: Session, lease: Lease) -> Iterator[Guard]:
    """Ask the nodes of ``joined``, and yield a guard for a run on them. Raises UserError if a node does not match."""
    if joined.ours:
        yield Guard(None)
        return
    sweep = lease.sweep.resolve()
    with asked(joined, sweep.parent, sweep / "starts" / f"{lease.start}.probe") as driver:
        guard = Guard(driver)
        yield guard
        guard.check()


@contextmanager
def asked(joined: Session, storage: Place, probe: Place) -> Iterator[Driver]:
    """Write ``probe`` to ``storage``, ask the nodes if there are several, and yield what they must match.

    Raises UserError with the line of the first node that refuses, and OSError if ``probe`` can't be written.
    """
    driver = Driver(storage, probe, secrets.token_hex(8), source_hash(), tuple(versions().items()))
    write_atomic(probe, driver.token.encode())
    try:
        if len(joined.nodes) > 1:
            _ask(joined.nodes, driver)
        yield driver
    finally:
        probe.unlink(missing_ok=True)


def refused(line: str) -> dict[str, Any]:
    """Return the only result of a trial that its node refused."""
    return {REFUSED: line, "done": True}


@cache
def refusal(driver: Driver | None) -> str | None:
    """Return why this process must not train for ``driver``, with the node's name; None if it may train.

    The answer is found once a process.
    """
    if driver is None:
        return None
    line = _difference(driver)
    node_ip_address: Any = ray.util.get_node_ip_address  # has no types
    return line and f"node {socket.gethostname()} ({node_ip_address()}): {line}"


def _difference(driver: Driver) -> str | None:
    """Return a text on what differs here from the driver; None if nothing does."""
    try:
        seen = driver.probe.read_text(encoding="utf-8")
    except OSError as error:
        seen, reason = None, error.strerror
    if seen != driver.token:
        if isinstance(driver.probe, ObjectPath):
            return f"it can't read the driver's storage {driver.storage}{f' ({reason})' if seen is None else ''}"
        return (
            f"it does not see the driver's storage {driver.storage}; give --storage a folder that all nodes share, "
            "as on NFS"
        )
    here = versions()
    if names := differing(dict(driver.versions), here):
        found = ", ".join(f"{name} {here[name] or 'missing'} (driver: {dict(driver.versions)[name]})" for name in names)
        return f"other versions can move numbers: {found}; install the same on all nodes, as constraints.txt has them"
    if source_hash() != driver.source_hash:
        return (
            f"its tunekit has source hash {source_hash()}, the driver's {driver.source_hash}; "
            "submit with --working-dir, or run one image everywhere"
        )
    return None


def _answer(driver: Driver) -> str | None:
    """Return ``refusal(driver)``: Ray takes plain functions only, not cached ones."""
    return refusal(driver)


def _ask(nodes: Sequence[Node], driver: Driver) -> None:
    """Ask every node that can train. Raises UserError with the line of the first node that refuses."""
    answers = {
        ray.remote(_answer).options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        ).remote(driver): node
        for node in nodes
        if node.trains
    }  # fmt: skip
    for answer, node in answers.items():
        try:
            line = ray.get(answer, timeout=ANSWER_SECONDS)
        except GetTimeoutError:
            line = f"node {node.name} has not answered in {ANSWER_SECONDS} s; mend it, or take it out of the cluster"
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            line = f"node {node.name} can't run tunekit ({reason}); install it there, or submit with --working-dir"
        if line:
            raise UserError(line)
