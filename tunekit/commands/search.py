"""The search's command: arguments -> studies -> dry run, refusal, or run; then the choice and its confirming trials."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import tyro

from tunekit.commands.shared import (
    INCOMPLETE,
    OK,
    Say,
    acquire_lease,
    check,
    check_storage,
    estimate_hours,
    exit_code_of,
    limit_by_memory,
    prepare_data,
    refuse_long,
    request_of,
    say_for,
    store_of,
    train,
    verdict,
)
from tunekit.planning import estimate
from tunekit.planning.args import SearchArgs
from tunekit.planning.batching import described
from tunekit.planning.plan import Plan, PlannedTrial, PlanState
from tunekit.planning.resolve import plan_sweep
from tunekit.planning.resources import Resources
from tunekit.schema import TrialSpec
from tunekit.search.confirm import best_yaml, chosen_specs, confirmed_configurations, confirming
from tunekit.search.optuna_storage import open_storage, redacted
from tunekit.search.request import SearchPreset, SearchRequest, resolve_search
from tunekit.search.study import Study
from tunekit.storage.files import write_atomic
from tunekit.storage.lease import Lease
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import Search, TrialState

Report = Callable[[ResultStore], None]


def main(presets: Mapping[str, SearchPreset], report: Report) -> int:
    """The search's command. ``report`` prints the table at the end. Returns the exit code."""
    args = tyro.cli(SearchArgs)
    return exit_code_of(lambda: _main(args, presets, report))


def _main(args: SearchArgs, presets: Mapping[str, SearchPreset], report: Report) -> int:
    resources = check(args)
    request = resolve_search(args, presets)
    store = store_of(args, request.sweep.name)
    ended = _ended(store)
    if args.json:
        sys.stdout.write(json.dumps(_as_json(request, ended)) + "\n")
        return OK
    say = say_for(args)
    say(_described(request, ended))
    pending = _at_most(request, ended)
    hours = estimate_hours(pending, request.sweep, say)
    if args.dry_run:
        return OK
    refuse_long(hours, args, "demo")
    concurrent = args.max_concurrent or estimate.cores()
    check_storage(store.root, [trial.spec for trial in pending], concurrent, args.keep_models)
    lease = acquire_lease(store, say)
    try:
        return _run(args, request, store, resources, lease, say, report)
    finally:
        lease.release()


def _run(
    args: SearchArgs,
    request: SearchRequest,
    store: ResultStore,
    resources: Resources,
    lease: Lease,
    say: Say,
    report: Report,
) -> int:
    storage = open_storage(args.optuna_storage, store.root, lease.start)
    former = store.search()
    choices = {one.key: one.choices for one in former.studies} if former else {}
    studies = [Study(plan, storage, request.sweep.name, choices.get(plan.key, ())) for plan in request.plans]
    again = sum(study.requeue_interrupted() for study in studies)
    if again:
        say(f"{again} trials that a dead driver left running are queued again")
    searching = any(study.has_trials_left for study in studies)
    if searching:
        resources = _prepared(args, request, store, resources, say)
        store.add_request(_request(args, request, []))
        from tunekit.runner.search import run_search  # imports ray: seconds that an error need not wait

        run_search(studies, request.sweep.models, store, resources, lease, lambda: _record(store, studies), args.track)
    confirmed = _choose(args, request, store, studies)
    plan = plan_sweep(replace(request.sweep, specs=confirmed), store)
    if not searching and not plan.pending(retry_failed=args.retry_failed):
        say("nothing to do: every study has its trials")
    elif confirmed:
        if not searching:
            resources = _prepared(args, request, store, resources, say)
        store.add_request(_request(args, request, confirmed))
        train(plan, request.sweep, store, resources, lease, retry_failed=args.retry_failed, track=args.track)
        plan = plan_sweep(replace(request.sweep, specs=confirmed), store)
    report(store)
    return _verdict(studies, plan, say)


def _prepared(
    args: SearchArgs, request: SearchRequest, store: ResultStore, resources: Resources, say: Say
) -> Resources:
    """Try each study's default before work. Returns what fits, where that was left to us."""
    peak = prepare_data(request.sweep, _defaults(request), store, say)
    seeds = len(request.plans[0].seeds)  # their models stand side by side in one process
    return limit_by_memory(args, resources, peak and peak * seeds, request.plans[0].planned * len(request.plans), say)


def _record(store: ResultStore, studies: Sequence[Study]) -> None:
    """Write search.json from the studies; those of other commands in this sweep stay."""
    mine = [study.summary() for study in studies]
    keys = {one.key for one in mine}
    former = store.search()
    others = [one for one in former.studies if one.key not in keys] if former else []
    store.write_search(Search((*others, *mine)))


def _choose(args: SearchArgs, request: SearchRequest, store: ResultStore, studies: Sequence[Study]) -> list[TrialSpec]:
    """Choose in every study, write search.json and best.yaml. Returns the confirming trials, seed by seed."""
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
        flags = _data_flags(args) if request.sweep.own_data else ""
        text = best_yaml(best, request.sweep, request.confirm_seeds, store.root, flags)
        write_atomic(store.root / "best.yaml", text.encode())
    unique = {spec.trial_id: spec for spec in confirmed}
    order = {seed: place for place, seed in enumerate(request.confirm_seeds)}
    return sorted(unique.values(), key=lambda spec: order[spec.seed])


def _data_flags(args: SearchArgs) -> str:
    """The flags that own data needs beside its path."""
    names = {"text_column": "text", "pair_column": None, "label_column": "label", "group_column": None}
    given = {name: getattr(args, name) for name, default in names.items() if getattr(args, name) != default}
    return "".join(f" --{name.replace('_', '-')} {value}" for name, value in given.items())


def _verdict(studies: Sequence[Study], plan: Plan, say: Say) -> int:
    empty = [study for study in studies if TrialState.COMPLETE not in {one.state for one in study.summary().trials}]
    for study in empty:
        say(f"{study.plan.key}: no trial completed; widen the space or look into the trials' log.txt")
    return verdict(plan) or (INCOMPLETE if empty else OK)


def _request(args: SearchArgs, request: SearchRequest, confirmed: Sequence[TrialSpec]) -> dict[str, object]:
    """This command for sweep.json."""
    return {
        **request_of(request.sweep),
        "search": {
            "trials": request.plans[0].planned,
            "optuna_storage": args.optuna_storage and redacted(args.optuna_storage),
            "choose": request.choose,
            "confirm_seeds": list(request.confirm_seeds),
            "studies": {plan.key: plan.definition() for plan in request.plans},
        },
        "cells": cells_of(confirmed),
    }


def _defaults(request: SearchRequest) -> list[PlannedTrial]:
    """Each study's default: what its data and model are tried with before work."""
    return [PlannedTrial(plan.spec, plan.fingerprint, PlanState.NEW, 0, None, True) for plan in request.plans]


def _ended(store: ResultStore) -> dict[str, int]:
    """Ended trials by study, as search.json says."""
    search = store.search()
    return {one.key: len(one.trials) for one in search.studies} if search else {}


def _at_most(request: SearchRequest, ended: Mapping[str, int]) -> list[PlannedTrial]:
    """The trials that a run would train if the scheduler stopped none and three configurations were confirmed."""
    trials = []
    for plan, planned in zip(request.plans, _defaults(request), strict=True):
        left = max(0, plan.planned - ended.get(plan.key, 0)) * len(plan.seeds)
        trials += [planned] * (left + (3 * len(request.confirm_seeds) if left else 0))
    return trials


def _described(request: SearchRequest, ended: Mapping[str, int]) -> str:
    first = request.plans[0]
    objectives = ",".join(one.name for one in first.objectives)
    lines = [
        f"search {request.sweep.name}: {len(request.plans)} studies of {first.planned} trials, "
        f"sampler {first.sampler}, scheduler {first.scheduler}, objective {objectives}, "
        f"search seeds {' '.join(map(str, first.seeds))}, test sealed"
    ]
    for plan in request.plans:
        carved = f", {100 * plan.spec.val_fraction:g} % of train carved as dev" if plan.spec.val_fraction else ""
        lines.append(f"  {plan.key}: {ended.get(plan.key, 0)} of {plan.planned} trials ended{carved}")
        lines += [f"    {name}: {_range(values)}" for name, values in plan.definition()["space"].items()]
    lines += [f"  {line}" for line in described(request.sweep.specs, request.sweep.models)]
    if request.confirm_seeds:
        seeds = " ".join(map(str, request.confirm_seeds))
        lines.append(f"  then each study's default, best and 1se choice on fresh seeds {seeds}, test scored")
    return "\n".join(lines)


def _range(values: Mapping[str, object]) -> str:
    if values["type"] == "categorical":
        return " ".join(map(str, values["choices"]))
    return f"{values['low']:g} to {values['high']:g}{', log' if values['log'] else ''}"


def _as_json(request: SearchRequest, ended: Mapping[str, int]) -> dict[str, object]:
    return {
        "sweep": request.sweep.name,
        "studies": [
            {
                "study": plan.key,
                "planned": plan.planned,
                "ended": ended.get(plan.key, 0),
                "default": dict(plan.default),
                **plan.definition(),
            }
            for plan in request.plans
        ],
        "confirm_seeds": list(request.confirm_seeds),
    }
