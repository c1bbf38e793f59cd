"""Run a search: its studies, the choices in each, and their confirming trials. The command and the API share it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from tunekit.commands.checks import check_storage, resources_of
from tunekit.commands.console import SearchProgress
from tunekit.commands.output import Say
from tunekit.commands.preparing import prepare
from tunekit.commands.training import acquire_lease, request_of, start_ray, train
from tunekit.parsing import how_many
from tunekit.planning import machine
from tunekit.planning.disk import disk_bytes
from tunekit.planning.options import RunOptions
from tunekit.planning.plan import Plan, PlannedTrial, PlanState, plan_sweep
from tunekit.planning.resources import Resources
from tunekit.planning.sizes import shapes_of
from tunekit.schema import TrialSpec
from tunekit.search.confirm import best_yaml, chosen_specs, confirmed_configurations, confirming
from tunekit.search.optuna_storage import open_storage, redacted
from tunekit.search.request import SearchRequest
from tunekit.search.stopping import expected_epochs
from tunekit.search.study import Study
from tunekit.storage.files import write_atomic
from tunekit.storage.lease import Lease
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import Search

CONFIRMED = 3
"""The most configurations of a study that are confirmed: its default, its best and its 1se choice."""


def run_search(
    request: SearchRequest, store: ResultStore, options: RunOptions, say: Say
) -> tuple[Sequence[Study], Plan]:
    """Train the trials that the studies lack, choose in each study, and train the choices on fresh seeds.

    Return the studies, and the plan of the confirming trials after the run. ``say`` takes notes. Raises UserError on
    storage, data or machines that can't be used, Stopped where a signal ended the run, and OSError where the store or
    the studies' storage can't be written.
    """
    specs = [trial.spec for trial in at_most(request, ended_trials(store))]
    at_a_time = options.max_concurrent or machine.cores()
    check_storage(store.root, disk_bytes(specs, shapes_of(request.sweep), at_a_time, options.kept))
    lease = acquire_lease(store, say)
    try:
        return _run(request, store, options, lease, say)
    finally:
        lease.release()


def _run(
    request: SearchRequest, store: ResultStore, options: RunOptions, lease: Lease, say: Say
) -> tuple[Sequence[Study], Plan]:
    storage = open_storage(request.optuna_storage, store.root, lease.start)
    former = store.search()
    choices = {one.key: one.choices for one in former.studies} if former else {}
    studies = [Study(plan, storage, request.sweep.name, choices.get(plan.key, ())) for plan in request.plans]
    again = sum(study.requeue_interrupted() for study in studies)
    if again:
        say(f"{how_many(again, 'trial')} queued again, since an earlier command died before their end")
    resources = resources_of(options)
    searching = any(study.has_trials_left for study in studies)
    with ExitStack() as stack:
        if searching:
            ray_start = stack.enter_context(start_ray(options, request.plans[0].planned * len(request.plans)))
            resources = _prepared(request, store, options, say)
            _record(store, studies)  # the first file of the sweep, by which it is known as a search
            store.add_request(_recorded(request, []))
            from tunekit.runner import search as runner  # imports ray, which takes seconds

            progress = SearchProgress(studies)
            runner.run_search(
                studies, request.sweep.models, store, resources, progress, lease, lambda: _record(store, studies),
                options.track, ray_start,
            )  # fmt: skip
        confirmed = _choose(request, store, studies)
        plan = plan_sweep(replace(request.sweep, specs=confirmed), store)
        if not searching and not plan.pending(retry_failed=options.retry_failed):
            say("nothing to do: every study has its trials")
        elif confirmed:
            if not searching:
                ray_start = stack.enter_context(start_ray(options, len(confirmed)))
                resources = _prepared(request, store, options, say)
            store.add_request(_recorded(request, confirmed))
            train(
                plan, request.sweep, store, resources, lease, ray_start,
                retry_failed=options.retry_failed, track=options.track,
            )  # fmt: skip
            plan = plan_sweep(replace(request.sweep, specs=confirmed), store)
    return studies, plan


def _prepared(request: SearchRequest, store: ResultStore, options: RunOptions, say: Say) -> Resources:
    """Check the data and the model of each study's default, and return the resources of each configuration."""
    num_trials, seeds = request.plans[0].planned * len(request.plans), len(request.plans[0].seeds)
    return prepare(request.sweep, _defaults(request), store, options, say, num_trials=num_trials, side_by_side=seeds)


def _record(store: ResultStore, studies: Sequence[Study]) -> None:
    """Write search.json from the studies. Studies that other commands ran in this sweep stay in it."""
    mine = [study.summary() for study in studies]
    keys = {one.key for one in mine}
    former = store.search()
    others = [one for one in former.studies if one.key not in keys] if former else []
    store.write_search(Search((*others, *mine)))


def _choose(request: SearchRequest, store: ResultStore, studies: Sequence[Study]) -> list[TrialSpec]:
    """Choose in every study, write search.json and best.yaml, and return the confirming trials, seed by seed."""
    best, confirmed = [], []
    for study in studies:
        roles = chosen_specs(store, study.summary(), study.plan.spec)
        if request.choose in roles:
            best.append(roles[request.choose][1])
        if request.confirm_seeds:
            study.choices = confirmed_configurations(roles, request.confirm_seeds)
            confirmed += [one for _, spec in roles.values() for one in confirming(spec, request.confirm_seeds)]
    _record(store, studies)
    if best:
        text = best_yaml(best, request.sweep, request.confirm_seeds, store.root)
        write_atomic(store.root / "best.yaml", text.encode())
    unique = {spec.trial_id: spec for spec in confirmed}
    order = {seed: place for place, seed in enumerate(request.confirm_seeds)}
    return sorted(unique.values(), key=lambda spec: order[spec.seed])


def _recorded(request: SearchRequest, confirmed: Sequence[TrialSpec]) -> dict[str, object]:
    """Return the request of this search for sweep.json."""
    return {
        **request_of(request.sweep),
        "search": {
            "trials": request.plans[0].planned,
            "optuna_storage": request.optuna_storage and redacted(request.optuna_storage),
            "choose": request.choose,
            "confirm_seeds": list(request.confirm_seeds),
            "studies": {plan.key: plan.definition() for plan in request.plans},
        },
        "cells": cells_of(confirmed),
    }


def _defaults(request: SearchRequest) -> list[PlannedTrial]:
    """Return each study's default trial, by which its data and model are checked before work."""
    return [
        PlannedTrial(plan.spec, plan.fingerprint, PlanState.NEW, epochs_done=0, reason=None, owns_folder=True)
        for plan in request.plans
    ]


def ended_trials(store: ResultStore) -> dict[str, int]:
    """Return the number of ended trials by study, as search.json says. Raises DamagedRecord where it can't be read."""
    search = store.search()
    return {one.key: len(one.trials) for one in search.studies} if search else {}


def expected_trials(request: SearchRequest, ended: Mapping[str, int]) -> list[tuple[TrialSpec, float]]:
    """Return the trials that are expected to run, each with its epochs: ASHA stops most of them early.

    Three configurations of each study are confirmed. The studies' defaults stand for all configurations.
    """
    trials: list[tuple[TrialSpec, float]] = []
    for plan in request.plans:
        left = max(0, plan.planned - ended.get(plan.key, 0))
        if not left:
            continue
        each = float(plan.max_epochs)
        if plan.scheduler == "asha":
            each = expected_epochs(left, plan.max_epochs) / left
        trials += [(plan.spec, each)] * (left * len(plan.seeds))
        confirmed = replace(plan.spec, score_test=True)
        trials += [(confirmed, float(confirmed.epochs))] * (CONFIRMED * len(request.confirm_seeds))
    return trials


def at_most(request: SearchRequest, ended: Mapping[str, int]) -> list[PlannedTrial]:
    """Return the trials that run if the scheduler stops none and three configurations of each study are confirmed."""
    trials = []
    for plan, planned in zip(request.plans, _defaults(request), strict=True):
        left = max(0, plan.planned - ended.get(plan.key, 0)) * len(plan.seeds)
        trials += [planned] * (left + (CONFIRMED * len(request.confirm_seeds) if left else 0))
    return trials
