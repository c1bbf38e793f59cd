"""Train one trial in this process, without Ray: `tunekit.train`."""

from dataclasses import replace

from tunekit.commands.checks import refuse_search
from tunekit.commands.output import note
from tunekit.commands.training import acquire_lease, claim_folders, request_of
from tunekit.data.base import TextDataset
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.errors import UserError
from tunekit.methods.base import complete_params
from tunekit.planning import machine, plugins
from tunekit.planning.blocks import Block
from tunekit.planning.loss_checks import check_classes, check_loss
from tunekit.planning.plan import PlanState, plan_sweep
from tunekit.planning.resolve import ResolvedSweep, find_sweep
from tunekit.schema import Fingerprint, Status, TrialSpec
from tunekit.storage.paths import Place
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore


def train_one(spec: TrialSpec, root: Place, data: TextDataset | None) -> None:
    """Train ``spec`` into the sweep at ``root``, unless the sweep holds it as completed.

    Hyperparameters of the method that ``spec`` leaves out take the method's defaults. ``data`` is the spec's dataset,
    if that is the user's own. Raises UserError where ``root`` holds a search, a hyperparameter is unknown, the trial
    fails or memory runs out, and OSError where the store can't be written.
    """
    refuse_search(root)
    spec = replace(spec, method_params=complete_params(spec.method, spec.method_params))
    sweep, store = _sweep_of(spec, root.name, data), ResultStore(root)
    loaded = data or load_dataset(spec.dataset)
    check_loss(spec, loaded.label_names)
    check_classes(spec, loaded)
    save_dataset(loaded, store.data_folder, with_text=data is not None)
    lease = acquire_lease(store, note)
    try:
        plan = plan_sweep(sweep, store)
        claim_folders(plan, store)
        if plan.count(PlanState.FAILED):
            store.set_summary_aside(store.folder(spec))
        store.add_request({**request_of(sweep), "cells": cells_of([spec])})
        status = _train(sweep, plan.trials[0].fingerprint, root, lease.start)
    finally:
        lease.release()
    if status in (Status.FAILED, Status.OUT_OF_MEMORY):
        summary = store.read(store.folder(spec)).summary
        raise UserError(f"{spec.label}: {status.value}: {summary.error if summary else 'no reason recorded'}")


def _sweep_of(spec: TrialSpec, name: str, data: TextDataset | None) -> ResolvedSweep:
    """Return the sweep that holds ``spec`` alone. Raises UserError where its model or data is unknown."""
    if data is not None and data.name != spec.dataset:
        raise UserError(f"the trial is on {spec.dataset!r}, the data that was given is {data.name!r}")
    block = Block(
        models=(spec.model,),
        datasets=(data or spec.dataset,),
        methods=(spec.method,),
        seeds=(spec.seed,),
        method_params={spec.method: spec.method_params},
    )
    return replace(find_sweep([block], name), specs=[spec])


def _train(sweep: ResolvedSweep, fingerprint: Fingerprint, root: Place, start: int) -> Status:
    """Train the sweep's trial to its end, on the GPU or on PyTorch's threads, and return how it ended."""
    from tunekit.engine.job import Job
    from tunekit.worker.libraries import without_collection

    with without_collection():
        import torch

        from tunekit.worker.attempt import Attempt

    [spec] = sweep.specs
    attempt = Attempt(
        Job(
            spec=spec,
            fingerprint=fingerprint,
            model=sweep.models[spec.model],
            sweep=root.resolve(),
            start=start,
            threads=torch.get_num_threads(),
            device="cuda" if machine.has_accelerator() else "cpu",
            plugins=plugins.active(),
        )
    )
    while attempt.status is None:
        attempt.step()
    return attempt.status
