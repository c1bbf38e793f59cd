"""The grid's command: arguments -> plan -> dry run, refusal, or run. Errors are one line, exit code 2."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tyro
from rich.console import Console

from tunekit import estimate, fit
from tunekit.args import GridArgs
from tunekit.blocks import Block
from tunekit.costs import costs, describe_costs
from tunekit.data.base import load_dataset, overview, save_dataset
from tunekit.errors import UserError
from tunekit.lease import Superseded, acquire
from tunekit.plan import Plan, PlannedTrial, State
from tunekit.provenance import source, versions
from tunekit.runner.resources import Resources
from tunekit.safety import refuse_kernels
from tunekit.schema import TrialSpec
from tunekit.status import cells_of
from tunekit.store import ResultStore
from tunekit.sweep import Sweep, describe, find, plan_of

OK, INCOMPLETE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

Say = Callable[[str], None]
Report = Callable[[ResultStore, Sequence[TrialSpec]], None]
Outlook = Callable[[ResultStore, Sequence[TrialSpec], Mapping[str, float | None]], Sequence[str]]
"""Takes the seconds of a trial by cell."""


def main(presets: Mapping[str, Sequence[Block]], report: Report, outlook: Outlook) -> int:
    """The grid's command. ``report`` prints the table at the end, ``outlook`` what more seeds would buy, in a dry run.

    Returns the exit code.
    """
    args = tyro.cli(GridArgs)
    try:
        return _main(args, presets, report, outlook)
    except UserError as error:
        return _refuse(str(error), BAD_INPUT)
    except (OSError, Superseded) as error:
        return _refuse(str(error), INCOMPLETE)
    except KeyboardInterrupt:
        return INTERRUPTED


def _refuse(line: str, code: int) -> int:
    """Print one line to standard error and return ``code``."""
    Console(stderr=True).print(f"error: {line}", markup=False, highlight=False, soft_wrap=True)
    return code


def _main(args: GridArgs, presets: Mapping[str, Sequence[Block]], report: Report, outlook: Outlook) -> int:
    resources = _resources(args)
    if "://" in str(args.storage) or ":/" in str(args.storage):
        raise UserError(f"--storage takes a folder; object stores such as {args.storage} are not supported yet")
    refuse_kernels()
    sweep = find(args, presets)
    store = ResultStore(args.storage.expanduser() / sweep.name)
    plan = plan_of(sweep, store)
    if args.json and not args.dry_run:
        raise UserError("--json goes with --dry-run")
    if args.json:
        sys.stdout.write(json.dumps(plan.to_dict()) + "\n")
        return OK
    say = _say if args.dry_run or sys.stdout.isatty() else _note
    pending = plan.pending(retry_failed=args.retry_failed)
    say(describe(sweep, plan, pending))
    hours = None
    if pending and not estimate.has_accelerator() and not os.environ.get("RAY_ADDRESS"):
        hours = estimate.cpu_hours(pending, sweep.sizes())
        say(f"estimate: {hours:.1f} h on this machine's processor ({estimate.cores()} cores, no accelerator), rough")
    if args.dry_run:
        found = costs(sweep, store, estimate.has_accelerator() or bool(os.environ.get("RAY_ADDRESS")))
        say(describe_costs(found, pending))
        for line in outlook(store, sweep.specs, {one.cell: one.seconds for one in found}):
            say(line)
        return OK
    if not pending:
        say("nothing to do: every trial is done" if not plan.count(State.FAILED) else "nothing to do but failed trials")
        if not all(trial.settled for trial in plan.trials):
            lease = acquire(store.root)
            _settle(plan, store)
            lease.release()
        report(store, sweep.specs)
        return _verdict(plan)
    if hours is not None and hours > estimate.LONG_HOURS and not args.yes:
        raise UserError(
            f"this would take about {hours:.0f} h here; run it where there is a GPU, take --preset laptop, or add --yes"
        )
    return _run(args, sweep, pending, store, resources, say, report)


def _run(
    args: GridArgs,
    sweep: Sweep,
    pending: list[PlannedTrial],
    store: ResultStore,
    resources: Resources,
    say: Say,
    report: Report,
) -> int:
    _check_storage(store.root, pending, args.max_concurrent or estimate.cores())
    peak = _prepare_data(sweep, pending, store, say)
    resources = _fitted(args, resources, peak, len(pending), say)
    try:
        lease = acquire(store.root)
    except OSError as error:
        raise UserError(f"can't write to the storage {store.root}: {error.strerror}") from error
    try:
        if lease.taken_over:
            say(lease.taken_over)
        plan = plan_of(sweep, store)  # another driver may have finished trials since
        pending = plan.pending(retry_failed=args.retry_failed)
        _settle(plan, store)
        for trial in pending:
            if trial.state is State.FAILED:
                store.reopen(store.folder(trial.spec))
        request = {"versions": versions(), **source(), "blocks": [block.to_dict() for block in sweep.blocks]}
        store.add_request({**request, "cells": cells_of(sweep.specs)})
        from tunekit.runner.grid import run_grid  # imports ray: seconds that a dry run or an error need not wait
        from tunekit.runner.progress import Progress

        progress = Progress(plan, {trial.spec.trial_id: trial.spec for trial in pending})
        finished = not pending or run_grid(pending, sweep.models, store, resources, progress, lease)
    finally:
        lease.release()
    plan = plan_of(sweep, store)
    if not finished:
        say("interrupted; the same command goes on from here")
        return INTERRUPTED
    report(store, sweep.specs)
    return _verdict(plan)


def _say(text: str) -> None:
    """Text for a person."""
    Console(highlight=False, soft_wrap=True, markup=False).print(text)


def _note(text: str) -> None:
    """The same among the JSON lines of a run that no terminal shows."""
    sys.stdout.write(json.dumps({"event": "note", "text": text}) + "\n")


def _settle(plan: Plan, store: ResultStore) -> None:
    """Give each trial's own folder to the fingerprint at hand, so that readers of the store never mix two."""
    for trial in plan.trials:
        if not trial.settled:
            store.settle(trial.spec, trial.fingerprint)


def _verdict(plan: Plan) -> int:
    """Name what did not complete; 0 only if everything did."""
    for trial in plan.trials:
        if trial.state is not State.DONE:
            _say(f"{trial.state.value}: {trial.spec.label}{f' ({trial.reason})' if trial.reason else ''}")
    if plan.count(State.FAILED):
        _say("failed trials run again only with --retry-failed")
    return OK if plan.count(State.DONE) == len(plan.trials) else INCOMPLETE


def _check_storage(root: Path, pending: Sequence[PlannedTrial], concurrent: int) -> None:
    """Refuse a storage path that can't be written or is too full, before any work."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as probe:
            probe.write(b"probe")
            probe.flush()
    except OSError as error:
        raise UserError(f"can't write to the storage {root}: {error.strerror}; give another with --storage") from error
    needed = estimate.disk_bytes([trial.spec for trial in pending], concurrent)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"the storage {root} has {free / 1e9:.1f} GB free, records and checkpoints may take {needed / 1e9:.1f} GB; "
            "free some, or give another with --storage"
        )


def _resources(args: GridArgs) -> Resources:
    """What each trial is given. Raises UserError on what no machine, or not this one, can give."""
    for name, value in (("max-concurrent", args.max_concurrent), ("cpus-per-trial", args.cpus_per_trial)):
        if value is not None and value < 1:
            raise UserError(f"--{name} must be 1 or more, got {value}")
    if not os.environ.get("RAY_ADDRESS") and args.cpus_per_trial > estimate.cores():
        raise UserError(
            f"--cpus-per-trial {args.cpus_per_trial} is more than the {estimate.cores()} cores of this machine"
        )
    per_device = 1
    if args.trials_per_device != "auto":
        if not args.trials_per_device.isdigit() or int(args.trials_per_device) < 1:
            raise UserError(f"--trials-per-device takes a number from 1 or auto, got {args.trials_per_device!r}")
        per_device = int(args.trials_per_device)
    return Resources(args.cpus_per_trial, per_device, args.max_concurrent)


def _fitted(args: GridArgs, resources: Resources, peak: int | None, num_trials: int, say: Say) -> Resources:
    """``resources`` with as many trials at a time as ``peak`` bytes each leave room for, where that was left to us."""
    from tunekit.engine import memory_peak  # torch, which has been loaded by now

    joined = bool(os.environ.get("RAY_ADDRESS"))
    line = ""
    if args.trials_per_device == "auto" and (joined or estimate.has_accelerator()):
        resources, line = fit.on_gpu(resources, peak, None if joined else memory_peak.device_bytes())
    elif not joined and not estimate.has_accelerator() and peak is not None:
        at_a_time = min(estimate.cores() // args.cpus_per_trial, args.max_concurrent or num_trials, num_trials)
        process, available = memory_peak.host_bytes()
        resources, line = fit.on_cpu(resources, peak, process, available, at_a_time)
    if line:
        say(line)
    return resources


def _prepare_data(sweep: Sweep, pending: Sequence[PlannedTrial], store: ResultStore, say: Say) -> int | None:
    """Load, check and describe each dataset, put its copy in the sweep, fill the token cache, try each recipe once.

    Returns the largest predicted peak in bytes, over the first trial of each cell; None where one has no closed form.
    """
    from tunekit.engine.build import build_model, check_device, prepare  # torch: seconds that a dry run need not wait
    from tunekit.engine.memory_plan import predicted_peak

    if not os.environ.get("RAY_ADDRESS"):
        check_device({trial.spec.precision for trial in pending}, gpu=estimate.has_accelerator())
    for name in dict.fromkeys(trial.spec.dataset for trial in pending):
        data = sweep.own_data.get(name) or load_dataset(name)
        save_dataset(data, store.data_folder, with_text=name in sweep.own_data)
        seen = overview(data)
        rows = ", ".join(f"{count} {split}" for split, count in seen["rows"].items())
        duplicates = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in seen["duplicates"].items())
        say(f"{data.display_name}: {rows} rows, {seen['classes']} classes; duplicates: {duplicates}")
    tokenised, configs, peaks = set(), {}, {}
    for trial in pending:
        spec, model = trial.spec, sweep.models[trial.spec.model]
        prepared = prepare(spec, trial.fingerprint, model, store.data_folder)
        recipe = (spec.model, spec.method, str(spec.method_params))
        if recipe not in configs:
            configs[recipe] = build_model(spec, model, prepared).config.to_dict()
        if spec.cell not in peaks:
            peaks[spec.cell] = predicted_peak(spec, configs[recipe], prepared.splits, len(prepared.data.label_names))
        key = (spec.model, spec.dataset, spec.max_length, spec.train_limit, spec.val_fraction, spec.data_seed)
        if key not in tokenised:
            tokenised.add(key)
            splits = prepared.splits
            texts, cut = sum(map(len, splits.values())), sum(split.tokens.num_truncated for split in splits.values())
            say(f"{spec.model} on {spec.dataset}: {100 * cut / texts:.1f} % of texts cut to {spec.max_length} tokens")
    return None if None in peaks.values() else max(peaks.values())
