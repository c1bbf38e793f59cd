"""search.json: written and read whole, refused where it is anything else."""

import json

import pytest

from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import ConfirmedConfiguration, Search, SearchStudy, SearchTrial, TrialState


def a_search():
    trials = (
        SearchTrial(
            number=0, params={"learning_rate": 5e-4, "r": 32}, state=TrialState.COMPLETE, values=(0.61,),
            epochs=3, seconds=12.5, trial_ids=("0123456789ab",),
        ),
        SearchTrial(
            number=1, params={"learning_rate": 1e-3, "r": 8}, state=TrialState.FAILED, values=None,
            epochs=1, seconds=4.0, trial_ids=("ba9876543210",),
        ),
    )  # fmt: skip
    study = SearchStudy(
        model="minilm", dataset="restaurant", method="lora",
        space={"learning_rate": {"type": "float", "low": 1e-5, "high": 5e-3, "log": True}},
        objectives=("macro_f1",), directions=("maximize",), sampler="tpe", sampler_seed=0, scheduler="asha",
        seeds=(1001,), planned=12, trials=trials,
        choices=(ConfirmedConfiguration(role="best", number=0, trial_ids=("aaaaaaaaaaaa", "bbbbbbbbbbbb")),),
    )  # fmt: skip
    return Search((study,))


def test_it_comes_back_as_it_was_written(tmp_path):
    store = ResultStore(tmp_path)
    assert store.search() is None
    store.write_search(a_search())
    assert store.search() == a_search()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("studies"),
        lambda content: content["studies"][0].pop("space"),
        lambda content: content["studies"][0]["trials"][0].update(state="won"),
        lambda content: content["studies"][0].update(choices=[7]),
        lambda content: content["studies"][0].update(trials=3),
        lambda content: content["studies"][0].update(directions=["up"]),
        lambda content: content["studies"][0].update(seeds=["1001"]),
        lambda content: content["studies"][0].update(space={"learning_rate": {"type": "float", "low": 1}}),
        lambda content: content["studies"][0]["trials"][0].update(values=["0.6"]),
        lambda content: content["studies"][0]["trials"][0].update(values=[0.6, 0.7]),
        lambda content: content["studies"][0]["trials"][0].update(values=None),
        lambda content: content["studies"][0]["trials"][0].update(seconds="long"),
        lambda content: content["studies"][0]["trials"][0].update(params={"r": [1]}),
        lambda content: content["studies"][0]["trials"][1].update(number=0),
        lambda content: content["studies"][0]["choices"][0].update(number=7),
        lambda content: content["studies"][0]["choices"][0].update(role="winner"),
        lambda content: content.update(schema_version=9),
    ],
)
def test_anything_else_is_damaged(tmp_path, damage):
    store = ResultStore(tmp_path)
    store.write_search(a_search())
    content = json.loads((tmp_path / "search.json").read_text())
    damage(content)
    (tmp_path / "search.json").write_text(json.dumps(content))
    with pytest.raises(DamagedRecord, match="search.json"):
        store.search()


@pytest.mark.parametrize("field", ["model", "space", "directions", "seeds", "planned"])
def test_the_message_on_a_damaged_study_names_the_field(tmp_path, field):
    store = ResultStore(tmp_path)
    store.write_search(a_search())
    content = json.loads((tmp_path / "search.json").read_text())
    content["studies"][0][field] = [3.5]
    (tmp_path / "search.json").write_text(json.dumps(content))
    with pytest.raises(DamagedRecord, match=rf"\b{field}\b"):
        store.search()


@pytest.mark.parametrize("field", ["params", "values", "seconds", "epochs", "trial_ids"])
def test_the_message_on_a_damaged_trial_names_the_field_and_the_trial(tmp_path, field):
    store = ResultStore(tmp_path)
    store.write_search(a_search())
    content = json.loads((tmp_path / "search.json").read_text())
    content["studies"][0]["trials"][1][field] = [[1]] if field in ("values", "trial_ids") else "x"
    (tmp_path / "search.json").write_text(json.dumps(content))
    with pytest.raises(DamagedRecord, match=rf"\b{field}\b.* of trial 1\b"):
        store.search()
