"""After a search: the trials that confirm the selected configurations on fresh seeds, and best.yaml for the grid."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.parsing import CONTROL, yaml_text
from tunekit.planning.blocks import SETTINGS
from tunekit.planning.resolve import ResolvedSweep
from tunekit.schema import TrialSpec
from tunekit.search.choosing import select_configuration, stored_trials
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import ConfirmedConfiguration, SearchStudy, SearchTrial

BEST_YAML = "best.yaml"
"""The name of the file in the folder of a search."""
DEFAULT_STORAGE = "ray_results"
"""The default of --storage."""
GRID_SEEDS = (1, 2, 3, 4, 5)
"""The seeds in best.yaml where no configuration was confirmed."""


def spec_of(store: ResultStore, trial: SearchTrial) -> TrialSpec:
    """Return the configuration of an ended trial of a study, with its first search seed."""
    spec = stored_trials(store, trial)[0].spec
    if not isinstance(spec, TrialSpec):
        raise UserError(f"{store.root}: an imported trial can't be confirmed: {spec.label}")
    return spec


def chosen_specs(store: ResultStore, study: SearchStudy, default: TrialSpec) -> dict[str, tuple[int, TrialSpec]]:
    """Return the number and the spec of the configuration in each role; see ``tunekit.store.search_records.ROLES``.

    Only the default has a role where no trial has completed. Raises UserError and DamagedRecord.
    """
    selection = select_configuration(store, study)
    by_number = {trial.number: trial for trial in study.trials}
    roles = {"default": (0, default)}
    if selection:
        for role, number in (("best", selection.best), ("1se", selection.one_se)):
            roles[role] = (number, spec_of(store, by_number[number]))
    return roles


def confirming(spec: TrialSpec, seeds: Sequence[int]) -> list[TrialSpec]:
    """Return the trials that confirm a configuration: on fresh seeds, with test scored."""
    return [replace(spec, seed=seed, score_test=True) for seed in seeds]


def confirmed_configurations(
    roles: dict[str, tuple[int, TrialSpec]], seeds: Sequence[int]
) -> tuple[ConfirmedConfiguration, ...]:
    """Return the configurations in ``roles`` with the ids of the trials that confirm them, for search.json."""
    return tuple(
        ConfirmedConfiguration(
            role=role, number=number, trial_ids=tuple(one.trial_id for one in confirming(spec, seeds))
        )
        for role, (number, spec) in roles.items()
    )


def best_yaml(specs: Sequence[TrialSpec], sweep: ResolvedSweep, seeds: Sequence[int], folder: Place) -> str:
    """Return the text of best.yaml: ``specs`` as blocks for ``tunekit run --config``, each on all ``seeds``.

    Models and datasets are written as the search's command named them, a user's own files with their columns. The first
    line is the command that trains these blocks, in a sweep of its own beside the sweep of the search. ``folder`` is
    the folder of the search, in which best.yaml lies.
    """
    blocks = [_block(spec, sweep, tuple(seeds) or GRID_SEEDS) for spec in specs]
    command = CONTROL.sub(" ", _command(folder))
    return f"# {command}\n{yaml_text(blocks)}"


def _command(folder: Place) -> str:
    """Return the command that runs best.yaml."""
    note, path = "", str(folder / BEST_YAML)
    if isinstance(folder, ObjectPath):
        note, path = "copy this file to the present folder, then: ", BEST_YAML
    words = ["tunekit", "run", "--config", path, "--sweep", f"{folder.name}-best"]
    if folder.parent != Path(DEFAULT_STORAGE):
        words += ["--storage", str(folder.parent)]
    return note + shlex.join(words)


def _block(spec: TrialSpec, sweep: ResolvedSweep, seeds: Sequence[int]) -> dict[str, Any]:
    """Return one configuration as a block."""
    values = spec.to_dict()
    settings = {name: values[name] for name in SETTINGS if values.get(name) is not None}
    return {
        "models": [sweep.original_names[spec.model]],
        "datasets": [sweep.original_names[spec.dataset]],
        "methods": [spec.method],
        "seeds": list(seeds),
        "learning_rate": spec.learning_rate,
        "method_params": {spec.method: dict(spec.method_params)},
        **settings,
    }
