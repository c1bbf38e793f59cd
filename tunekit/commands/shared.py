"""What the commands share: errors as one line and an exit code, checks before work, the lease, running a plan."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from tunekit.data.base import load_dataset, overview, save_dataset
from tunekit.errors import UserError
from tunekit.models.safety import refuse_kernels
from tunekit.parsing import plain
from tunekit.planning import estimate, plugins
from tunekit.planning import resources as fit
from tunekit.planning.args import SweepArgs
from tunekit.planning.plan import Plan, PlannedTrial, PlanState
from tunekit.planning.provenance import source, unstamped, versions
from tunekit.planning.resolve import ResolvedSweep
from tunekit.planning.resources import Resources
from tunekit.schema import TrialSpec
from tunekit.signals import Signals, Stopped
from tunekit.storage.files import check_writable
from tunekit.storage.lease import Lease, Superseded, acquire
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place, location
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore
from tunekit.trackers.available import check_trackers

OK, INCOMPLETE, BAD_INPUT = 0, 1, 2

Say = Callable[[str], None]


def exit_code_of(command: Callable[[], int]) -> int:
    """The exit code of ``command``; an error that it raises, or a signal, becomes one line on standard error."""
    try:
        with Signals():
            return command()
    except (UserError, DamagedRecord) as error:
        return _refuse(str(error), BAD_INPUT)
    except (OSError, Superseded) as error:
        return _refuse(str(error), INCOMPLETE)
    except Stopped as stopped:
        Console(stderr=True, soft_wrap=True).print("interrupted; the same command goes on from here")
        return stopped.exit_code


def _refuse(line: str, code: int) -> int:
    """Print one line to standard error and return ``code``."""
    Console(stderr=True).print(plain(f"error: {line}"), markup=False, highlight=False, soft_wrap=True)
    return code


def check(args: SweepArgs) -> Resources:
    """What each trial is given. Raises UserError on flags and packages that no sweep can start with.

    From here on the plugins' methods, datasets and models are there.
    """
    resources = resources_of(args)
    refuse_kernels()
    check_trackers(args.track)
    if args.json and not args.dry_run:
        raise UserError("--json goes with --dry-run")
    plugins.load(args.plugin)
    return resources


def store_of(args: SweepArgs, name: str) -> ResultStore:
    """The store of the sweep called ``name``. Raises UserError where its object store can't be reached or read."""
    root = location(args.storage) / name
    if isinstance(root, ObjectPath):
        try:
            root.check()
        except OSError as error:
            raise UserError(f"can't use the storage {error}") from error
    return ResultStore(root)


def request_of(sweep: ResolvedSweep) -> dict[str, object]:
    """What was asked, by which version, for sweep.json."""
    return {
        "versions": versions(),
        **source(),
        "plugins": plugins.described(),
        "blocks": [block.to_dict() for block in sweep.blocks],
    }


def say_for(args: SweepArgs) -> Say:
    """How to speak: text for a person, or notes among the JSON lines of a run that no terminal shows."""
    return _say if args.dry_run or sys.stdout.isatty() else _note


def _say(text: str) -> None:
    """Text for a person."""
    Console(highlight=False, soft_wrap=True, markup=False).print(plain(text))


def _note(text: str) -> None:
    """The same among the JSON lines of a run that no terminal shows."""
    sys.stdout.write(json.dumps({"event": "note", "text": text}) + "\n")


def acquire_lease(store: ResultStore, say: Say) -> Lease:
    """The lease on the sweep of ``store``. Raises UserError where another driver has it or nothing can be written."""
    try:
        lease = acquire(store.root)
    except OSError as error:
        raise UserError(f"can't write to the storage {store.root}: {error.strerror}") from error
    if lease.taken_over:
        say(lease.taken_over)
    if os.environ.get("RAY_ADDRESS") and (line := unstamped()):
        say(line)
    return lease


def estimate_hours(pending: Sequence[PlannedTrial], sweep: ResolvedSweep, say: Say) -> float | None:
    """Hours that ``pending`` takes on this machine's processor, said; None where a GPU or a cluster does it."""
    if not pending or estimate.has_accelerator() or os.environ.get("RAY_ADDRESS"):
        return None
    hours = estimate.cpu_hours(pending, sweep.sizes())
    say(f"estimate: {hours:.1f} h on this machine's processor ({estimate.cores()} cores, no accelerator), rough")
    return hours


def refuse_long(hours: float | None, args: SweepArgs, shorter: str) -> None:
    """Raise UserError where ``hours`` are many and nobody said --yes."""
    if hours is not None and hours > estimate.LONG_HOURS and not args.yes:
        raise UserError(
            f"this would take about {hours:.0f} h here; run it where there is a GPU, "
            f"take --preset {shorter}, or add --yes"
        )


def train(
    plan: Plan,
    sweep: ResolvedSweep,
    store: ResultStore,
    resources: Resources,
    lease: Lease,
    *,
    retry_failed: bool,
    track: Sequence[str] = (),
) -> None:
    """Train what is pending in ``plan``. Raises Stopped where a signal ended it. The caller holds the lease."""
    pending = plan.pending(retry_failed=retry_failed)
    claim_folders(plan, store)
    for trial in pending:
        if trial.state is PlanState.FAILED:
            store.set_summary_aside(store.folder(trial.spec))
    if not pending:
        return
    from tunekit.commands.console import Progress
    from tunekit.runner.grid import run_grid  # imports ray: seconds that a dry run or an error need not wait

    progress = Progress(plan, {trial.spec.trial_id: trial.spec for trial in pending})
    run_grid(pending, sweep.models, store, resources, progress, lease, track)


def track_stored(names: Sequence[str], store: ResultStore, say: Say) -> None:
    """Send trackers what the store holds and they lack."""
    if names:
        from tunekit.trackers.feed import Feeds

        with Feeds(names, store, say):
            pass


def claim_folders(plan: Plan, store: ResultStore) -> None:
    """Give each trial's own folder to the fingerprint at hand, so that readers of the store never mix two."""
    for trial in plan.trials:
        if not trial.settled:
            store.claim_folder(trial.spec, trial.fingerprint)


def verdict(plan: Plan) -> int:
    """Name what did not complete; 0 only if everything did."""
    for trial in plan.trials:
        if trial.state is not PlanState.DONE:
            _say(f"{trial.state.value}: {trial.spec.label}{f' ({trial.reason})' if trial.reason else ''}")
    if plan.count(PlanState.FAILED):
        _say("failed trials run again only with --retry-failed")
    return OK if plan.count(PlanState.DONE) == len(plan.trials) else INCOMPLETE


def check_storage(root: Place, specs: Sequence[TrialSpec], concurrent: int, keep_models: str) -> None:
    """Refuse a storage path that can't be written or is too full, before any work."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        check_writable(root)
    except OSError as error:
        raise UserError(f"can't write to the storage {root}: {error.strerror}; give another with --storage") from error
    if isinstance(root, ObjectPath):
        return
    needed = estimate.disk_bytes(specs, concurrent, keep_models)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"the storage {root} has {free / 1e9:.1f} GB free, records and checkpoints may take {needed / 1e9:.1f} GB; "
            "free some, or give another with --storage"
        )


def resources_of(args: SweepArgs) -> Resources:
    """What each trial is given. Raises UserError on what no machine, or not this one, can give."""
    given = {"max-concurrent": args.max_concurrent, "cpus-per-trial": args.cpus_per_trial, "pack": args.pack}
    for name, value in given.items():
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
    return Resources(args.cpus_per_trial, per_device, args.max_concurrent, args.pack, args.keep_models)


def limit_by_memory(args: SweepArgs, resources: Resources, peak: int | None, num_trials: int, say: Say) -> Resources:
    """``resources`` with as many trials at a time as ``peak`` bytes each leave room for, where that was left to us."""
    from tunekit.engine import memory as memory_peak  # torch, which has been loaded by now

    joined = bool(os.environ.get("RAY_ADDRESS"))
    line = ""
    if args.trials_per_device == "auto" and args.pack is None and (joined or estimate.has_accelerator()):
        resources, line = fit.limit_on_gpu(resources, peak, None if joined else memory_peak.device_bytes())
    elif not joined and not estimate.has_accelerator() and peak is not None:
        slots = estimate.cores() // args.cpus_per_trial * (args.pack or 1)
        at_a_time = min(slots, args.max_concurrent or num_trials, num_trials)
        process, available = memory_peak.host_bytes()
        resources, line = fit.limit_on_cpu(resources, peak, process, available, at_a_time)
    if line:
        say(line)
    return resources


def prepare_data(sweep: ResolvedSweep, pending: Sequence[PlannedTrial], store: ResultStore, say: Say) -> int | None:
    """Load, check and describe each dataset, put its copy in the sweep, fill the token cache, try each recipe once.

    Returns the largest predicted peak in bytes, over the first trial of each cell; None where one has no closed form.
    """
    from tunekit.engine.build import (  # torch: seconds that a dry run need not wait
        build_model,
        check_device,
        prepare_splits,
    )
    from tunekit.engine.memory import predicted_peak

    joined = bool(os.environ.get("RAY_ADDRESS"))
    gpu = joined or estimate.has_accelerator()
    if not joined:
        check_device({trial.spec.precision for trial in pending}, gpu=gpu)
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
        prepared = prepare_splits(spec, trial.fingerprint, model, store.data_folder)
        recipe = (spec.model, spec.method, str(spec.method_params))
        if recipe not in configs:
            configs[recipe] = build_model(spec, model, prepared).config.to_dict()
        if spec.cell not in peaks:
            num_labels = len(prepared.data.label_names)
            peaks[spec.cell] = predicted_peak(spec, configs[recipe], prepared.splits, num_labels, gpu=gpu)
        key = (spec.model, spec.dataset, spec.max_length, spec.train_limit, spec.val_fraction, spec.data_seed)
        if key not in tokenised:
            tokenised.add(key)
            splits = prepared.splits
            texts, cut = sum(map(len, splits.values())), sum(split.tokens.num_truncated for split in splits.values())
            say(f"{spec.model} on {spec.dataset}: {100 * cut / texts:.1f} % of texts cut to {spec.max_length} tokens")
    return None if None in peaks.values() else max(peaks.values())
