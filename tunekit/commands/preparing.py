"""Before trials are trained: their data and models are tried once, and memory decides how many run at a time."""

from collections.abc import Sequence

from tunekit.commands.how_long import joins_cluster
from tunekit.commands.output import Say
from tunekit.data.base import load_dataset, save_dataset
from tunekit.data.summary import summarise
from tunekit.memory.trial import together_bytes
from tunekit.models.loading import checked_model, hub_id_of
from tunekit.planning import machine
from tunekit.planning import resources as room
from tunekit.planning.fitting import check_fit
from tunekit.planning.model_checks import check_models, model_notes
from tunekit.planning.options import RunOptions
from tunekit.planning.plan import PlannedTrial
from tunekit.planning.resolve import ResolvedSweep
from tunekit.planning.resources import Resources
from tunekit.schema import readable
from tunekit.store.result_store import ResultStore


def prepare_data(sweep: ResolvedSweep, pending: Sequence[PlannedTrial], store: ResultStore, say: Say) -> int | None:
    """Check and describe each dataset, put its copy in the sweep, fill the token cache, and build each model once.

    Returns the largest predicted need of memory in bytes, over the first trial of each cell; None where a cell has no
    closed form. Raises UserError on data, models and devices that can't be used.
    """
    for name in dict.fromkeys(trial.spec.dataset for trial in pending):
        data = sweep.own_data.get(name) or load_dataset(name)
        save_dataset(data, store.data_folder, with_text=name in sweep.own_data)
        for line in summarise(data).lines():
            say(f"{data.display_name}: {line}")
    say("loading PyTorch and the models' libraries")
    from tunekit.worker.libraries import load_libraries

    load_libraries()
    from tunekit.engine.build import build_model, prepare_splits
    from tunekit.engine.memory import predicted_peak
    from tunekit.engine.precision import check_device

    gpu = joins_cluster() or machine.has_accelerator()
    if not joins_cluster():
        check_device({trial.spec.precision for trial in pending}, gpu=gpu)
    tokenised: set[tuple[object, ...]] = set()
    configs: dict[tuple[str, str, str], dict[str, object]] = {}
    peaks: dict[str, int | None] = {}
    to_fetch = {name for name, ref in sweep.models.items() if hub_id_of(ref) and checked_model(ref) is None}
    for trial in pending:
        spec, model = trial.spec, sweep.models[trial.spec.model]
        prepared = prepare_splits(spec, trial.fingerprint, model, store.data_folder)
        if spec.model in to_fetch:
            to_fetch.remove(spec.model)
            same = [one.spec for one in pending if one.spec.model == spec.model]
            check_models(same, sweep.models, sweep.own_data)
            for line in model_notes(same, sweep.models):
                say(line)
        recipe = (spec.model, spec.method, str(spec.method_params))
        if recipe not in configs:
            configs[recipe] = build_model(spec, model, prepared).config.to_dict()
        check_fit(spec, configs[recipe])  # the plan did so where the config.json was on this machine
        if spec.cell not in peaks:
            num_labels = len(prepared.data.label_names)
            peaks[spec.cell] = predicted_peak(
                spec, configs[recipe], prepared.splits, num_labels, gpu=gpu, with_graphs=True
            )
        key = (spec.model, spec.dataset, spec.max_length, spec.train_limit, spec.val_fraction, spec.data_seed)
        if key not in tokenised:
            tokenised.add(key)
            splits = prepared.splits
            texts, cut = sum(map(len, splits.values())), sum(split.tokens.num_truncated for split in splits.values())
            length = min(spec.max_length, prepared.tokenizer.model_max_length)
            where = f"{readable(spec.model)} on {readable(spec.dataset)}"
            say(f"{where}: {100 * cut / texts:.1f} % of texts cut to {length} tokens")
    known = [peak for peak in peaks.values() if peak is not None]
    return max(known) if len(known) == len(peaks) else None


def limit_by_memory(
    options: RunOptions, resources: Resources, peak: int | None, num_trials: int, say: Say
) -> Resources:
    """Return ``resources`` with as many trials at a time as memory has room for, where ``options`` leave that open.

    ``peak`` is the largest predicted peak of a trial in bytes, or None where it is not known.
    """
    from tunekit.engine.memory import device_bytes

    line = ""
    on_gpu = joins_cluster() or machine.has_accelerator()
    if options.trials_per_device == "auto" and options.pack is None and on_gpu:
        resources, line = room.limit_on_gpu(resources, peak, None if joins_cluster() else device_bytes())
    elif not on_gpu and peak is not None:
        pack = options.pack or 1
        slots = machine.cores() // options.cpus_per_trial * pack
        at_a_time = min(slots, options.max_concurrent or num_trials, num_trials)
        each = together_bytes(peak, pack, gpu=False) // pack
        resources, line = room.limit_on_cpu(resources, each, machine.free_bytes(), at_a_time)
    if line:
        say(line)
    return resources
