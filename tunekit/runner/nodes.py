"""A cluster's nodes against the driver: the same storage, source and versions, or the run is refused in one line.

Nodes that are there at the start are asked then; one that joins later refuses in its first trial, which ends the run:
each trial that such a node took would fail, and it would take them faster than any other.
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
from tunekit.runner import session
from tunekit.storage.files import write_atomic
from tunekit.storage.lease import Lease
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place

ANSWER_SECONDS = 180
"""A node that has not answered by then is refused; a new one may have to unpack the working directory first."""
REFUSED = "refused"
"""Key of the result of a trial that its node refused: the line that says why."""


@dataclass(frozen=True)
class Driver:
    """What a node has to have in common with the driver."""

    storage: Place
    probe: Place
    """A file or object that the driver wrote to the storage, and what it holds:"""
    token: str
    source_hash: str
    versions: tuple[tuple[str, str | None], ...]


class Guard(tune.Stopper):
    """Ends a run at the first trial that its node refused."""

    def __init__(self, driver: Driver | None) -> None:
        """``driver`` is None where there is no other node than the driver's own."""
        self.driver = driver
        self.line: str | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial ends here."""
        self.line = self.line or result.get(REFUSED)
        return REFUSED in result

    def stop_all(self) -> bool:
        """Whether all do."""
        return self.line is not None

    def check(self) -> None:
        """Raise UserError where a node refused."""
        if self.line:
            raise UserError(self.line)


@contextmanager
def checked_nodes(joined: session.Session, lease: Lease) -> Iterator[Guard]:
    """A guard for a run on ``joined``, its nodes asked. Raises UserError where one differs or can't see the storage."""
    if joined.ours:
        yield Guard(None)
        return
    sweep = lease.sweep.resolve()
    with asked(joined, sweep.parent, sweep / "starts" / f"{lease.start}.probe") as driver:
        guard = Guard(driver)
        yield guard
        guard.check()


@contextmanager
def asked(joined: session.Session, storage: Place, probe: Place) -> Iterator[Driver]:
    """Write ``probe`` to ``storage`` and ask the nodes, where there are several.

    Raises UserError with the line of the first that refuses, OSError where ``probe`` can't be written.
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
    """The one result of a trial that its node refused."""
    return {REFUSED: line, "done": True}


@cache
def refusal(driver: Driver | None) -> str | None:
    """Why this process must not train for ``driver``, naming its node; None where it may. Asked once a process."""
    if driver is None:
        return None
    line = _difference(driver)
    return line and f"node {socket.gethostname()} ({ray.util.get_node_ip_address()}): {line}"


def _difference(driver: Driver) -> str | None:
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
    """``refusal``, as Ray takes it: a plain function."""
    return refusal(driver)


def _ask(nodes: Sequence[Node], driver: Driver) -> None:
    """Ask every node that trains. Raises UserError with the line of the first that refuses."""
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
