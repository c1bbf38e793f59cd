"""The Python API: what a notebook calls."""

import gc

import pytest
import torch

import tunekit as tk
from tests.support.runs import numbers
from tests.support.stores import ask
from tunekit.data.copies import load_dataset
from tunekit.store.result_store import ResultStore

TINY = {"models": ("tiny-bert",), "datasets": ("demo",), "seeds": (1, 2), "epochs": 1, "train_limit": 48}


def test_every_public_name_is_there():
    assert {name for name in tk.__all__ if getattr(tk, name) is not None} == set(tk.__all__)
    assert set(tk.__all__) <= set(dir(tk))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tk.nothing


def test_a_plan_shows_itself():
    plan = tk.plan(tk.Block(**TINY, methods=("full", "lora")))
    assert [spec.seed for spec in plan.specs] == [1, 1, 2, 2]
    assert str(plan).splitlines() == [
        "sweep tiny-bert-demo-full-lora: 4 trials in 2 cells",
        "  tiny-bert · demo · full  seeds 1 2",
        "  tiny-bert · demo · lora  seeds 1 2",
        "  settings that are not at their default:",
        "    all trials: epochs 1, train_limit 48",
    ]
    assert "<td>tiny-bert · demo · lora</td><td>1 2</td>" in plan._repr_html_()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tk.plan(), "needs at least one block"),
        (lambda: tk.plan(tk.Block(**{**TINY, "models": ("bertt",)}, methods=("full",))), "did you mean 'bert'"),
        (lambda: tk.plan(tk.Block(**{**TINY, "seeds": ()}, methods=("full",))), "no seeds"),
        (lambda: tk.run(tk.plan(tk.Block(**TINY, methods=("full",))), "x", max_concurent=1), "'max_concurrent'"),
        (lambda: tk.run(tk.plan(tk.Block(**TINY, methods=("full",))), "x", max_concurrent=0), "must be 1 or more"),
        (lambda: tk.run(tk.plan(tk.Block(**TINY, methods=("full",))), "x", keep_models="bst"), "keep_models must be"),
        (lambda: tk.plan([tk.Block(**TINY, methods=("full",))]), r"one by one, as in tk.plan\(first, second\)"),
        (lambda: tk.plan("demo"), "tk.plan takes blocks, not a value of type str"),
        (lambda: tk.run(tk.Block(**TINY, methods=("full",)), "x"), "call tk.plan first"),
        (lambda: tk.train("x"), "tk.train takes a TrialSpec"),
        (lambda: tk.run_search(folder="x", trials=1), "tk.run_search needs at least one block"),
        (lambda: tk.load(["a", "b"]), r"one by one, as in tk.load\(a, b\)"),
        (lambda: tk.load("nowhere"), "holds no sweep"),
        (lambda: tk.run_search(tk.Block(**TINY, methods=("full",)), folder="x", trials=0), "--trials must be 1"),
    ],
)
def test_what_is_wrong_is_one_line(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tk.UserError, match=message) as refused:
        call()
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_that_is_a_value_is_planned_by_its_content():
    data = load_dataset("demo")
    own = type(data)(**{**vars(data), "name": "mine-0123456789ab", "content_hash": "0123456789ab"})
    block = tk.Block(**{**TINY, "datasets": ("demo", own)}, methods=("full",))
    assert block.to_dict()["datasets"] == ("demo", "mine-0123456789ab")
    plan = tk.plan(block)
    assert [spec.dataset for spec in plan.specs[:2]] == ["demo", "mine-0123456789ab"]
    assert list(plan.own_data) == ["mine-0123456789ab"]


@pytest.mark.slow
def test_one_trial_is_trained_here_and_written_only_where_a_folder_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = tk.plan(tk.Block(**TINY, methods=("lora",))).specs[0]
    results = tk.train(spec)
    assert list(tmp_path.iterdir()) == []
    assert len(results.epochs) == 1
    assert list(results.trials["status"]) == ["completed"]
    assert "LoRA" in str(results.table("mcc")), "predictions are read when a table asks for them"
    temporary = results.records.stores[0].root.parent
    assert temporary.is_dir()
    [score] = results.epochs["test_macro_f1"]
    del results
    gc.collect()
    assert not temporary.exists(), "the temporary folder is removed with the results"
    tk.train(spec, "mine")
    store = ResultStore(tmp_path / "mine")
    [first] = store.trials()[0]
    assert first.epochs[0].test_macro_f1 == score
    tk.train(spec, "mine")
    [second] = store.trials()[0]
    assert second.summary == first.summary, "a completed trial is not trained again"
    assert numbers(second.epochs) == numbers(first.epochs)
    assert store.requests()[0]["display_names"]["methods"] == {"lora": "LoRA"}


@pytest.mark.slow
def test_a_trial_in_this_process_has_the_threads_of_pytorch(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        spec = tk.plan(tk.Block(**TINY, methods=("head",))).specs[0]
        tk.train(spec, tmp_path / "mine")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    [trial] = ResultStore(tmp_path / "mine").trials()[0]
    assert trial.summary.execution["threads"] == 2


def test_what_was_recorded_is_loaded(tmp_path, make_spec):
    ask(ResultStore(tmp_path / "a"), [make_spec()])
    (tmp_path / "a" / "trials").mkdir()
    assert len(tk.load(tmp_path / "a").trials) == 0


@pytest.mark.slow
def test_a_trial_without_hyperparameters_takes_the_defaults_of_its_method(tmp_path):
    spec = tk.TrialSpec(
        model="tiny-bert", dataset="demo", method="lora", seed=1, learning_rate=1e-3, train_limit=48, epochs=1
    )
    [completed] = tk.plan(tk.Block(**{**TINY, "seeds": (1,)}, methods=("lora",), learning_rate=1e-3)).specs
    results = tk.train(spec, tmp_path / "mine")
    assert list(results.trials["trial_id"]) == [completed.trial_id]
    with pytest.raises(tk.UserError, match="has no parameter 'rank'"):
        tk.train(tk.TrialSpec(**{**spec.to_dict(), "method_params": {"rank": 4}}), tmp_path / "other")
    assert not (tmp_path / "other").exists()
