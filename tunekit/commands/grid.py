"""The grid's command: arguments -> plan -> dry run, refusal, or run. Errors are one line, exit code 2."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence

import tyro

from tunekit.commands.costs import costs, describe_costs
from tunekit.commands.shared import (
    OK,
    Say,
    acquire_lease,
    check,
    check_storage,
    claim_folders,
    estimate_hours,
    exit_code_of,
    limit_by_memory,
    prepare_data,
    refuse_long,
    request_of,
    say_for,
    store_of,
    track_stored,
    train,
    verdict,
)
from tunekit.planning import estimate
from tunekit.planning.args import GridArgs
from tunekit.planning.blocks import Block
from tunekit.planning.plan import Plan, PlanState
from tunekit.planning.resolve import ResolvedSweep, describe, plan_sweep, resolve_grid
from tunekit.planning.resources import Resources
from tunekit.schema import TrialSpec
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore

Report = Callable[[ResultStore, Sequence[TrialSpec]], None]
Outlook = Callable[[ResultStore, Sequence[TrialSpec], Mapping[str, float | None]], Sequence[str]]
"""Takes the seconds of a trial by cell."""


def main(presets: Mapping[str, Sequence[Block]], report: Report, outlook: Outlook) -> int:
    """The grid's command. ``report`` prints the table at the end, ``outlook`` what more seeds would buy, in a dry run.

    Returns the exit code.
    """
    args = tyro.cli(GridArgs)
    return exit_code_of(lambda: _main(args, presets, report, outlook))


def _main(args: GridArgs, presets: Mapping[str, Sequence[Block]], report: Report, outlook: Outlook) -> int:
    resources = check(args)
    sweep = resolve_grid(args, presets)
    store = store_of(args, sweep.name)
    plan = plan_sweep(sweep, store)
    if args.json:
        sys.stdout.write(json.dumps(plan.to_dict()) + "\n")
        return OK
    say = say_for(args)
    pending = plan.pending(retry_failed=args.retry_failed)
    say(describe(sweep, plan, pending))
    hours = estimate_hours(pending, sweep, say)
    if args.dry_run:
        found = costs(sweep, plan.stored, estimate.has_accelerator() or bool(os.environ.get("RAY_ADDRESS")))
        say(describe_costs(found, pending))
        if args.keep_models != "none" and pending:
            kept = estimate.kept_weights_bytes([trial.spec for trial in pending], args.keep_models)
            say(f"kept weights (--keep-models {args.keep_models}): at most {kept / 1e9:.2f} GB")
        for line in outlook(store, sweep.specs, {one.cell: one.seconds for one in found}):
            say(line)
        return OK
    if not pending:
        say(
            "nothing to do: every trial is done"
            if not plan.count(PlanState.FAILED)
            else "nothing to do but failed trials"
        )
        if not all(trial.settled for trial in plan.trials):
            lease = acquire_lease(store, say)
            claim_folders(plan, store)
            lease.release()
        track_stored(args.track, store, say)
        report(store, sweep.specs)
        return verdict(plan)
    refuse_long(hours, args, "laptop")
    return _run(args, sweep, plan, store, resources, say, report)


def _run(
    args: GridArgs,
    sweep: ResolvedSweep,
    plan: Plan,
    store: ResultStore,
    resources: Resources,
    say: Say,
    report: Report,
) -> int:
    pending = plan.pending(retry_failed=args.retry_failed)
    concurrent = args.max_concurrent or estimate.cores()
    check_storage(store.root, [trial.spec for trial in pending], concurrent, args.keep_models)
    peak = prepare_data(sweep, pending, store, say)
    resources = limit_by_memory(args, resources, peak, len(pending), say)
    lease = acquire_lease(store, say)
    try:
        plan = plan_sweep(
            sweep, store, write_cache=True, previous=plan
        )  # another driver may have finished trials since
        store.add_request({**request_of(sweep), "cells": cells_of(sweep.specs)})
        train(plan, sweep, store, resources, lease, retry_failed=args.retry_failed, track=args.track)
    finally:
        lease.release()
    plan = plan_sweep(sweep, store, previous=plan)
    report(store, sweep.specs)
    return verdict(plan)
