"""Train the trials of a sweep that a store lacks, for `tunekit run`, for a search's choices and for `tunekit.run`."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.commands.checks import check_storage
from tunekit.commands.output import Say
from tunekit.commands.preparing import prepare
from tunekit.data.tokens import check_cache
from tunekit.errors import UserError
from tunekit.planning import machine, plugins
from tunekit.planning.disk import disk_bytes
from tunekit.planning.options import RunOptions
from tunekit.planning.plan import Plan, PlanState, plan_sweep
from tunekit.planning.provenance import source, unstamped, versions
from tunekit.planning.resolve import ResolvedSweep
from tunekit.planning.resources import Resources
from tunekit.planning.sizes import shapes_of
from tunekit.storage.lease import Lease, acquire
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore

if TYPE_CHECKING:
    from tunekit.runner.session import RayStart


def run_sweep(sweep: ResolvedSweep, plan: Plan, store: ResultStore, options: RunOptions, say: Say) -> Plan:
    """Train the pending trials of ``plan`` and return the plan after the run.

    ``say`` takes notes. Raises UserError on storage, data or machines that can't be used, Stopped where a signal ended
    the run, and OSError where the store can't be written.
    """
    pending = plan.pending(retry_failed=options.retry_failed)
    if not pending:
        only_failed = plan.count(PlanState.FAILED) > 0
        say("nothing to do but failed trials" if only_failed else "nothing to do: every trial is done")
        if not all(trial.owns_folder for trial in plan.trials):
            lease = acquire_lease(store, say)
            claim_folders(plan, store)
            lease.release()
        _track_stored(options.track, store, say)
        return plan
    specs = [trial.spec for trial in pending]
    at_a_time = options.max_concurrent or machine.cores()
    check_storage(store.root, disk_bytes(specs, shapes_of(sweep), at_a_time, options.kept))
    with start_ray(options, len(pending)) as ray_start:
        resources = prepare(sweep, pending, store, options, say, num_trials=len(pending))
        lease = acquire_lease(store, say)
        try:
            # Another driver may have finished trials since the plan was made.
            plan = plan_sweep(sweep, store, write_cache=True, previous=plan)
            store.add_request({**request_of(sweep), "cells": cells_of(sweep.specs)})
            train(
                plan, sweep, store, resources, lease, ray_start,
                retry_failed=options.retry_failed, track=options.track,
            )  # fmt: skip
        finally:
            lease.release()
    return plan_sweep(sweep, store, previous=plan)


def start_ray(options: RunOptions, num_trials: int) -> "RayStart":
    """Return a context in which Ray starts, in the background, for a run of ``num_trials`` trials.

    Raises UserError where this machine's cache can't be written, since every trial would fail.
    """
    check_cache()
    from tunekit.runner.session import RayStart  # imports ray without Ray Tune, which imports longer than the rest

    at_a_time = min(machine.cores() // options.cpus_per_trial, options.max_concurrent or num_trials, num_trials)
    in_own_processes = not machine.has_accelerator() and options.pack in (None, 1)
    return RayStart(preload=in_own_processes and 2 * at_a_time > machine.cores())


def request_of(sweep: ResolvedSweep) -> dict[str, object]:
    """Return the request for sweep.json: the cells and seeds that were asked for, and tunekit's version."""
    return {
        "versions": versions(),
        **source(),
        "plugins": plugins.described(),
        "display_names": sweep.display_names(),
        "default_learning_rates": sweep.default_learning_rates(),
        "blocks": [block.to_dict() for block in sweep.blocks],
    }


def acquire_lease(store: ResultStore, say: Say) -> Lease:
    """Return the lease on the sweep of ``store``.

    Raises UserError where another driver has it or the storage can't be written.
    """
    try:
        lease = acquire(store.root)
    except OSError as error:
        raise UserError(
            f"can't write to the storage {store.root}: {error.strerror}; give another with --storage"
        ) from error
    if lease.taken_over:
        say(lease.taken_over)
    if os.environ.get("RAY_ADDRESS") and (line := unstamped()):
        say(line)
    return lease


def train(
    plan: Plan,
    sweep: ResolvedSweep,
    store: ResultStore,
    resources: Resources,
    lease: Lease,
    ray_start: "RayStart",
    *,
    retry_failed: bool,
    track: Sequence[str] = (),
) -> None:
    """Train the pending trials of ``plan`` on Ray. The caller holds the lease.

    Raises Stopped where a signal ended the run, UserError where the nodes can't train for this driver.
    """
    pending = plan.pending(retry_failed=retry_failed)
    claim_folders(plan, store)
    for trial in pending:
        if trial.state is PlanState.FAILED:
            store.set_summary_aside(store.folder(trial.spec))
    if not pending:
        return
    from tunekit.commands.console import Progress
    from tunekit.runner.grid import run_grid  # imports ray, which takes seconds

    progress = Progress(plan, {trial.spec.trial_id: trial.spec for trial in pending})
    run_grid(pending, sweep.models, store, resources, progress, lease, track, ray_start)


def claim_folders(plan: Plan, store: ResultStore) -> None:
    """Give each trial's own folder to the fingerprint at hand, so that readers of the store never mix two."""
    for trial in plan.trials:
        if not trial.owns_folder:
            store.claim_folder(trial.spec, trial.fingerprint)


def _track_stored(names: Sequence[str], store: ResultStore, say: Say) -> None:
    """Send the trackers those records of the store that they lack."""
    if names:
        from tunekit.trackers.feed import Feeds

        with Feeds(names, store, say):
            pass
