"""Stores of this trainer version are planned as done, shown, and grown. Those of the one before are stale, and shown.

tests/data/stores holds a grid and a search as they were written when the trainer version was raised, and
tests/data/stale_stores those of the version before (``tests.support.golden``).
"""

import json
import shutil

import pytest

from analysis.cells import cells
from analysis.sweep_records import read_sweeps
from tests.support.golden import STALE_STORES, STORES, stored_version
from tests.support.trials import fingerprint
from tunekit.planning.args import SearchArgs
from tunekit.planning.blocks import Block
from tunekit.planning.plan import PlanState, make_plan
from tunekit.planning.presets import SearchPreset
from tunekit.schema import TRAINER_VERSION, Status, TrialSpec
from tunekit.search.optuna_storage import open_storage
from tunekit.search.request import resolve_search
from tunekit.search.study import Study
from tunekit.store.requests import requested_specs
from tunekit.store.result_store import ResultStore


@pytest.fixture
def stored(tmp_path):
    """Copies of the stores, since planning may write a cache."""

    def copied(name, stores=STORES):
        return ResultStore(shutil.copytree(stores / name, tmp_path / stores.name / name))

    return copied


@pytest.mark.parametrize(("name", "count"), [("grid", 5), ("search", 1)])
def test_a_store_of_this_trainer_version_is_planned_as_done(stored, name, count):
    store = stored(name)
    specs = [spec for spec in requested_specs(store.requests()) if isinstance(spec, TrialSpec)]
    plan = make_plan(specs, {spec.trial_id: fingerprint(spec) for spec in specs}, store)
    assert (len(plan.trials), plan.count(PlanState.DONE)) == (count, count)
    assert plan.stale == plan.damaged == ()


@pytest.mark.parametrize(("name", "count"), [("grid", 5), ("search", 1)])
def test_a_store_of_the_trainer_version_before_is_stale_and_still_shown(stored, name, count):
    assert stored_version(STALE_STORES) < stored_version(STORES) == TRAINER_VERSION
    store = stored(name, STALE_STORES)
    specs = [spec for spec in requested_specs(store.requests()) if isinstance(spec, TrialSpec)]
    plan = make_plan(specs, {spec.trial_id: fingerprint(spec) for spec in specs}, store)
    assert plan.count(PlanState.NEW) == len(plan.stale) == count
    assert {tuple(parts) for _, parts in plan.stale} == {("trainer",)}
    assert plan.damaged == ()
    [*found] = cells(read_sweeps([store.root]))
    assert {run.status for cell in found for run in cell.trials} == {Status.COMPLETED}
    assert all(0 < score < 1 for cell in found for score in cell.by_seed("macro_f1").values())


def test_a_study_of_this_trainer_version_grows(stored):
    store = stored("search")
    block = Block(models=("tiny-bert",), datasets=("demo",), methods=("lora",), seeds=(1001,), batch_size=8)
    args = SearchArgs(epochs=1, train_limit=48)
    [plan] = resolve_search(args, {"study": SearchPreset(blocks=[block], trials=3)}).plans
    study = Study(plan, open_storage(None, store.root, 0), "search")
    assert (study.num_ended, study.has_trials_left) == (2, True)
    asked = study.ask()
    assert (asked.number, study.num_suggested) == (2, 3)
    [before] = json.loads((STORES / "search" / "search.json").read_text())["studies"]
    assert [one.number for one in study.summary().trials] == [one["number"] for one in before["trials"]]
