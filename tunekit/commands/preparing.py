"""Check the data and the models of trials before they are trained, and limit by memory how many run at a time."""

from collections.abc import Mapping, Sequence

from tunekit.commands.checks import resources_of
from tunekit.commands.how_long import joins_cluster
from tunekit.commands.output import Say
from tunekit.data.base import TextDataset
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.data.summary import summarise
from tunekit.memory import NoClosedForm
from tunekit.memory.trial import together_bytes, trial_peak
from tunekit.models.catalog import MODELS
from tunekit.models.loading import checked_model, folder_of, hub_id_of
from tunekit.planning import machine, plugins
from tunekit.planning import resources as room
from tunekit.planning.fitting import check_fit, config_of
from tunekit.planning.loss_checks import check_classes
from tunekit.planning.model_checks import check_models, model_notes
from tunekit.planning.options import RunOptions
from tunekit.planning.plan import PlannedTrial
from tunekit.planning.resolve import ResolvedSweep
from tunekit.planning.resources import Resources
from tunekit.store.result_store import ResultStore


def prepare(
    sweep: ResolvedSweep,
    pending: Sequence[PlannedTrial],
    store: ResultStore,
    options: RunOptions,
    say: Say,
    *,
    num_trials: int,
    side_by_side: int = 1,
) -> Resources:
    """Check the data and models of ``pending``, put them in place, and return the resources of each trial.

    Where ``options`` leave it open, memory limits how many of ``num_trials`` trials run at a time; a process holds the
    models of ``side_by_side`` trials. PyTorch is loaded only where a model or method is the user's own, where this
    machine has a GPU, or where memory may be short: what comes with tunekit has been tested. Raises UserError on data,
    models and devices that can't be used.
    """
    data = _put_data(sweep, pending, store, say)
    _fetch_models(sweep, pending, say)
    resources = resources_of(options)
    if not _must_be_tried(sweep, pending):
        found, line = _limited(options, resources, _most_bytes(pending, data), num_trials, side_by_side)
        if found.max_concurrent == resources.max_concurrent:
            if line:
                say(line)
            return found
    peak = _try_models(sweep, pending, store, say)
    found, line = _limited(options, resources, peak, num_trials, side_by_side)
    if line:
        say(line)
    return found


def _put_data(
    sweep: ResolvedSweep, pending: Sequence[PlannedTrial], store: ResultStore, say: Say
) -> dict[str, TextDataset]:
    """Check and describe each dataset, put its copy in the sweep, and return the datasets by name."""
    found = {}
    for name in dict.fromkeys(trial.spec.dataset for trial in pending):
        data = found[name] = sweep.own_data.get(name) or load_dataset(name)
        save_dataset(data, store.data_folder, with_text=name in sweep.own_data)
        for spec in {trial.spec.cell: trial.spec for trial in pending if trial.spec.dataset == name}.values():
            check_classes(spec, data)
        for line in summarise(data).lines():
            say(f"{data.display_name}: {line}")
    return found


def _fetch_models(sweep: ResolvedSweep, pending: Sequence[PlannedTrial], say: Say) -> None:
    """Fetch the models that are not on this machine, and check them as the plan has checked the others."""
    for name in dict.fromkeys(trial.spec.model for trial in pending):
        ref = sweep.models[name]
        if hub_id_of(ref) is None or checked_model(ref) is not None:
            continue
        folder_of(ref)
        specs = [trial.spec for trial in pending if trial.spec.model == name]
        check_models(specs, sweep.models, sweep.own_data)
        for line in model_notes(specs, sweep.models):
            say(line)
        if (config := config_of(ref)) is not None:
            for spec in specs:
                check_fit(spec, config)


def _must_be_tried(sweep: ResolvedSweep, pending: Sequence[PlannedTrial]) -> bool:
    """Return whether models are built before the run: a user's own, and all on a GPU of this machine or in bf16."""
    specs = [trial.spec for trial in pending]
    own = bool(plugins.active()) or any(spec.model not in MODELS for spec in specs)
    on_device = machine.has_accelerator() or any(spec.precision != "fp32" for spec in specs)
    return own or (on_device and not joins_cluster())


MOST_SPECIAL_TOKENS = 8
"""The most special tokens beside a text and its pair, with the spaces that a tokenizer puts before them."""


def _most_bytes(pending: Sequence[PlannedTrial], data: Mapping[str, TextDataset]) -> int | None:
    """Return a peak in bytes that no trial of ``pending`` exceeds by more than 1 %; None without a closed form.

    A token of the models that come with tunekit stands for at least one byte of its text. All texts count as if they
    were as long as the longest one.
    """
    peaks = []
    for spec in {trial.spec.cell: trial.spec for trial in pending}.values():
        own = data[spec.dataset]
        longest = min(spec.max_length, _longest_text(own) + MOST_SPECIAL_TOKENS)
        rows = max(map(len, own.splits.values()))
        count = min(spec.batch_size, rows)
        # A group of equal lengths needs no bias that hides padding. With one shorter text it takes the most.
        batches = [[longest] * count, [longest] * (count - 1) + [longest - 1]]
        try:
            shape, num_labels = MODELS[spec.model].shape, len(own.label_names)
            # A power of two fills the batches of scoring to the last token, as shorter texts may.
            scored = 1 << (longest - 1).bit_length()
            peaks.append(trial_peak(spec, shape, num_labels, batches, scored, rows, gpu=False))
        except NoClosedForm:
            return None
    return max(peaks)


def _longest_text(data: TextDataset) -> int:
    """Return the bytes of the longest text, including its pair."""
    return max(
        len(text.encode()) + len((pair or "").encode())
        for frame in data.splits.values()
        for text, pair in zip(frame["text"], frame["pair"], strict=True)
    )


def _try_models(sweep: ResolvedSweep, pending: Sequence[PlannedTrial], store: ResultStore, say: Say) -> int | None:
    """Fill the token cache and build each model once.

    Return the largest predicted peak in bytes over the first trial of each cell; None where a cell has no closed form.
    """
    say("loading PyTorch and the models' libraries")
    from tunekit.worker.libraries import without_collection

    with without_collection():
        from tunekit.engine.build import build_model, prepare_splits
        from tunekit.engine.memory import predicted_peak
        from tunekit.engine.precision import check_device

    gpu = joins_cluster() or machine.has_accelerator()
    if not joins_cluster():
        check_device({trial.spec.precision for trial in pending}, gpu=gpu)
    configs: dict[tuple[str, str, str], dict[str, object]] = {}
    peaks: dict[str, int | None] = {}
    for trial in pending:
        spec, model = trial.spec, sweep.models[trial.spec.model]
        prepared = prepare_splits(spec, trial.fingerprint, model, store.data_folder)
        recipe = (spec.model, spec.method, str(spec.method_params))
        if recipe not in configs:
            configs[recipe] = build_model(spec, model, prepared).config.to_dict()
        if spec.cell not in peaks:
            num_labels = len(prepared.data.label_names)
            peaks[spec.cell] = predicted_peak(
                spec, configs[recipe], prepared.splits, num_labels, gpu=gpu, with_graphs=True
            )
    known = [peak for peak in peaks.values() if peak is not None]
    return max(known) if len(known) == len(peaks) else None


def _limited(
    options: RunOptions, resources: Resources, peak: int | None, num_trials: int, side_by_side: int
) -> tuple[Resources, str]:
    """Return ``resources`` with as many trials at a time as memory has room for, and a line on why, or an empty text.

    ``peak`` is the largest predicted peak of a trial in bytes, or None where it is not known.
    """
    on_gpu = joins_cluster() or machine.has_accelerator()
    together = peak and together_bytes(peak, side_by_side, gpu=on_gpu)
    if options.trials_per_device == "auto" and options.pack is None and on_gpu:
        return room.limit_on_gpu(resources, together, None if joins_cluster() else _device_bytes())
    if on_gpu or together is None:
        return resources, ""
    pack = options.pack or 1
    slots = machine.cores() // options.cpus_per_trial * pack
    at_a_time = min(slots, options.max_concurrent or num_trials, num_trials)
    each = together_bytes(together, pack, gpu=False) // pack
    return room.limit_on_cpu(resources, each, machine.free_bytes(), at_a_time)


def _device_bytes() -> int:
    """Return the bytes of memory of the smallest GPU of this machine."""
    from tunekit.engine.memory import device_bytes  # imports torch

    return device_bytes()
