"""After a search: the configurations that are trained on fresh seeds, and best.yaml for the grid."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

from tunekit.planning.blocks import SETTINGS
from tunekit.planning.resolve import ResolvedSweep
from tunekit.schema import TrialSpec
from tunekit.search.choosing import select_configuration
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import ConfirmedConfiguration, SearchStudy, SearchTrial

GRID_SEEDS = (1, 2, 3, 4, 5)
"""Seeds of best.yaml where none were confirmed: the study's."""


def spec_of(store: ResultStore, trial: SearchTrial) -> TrialSpec:
    """The configuration of an ended trial, with its first search seed."""
    return store.read(store.find_folder(trial.trial_ids[0])).spec


def chosen_specs(store: ResultStore, study: SearchStudy, default: TrialSpec) -> dict[str, tuple[int, TrialSpec]]:
    """Number and configuration by role: the default, and where a trial completed the best and the 1se choice."""
    chosen = select_configuration(store, study)
    by_number = {trial.number: trial for trial in study.trials}
    roles = {"default": (0, default)}
    if chosen:
        for role, number in (("best", chosen.best), ("1se", chosen.one_se)):
            roles[role] = (number, spec_of(store, by_number[number]))
    return roles


def confirming(spec: TrialSpec, seeds: Sequence[int]) -> list[TrialSpec]:
    """The trials that confirm a configuration: fresh seeds, test scored."""
    return [replace(spec, seed=seed, score_test=True) for seed in seeds]


def choices_of(roles: dict[str, tuple[int, TrialSpec]], seeds: Sequence[int]) -> tuple[ConfirmedConfiguration, ...]:
    """The choices for search.json."""
    return tuple(
        ConfirmedConfiguration(role=role, number=number, trial_ids=tuple(one.trial_id for one in confirming(spec, seeds)))
        for role, (number, spec) in roles.items()
    )


def best_yaml(specs: Sequence[TrialSpec], sweep: ResolvedSweep, seeds: Sequence[int], flags: str) -> str:
    """``specs`` as the list of blocks that ``tunekit run --config`` takes, with the names that the command gave."""
    blocks = [_block(spec, sweep, tuple(seeds) or GRID_SEEDS) for spec in specs]
    return f"# tunekit run --config best.yaml{flags}\n{yaml.safe_dump(blocks, sort_keys=False)}"


def _block(spec: TrialSpec, sweep: ResolvedSweep, seeds: Sequence[int]) -> dict[str, Any]:
    settings = {name: getattr(spec, name) for name in SETTINGS if getattr(spec, name) is not None}
    return {
        "models": [sweep.original_names[spec.model]],
        "datasets": [sweep.original_names[spec.dataset]],
        "methods": [spec.method],
        "seeds": list(seeds),
        "learning_rate": spec.learning_rate,
        "method_params": {spec.method: dict(spec.method_params)},
        **settings,
    }
