"""Stores that earlier versions of this trainer version wrote are planned as done, shown, and grown.

tests/data/stores holds a grid and a search as they were written at version 0.1.0, before any module was moved.
"""

import json
import shutil

import pytest

from tests.support.golden import DATA
from tests.support.trials import fingerprint
from tunekit.planning.args import SearchArgs
from tunekit.planning.blocks import Block
from tunekit.planning.plan import PlanState, make_plan
from tunekit.planning.presets import SearchPreset
from tunekit.schema import TrialSpec
from tunekit.search.optuna_storage import open_storage
from tunekit.search.request import resolve_search
from tunekit.search.study import Study
from tunekit.store.requests import requested_specs
from tunekit.store.result_store import ResultStore


@pytest.fixture
def stored(tmp_path):
    """Copies of the stores, since planning may write a cache."""
    shutil.copytree(DATA / "stores", tmp_path / "stores")
    return lambda name: ResultStore(tmp_path / "stores" / name)


@pytest.mark.parametrize(("name", "count"), [("grid", 5), ("search", 1)])
def test_a_store_of_this_trainer_version_is_planned_as_done(stored, name, count):
    store = stored(name)
    specs = [spec for spec in requested_specs(store.requests()) if isinstance(spec, TrialSpec)]
    plan = make_plan(specs, {spec.trial_id: fingerprint(spec) for spec in specs}, store)
    assert (len(plan.trials), plan.count(PlanState.DONE)) == (count, count)
    assert plan.stale == plan.damaged == ()


def test_a_study_of_this_trainer_version_grows(stored):
    store = stored("search")
    block = Block(models=("tiny-bert",), datasets=("demo",), methods=("lora",), seeds=(1001,), batch_size=8)
    args = SearchArgs(epochs=1, train_limit=48)
    [plan] = resolve_search(args, {"study": SearchPreset(blocks=[block], trials=3)}).plans
    study = Study(plan, open_storage(None, store.root, 0), "search")
    assert (study.num_ended, study.has_trials_left) == (2, True)
    asked = study.ask()
    assert (asked.number, study.num_suggested) == (2, 3)
    [before] = json.loads((DATA / "stores" / "search" / "search.json").read_text())["studies"]
    assert [one.number for one in study.summary().trials] == [one["number"] for one in before["trials"]]
