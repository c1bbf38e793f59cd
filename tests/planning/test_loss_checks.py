"""Losses that a task does not have or that do not fit the labels are refused in one line before anything trains."""

import pandas as pd
import pytest

import tunekit as tk
from tests.support.trials import specify
from tunekit.commands import preparing
from tunekit.data.copies import load_dataset
from tunekit.errors import UserError
from tunekit.planning.args import GridArgs, SearchArgs
from tunekit.planning.loss_checks import check_classes
from tunekit.planning.options import RunOptions
from tunekit.planning.plan import plan_sweep
from tunekit.planning.presets import GRID_PRESETS, SEARCH_PRESETS
from tunekit.planning.resolve import resolve_grid
from tunekit.search.request import resolve_search
from tunekit.store.result_store import ResultStore

AXES = {"models": ("tiny-bert",), "datasets": ("demo",), "methods": ("full",), "seeds": (1,)}
REFUSED = {
    "an unknown label": (
        {"class_weights": "negativ=2"},
        "class_weights: demo has no label 'negativ', did you mean 'negative'? (there are positive, neutral, negative)",
    ),
    "a negative weight": (
        {"class_weights": "negative=-1"},
        "class_weights: the weight of 'negative' must be a finite number of 0 or more, got -1",
    ),
    "no number": (
        {"class_weights": "negative=two"},
        "class_weights: the weight of 'negative' must be a number, got 'two'",
    ),
    "an infinite weight": (
        {"class_weights": "negative=inf"},
        "class_weights: the weight of 'negative' must be a finite number of 0 or more, got inf",
    ),
    "no list": (
        {"class_weights": "balance"},
        "class_weights must be none, balanced or LABEL=WEIGHT,..., got 'balance'",
    ),
    "a label twice": (
        {"class_weights": "negative=1,negative=2"},
        "class_weights must name each label once, as in LABEL=WEIGHT,..., got 'negative=1,negative=2'",
    ),
    "nothing but 0": (
        {"class_weights": "negative=0,neutral=0,positive=0"},
        "class_weights: every label of demo has the weight 0, so nothing would be learnt",
    ),
    "all of the smoothing": ({"label_smoothing": 1.0}, "label_smoothing must lie in [0, 1), got 1.0"),
    "negative smoothing": ({"label_smoothing": -0.1}, "label_smoothing must lie in [0, 1), got -0.1"),
    "a negative gamma": ({"focal_gamma": -1.0}, "focal_gamma must be 0 or more, got -1.0"),
    "two that exclude each other": (
        {"label_smoothing": 0.1, "focal_gamma": 2.0},
        "focal_gamma must be 0 beside a label_smoothing, since focal loss is defined for one label, got 2.0",
    ),
    "focal loss of a regression": (
        {"focal_gamma": 2.0, "datasets": ("demo-regression",)},
        "focal_gamma is no option of the loss of task 'regression', which demo-regression has: it takes no options",
    ),
    "class weights of a regression": (
        {"class_weights": "balanced", "datasets": ("demo-regression",)},
        "class_weights is no option of the loss of task 'regression', which demo-regression has: it takes no options",
    ),
    "smoothing of several labels": (
        {"label_smoothing": 0.1, "datasets": ("demo-multi",)},
        "label_smoothing is no option of the loss of task 'multi_label', which demo-multi has: it takes no options",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_loss_that_does_not_fit_is_refused_in_the_plan(case):
    changes, message = REFUSED[case]
    fields = {**AXES, **changes}
    with pytest.raises(UserError) as refused:
        tk.plan(tk.Block(**fields))
    assert str(refused.value) == message
    flags = {name: value for name, value in fields.items() if name != "seeds"}
    for resolve, args, presets in (
        (resolve_grid, GridArgs(**flags), GRID_PRESETS),
        (resolve_search, SearchArgs(**flags), SEARCH_PRESETS),
    ):
        with pytest.raises(UserError) as refused:
            resolve(args, presets)
        assert str(refused.value) == message


def test_a_trial_through_the_python_api_is_refused_too(tmp_path):
    with pytest.raises(UserError, match="demo has no label 'good'"):
        tk.train(specify(class_weights="good=2"), tmp_path / "sweep")
    assert not list(tmp_path.rglob("epochs.jsonl"))


def test_each_value_of_a_searched_space_is_checked(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("full: {class_weights: [none, balanced, good=2]}\n")
    args = {name: value for name, value in AXES.items() if name != "seeds"}
    with pytest.raises(UserError) as refused:
        resolve_search(SearchArgs(**args, space=path), SEARCH_PRESETS)
    assert str(refused.value).startswith(f"{path}, full.class_weights: class_weights: demo has no label 'good'")
    path.write_text("full: {class_weights: ['positive=1,negative=2', none], label_smoothing: [0, 0.1]}\n")
    request = resolve_search(SearchArgs(**args, space=path), SEARCH_PRESETS)
    assert request.plans[0].default["class_weights"] == "none"
    given = SearchArgs(**args, space=path, class_weights="negative=2.0, positive=1")
    assert resolve_search(given, SEARCH_PRESETS).plans[0].default["class_weights"] == "negative=2,positive=1"


def test_a_weight_of_a_class_that_has_no_training_text_is_refused():
    labels = [*("ab"[number % 2] for number in range(60)), "c", *"abc"]  # one text of c to train on, one to test
    rows = {"text": [f"text {number}" for number in range(64)], "label": labels, "part": 61 * ["train"] + 3 * ["test"]}
    data = tk.dataset(pd.DataFrame(rows), text="text", label="label", split="part")
    fields = {**AXES, "datasets": (data,)}
    assert tk.plan(tk.Block(**fields, class_weights="c=4")).specs[0].class_weights == "c=4"
    cut = specify(dataset=data.name, class_weights="c=4", train_limit=2)
    with pytest.raises(UserError, match="no training text of .* has the label 'c'"):
        check_classes(cut, data)
    with pytest.raises(UserError, match="no training text of .* has the label 'c'"):
        tk.plan(tk.Block(**fields, class_weights="c=4", train_limit=2))
    with pytest.raises(UserError, match="every training text of .* has the weight 0"):
        tk.plan(tk.Block(**fields, class_weights="a=0,b=0", train_limit=2))


def test_a_registered_dataset_is_looked_at_before_the_first_trial(tmp_path, monkeypatch):
    data = load_dataset("demo")
    splits = {**data.splits, "train": data.splits["train"].query("label != 2").reset_index(drop=True)}
    monkeypatch.setattr(preparing, "load_dataset", lambda name: type(data)(**{**vars(data), "splits": splits}))
    sweep = tk.plan(tk.Block(**AXES, class_weights="negative=2"))
    store = ResultStore(tmp_path / "sweep")
    store.root.mkdir()
    pending = plan_sweep(sweep, store).pending(retry_failed=False)
    with pytest.raises(UserError, match="class_weights: no training text of demo has the label 'negative'"):
        preparing.prepare(sweep, pending, store, RunOptions(), print, num_trials=1)
