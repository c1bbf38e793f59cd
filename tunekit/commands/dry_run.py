"""The output of `tunekit run --dry-run`: the plan, the costs of each trial, and the use of more seeds."""

from collections.abc import Sequence
from dataclasses import asdict
from math import ceil
from typing import Any

from tunekit.commands.costs import CellCost, costs, describe_costs
from tunekit.commands.how_long import device_of, epochs_left, joins_cluster, say_estimate, timer_of
from tunekit.commands.more_seeds import more_seeds
from tunekit.planning import machine
from tunekit.planning.batching import described
from tunekit.planning.disk import kept_weights_bytes
from tunekit.planning.estimate import Timer
from tunekit.planning.options import RunOptions
from tunekit.planning.plan import Plan, describe
from tunekit.planning.resolve import ResolvedSweep
from tunekit.store.result_store import ResultStore


def grid_as_text(sweep: ResolvedSweep, plan: Plan, store: ResultStore, options: RunOptions) -> str:
    """Return the dry run for people."""
    pending = plan.pending(retry_failed=options.retry_failed)
    lines = [describe(sweep, plan, pending), *sweep.data_lines()]
    device = device_of(sweep, options)
    timer = timer_of(sweep, plan.stored, device)
    say_estimate(epochs_left(pending), timer, device, options, lines.append)
    if pending and device and device.probe:
        lines.append(device.probe)
    found = _costs(sweep, timer)
    lines.append(describe_costs(found, pending))
    if options.kept != "none" and pending:
        kept = kept_weights_bytes([trial.spec for trial in pending], timer.shapes, options.kept)
        lines.append(f"kept weights (--keep-models {options.kept}): at most {ceil(kept / 1e6):,} MB")
    return "\n".join([*lines, *_more_seeds(sweep, plan, found)])


def plan_as_json(sweep: ResolvedSweep, plan: Plan) -> dict[str, Any]:
    """Return the plan for programs, with the summaries of the user's own data by the name of the dataset."""
    return {**plan.to_dict(), "datasets": {name: one.to_dict() for name, one in sweep.data_summaries().items()}}


def grid_as_json(sweep: ResolvedSweep, plan: Plan, store: ResultStore, options: RunOptions) -> dict[str, Any]:
    """Return the dry run for programs: the plan of ``--json``, the sweep, its folder and the costs of each cell.

    ``notes`` has the lines on batches, models and times that the dry run for people also has. ``peak_bytes`` and
    ``checkpoint_bytes`` are bytes, times are seconds of one trial; they are null where they are not known.
    ``estimate`` is the range of seconds of the whole run, null where it is not known.
    """
    pending = plan.pending(retry_failed=options.retry_failed)
    device = device_of(sweep, options)
    timer = timer_of(sweep, plan.stored, device)
    said: list[str] = []
    whole = say_estimate(epochs_left(pending), timer, device, options, said.append)
    notes = [*described(sweep.specs, sweep.models), *(said[1:] if whole else said)]
    return {
        "sweep": sweep.name,
        "folder": str(store.root),
        "to_run": len(pending),
        **plan_as_json(sweep, plan),
        "estimate": whole and {"low_seconds": whole.low, "high_seconds": whole.high, "source": whole.source},
        "cells": [asdict(one) for one in _costs(sweep, timer)],
        "kept_weights_bytes": kept_weights_bytes([trial.spec for trial in pending], timer.shapes, options.kept),
        "notes": [*notes, *([device.probe] if device and device.probe else [])],
        "stale_trials": [{"trial": trial.spec.label, "other": list(parts)} for trial, parts in plan.stale],
        "damaged": list(plan.damaged),
    }


def _costs(sweep: ResolvedSweep, timer: Timer) -> list[CellCost]:
    return costs(sweep, timer, gpu=machine.has_accelerator() or joins_cluster())


def _more_seeds(sweep: ResolvedSweep, plan: Plan, found: Sequence[CellCost]) -> list[str]:
    return more_seeds(sweep.specs, plan.stored, {one.cell: one.seconds for one in found})
