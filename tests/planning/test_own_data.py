"""Columns belong to the dataset: in YAML, in Python, in best.yaml; the flags hold for all files of a sweep."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunekit as tk
from tunekit.data.delimited import Quotes
from tunekit.data.sources import DataSource
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError
from tunekit.parsing import read_yaml, yaml_text
from tunekit.planning.args import DataColumns, GridArgs, SearchArgs
from tunekit.planning.blocks import Block, parse_block
from tunekit.planning.overrides import override
from tunekit.planning.presets import GRID_PRESETS, SEARCH_PRESETS
from tunekit.planning.resolve import resolve_grid
from tunekit.search.confirm import best_yaml
from tunekit.search.request import resolve_search
from tunekit.tasks import task_of

AXES = {"models": ("tiny-bert",), "methods": ("full",)}


def write(path, text, label, more=()):
    """Sixty rows of two classes in CSV, with columns of these names; ``more`` columns hold the row's number // 4."""
    rows = [[f"text {number}", "ab"[number % 2], *([str(number // 4)] * len(more))] for number in range(60)]
    path.write_text("".join(",".join(row) + "\n" for row in [[text, label, *more], *rows]))
    return str(path)


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "one.csv", "review", "stars"), write(tmp_path / "two.csv", "body", "topic", ["doc"])


def grid(tmp_path, datasets, **flags):
    path = tmp_path / "grid.yaml"
    path.write_text(
        yaml_text([{**{name: list(axis) for name, axis in AXES.items()}, "datasets": datasets, "seeds": [1]}])
    )
    return resolve_grid(GridArgs(config=path, **flags), GRID_PRESETS)


def test_files_with_different_columns_stand_in_one_grid(files, tmp_path):
    one, two = files
    entries = [
        {"path": one, "text": "review", "label": "stars"},
        {"path": two, "text": "body", "label": "topic", "group": "doc"},
    ]
    sweep = grid(tmp_path, ["demo", *entries])
    alone = [
        read_user_dataset(one, text_column="review", label_column="stars").name,
        read_user_dataset(two, text_column="body", label_column="topic", group_column="doc").name,
    ]
    assert [spec.dataset for spec in sweep.specs] == ["demo", *alone]
    block = Block(**AXES, datasets=("demo", *(DataSource(**entry) for entry in entries)), seeds=(1,))
    assert [spec.trial_id for spec in tk.plan(block).specs] == [spec.trial_id for spec in sweep.specs]
    assert [block.to_dict()["datasets"] for block in sweep.blocks] == [("demo", *entries)]


def test_a_file_with_usual_columns_has_the_trials_it_had(tmp_path):
    path = write(tmp_path / "x.csv", "text", "label")
    ids = {
        resolve_grid(GridArgs(**AXES, datasets=(path,), seeds=(1,)), GRID_PRESETS).specs[0].trial_id,
        grid(tmp_path, [path]).specs[0].trial_id,
        grid(tmp_path, [{"path": path}]).specs[0].trial_id,
        grid(tmp_path, [{"path": path, "text": "text", "label": "label"}]).specs[0].trial_id,
    }
    assert len(ids) == 1
    assert grid(tmp_path, [{"path": path, "text": "text"}]).blocks[0].to_dict()["datasets"] == (path,)


def test_two_texts_are_a_pair(tmp_path):
    path = write(tmp_path / "x.csv", "a", "label", ["b"])
    sweep = grid(tmp_path, [{"path": path, "text": ["a", "b"]}])
    assert [spec.dataset for spec in sweep.specs] == [read_user_dataset(path, text_column="a", pair_column="b").name]
    flags = resolve_grid(GridArgs(**AXES, datasets=(path,), text_column="a", pair_column="b", seeds=(1,)), GRID_PRESETS)
    assert [spec.trial_id for spec in flags.specs] == [spec.trial_id for spec in sweep.specs]
    assert flags.blocks[0].to_dict()["datasets"] == ({"path": path, "text": ["a", "b"]},)


def test_the_flags_hold_for_all_files_or_are_refused(files, tmp_path):
    one, two = files
    with pytest.raises(UserError, match=r"two\.csv.*no column 'review'"):
        resolve_grid(GridArgs(**AXES, datasets=files, text_column="review", label_column="stars"), GRID_PRESETS)
    other = write(tmp_path / "three.csv", "review", "stars", ["doc"])
    sweep = resolve_grid(
        GridArgs(**AXES, datasets=(one, other), text_column="review", label_column="stars"), GRID_PRESETS
    )
    assert len(sweep.own_data) == 2
    with pytest.raises(UserError, match="--text-column: for files of your own, and this sweep has none"):
        resolve_grid(GridArgs(**AXES, datasets=("demo",), text_column="review"), GRID_PRESETS)
    replaced = grid(tmp_path, [{"path": two, "text": "doc", "label": "topic"}], text_column="body")
    assert [data.splits["train"]["text"][0][:4] for data in replaced.own_data.values()] == ["text"]


def test_a_primary_metric_stands_in_the_name_unless_it_is_the_task_s_own(tmp_path):
    path = write(tmp_path / "x.csv", "text", "label")

    def names(**more):
        flags = resolve_grid(GridArgs(**AXES, datasets=(path,), seeds=(1,), **more), GRID_PRESETS)
        entry = grid(tmp_path, [{"path": path, **more}])
        assert [spec.trial_id for spec in flags.specs] == [spec.trial_id for spec in entry.specs]
        return [spec.dataset for spec in flags.specs]

    [plain] = names()
    assert names(primary_metric="macro_f1") == [plain]
    [by_accuracy], [by_mcc] = names(primary_metric="accuracy"), names(primary_metric="mcc")
    assert by_accuracy == plain.replace("x-", "x+classification.accuracy-")
    assert (task_of(by_mcc).primary, task_of(plain).primary) == ("mcc", "macro_f1")
    [named] = grid(tmp_path, [{"path": path, "name": "My Reviews"}]).own_data.values()
    assert (named.display_name, named.name) == ("My Reviews", plain.replace("x-", "my-reviews-"))


def test_every_flag_of_columns_is_a_key_of_a_dataset():
    """A flag that the entries of a file can't say would be lost in sweep.json and best.yaml."""
    keys = {"text_column": "text", "pair_column": "text", "label_column": "label", "group_column": "group"}
    assert {keys.get(item.name, item.name) for item in fields(DataColumns)} == {
        item.name for item in fields(DataSource)
    } - {"path", "name"}  # what one dataset is called can't be said of all files


def test_best_yaml_says_the_columns_and_runs_alone(files, tmp_path):
    one, _ = files
    axes = {"models": ("tiny-bert",), "datasets": (one,), "methods": ("full", "lora")}
    request = resolve_search(SearchArgs(**axes, text_column="review", label_column="stars"), SEARCH_PRESETS)
    text = best_yaml([plan.spec for plan in request.plans], request.sweep, (1, 2), tmp_path)
    assert "--text-column" not in text
    (tmp_path / "best.yaml").write_text(text)
    assert [block["datasets"] for block in read_yaml(tmp_path / "best.yaml", "best")] == [
        [{"path": one, "text": "review", "label": "stars"}]
    ] * 2
    again = resolve_grid(GridArgs(config=tmp_path / "best.yaml"), GRID_PRESETS)
    assert {spec.dataset for spec in again.specs} == set(request.sweep.own_data)


def test_a_dataset_of_the_hub_is_recorded_at_its_commit(files, tmp_path, monkeypatch):
    one, _ = files
    data = read_user_dataset(one, text_column="review", label_column="stars")
    commit = "0123456789abcdef0123456789abcdef01234567"

    def pinned(source):
        return data, replace(source, path=f"{source.path.partition('@')[0]}@{commit}")

    monkeypatch.setattr("tunekit.planning.own_data.read_source", pinned)
    entries = ["hf:acme/reviews", {"path": "hf:acme/reviews@v1", "text": "review"}]
    sweep = grid(tmp_path, entries)
    recorded = [f"hf:acme/reviews@{commit}", {"path": f"hf:acme/reviews@{commit}", "text": "review"}]
    assert list(sweep.blocks[0].to_dict()["datasets"]) == recorded
    assert sweep.original_names[data.name] in recorded


BAD = [
    ({}, "a dataset has no path"),
    ({1: 2}, "no key 1"),
    ({"path": "demo", "text": "a"}, "'demo' is registered and has columns of its own"),
    ({"path": 3}, "the path of a dataset"),
    ({"path": ""}, "the path of a dataset"),
    *(
        ({"path": "x.csv", **values}, message)
        for values, message in (
            ({"txt": "a"}, "no key 'txt', did you mean 'text'"),
            ({"pair": "a"}, r"text: \[A, B\] names the columns of a pair"),
            ({"text": 3}, "text names one column"),
            ({"text": ["a", "b", "c"]}, "text names one column"),
            ({"text": []}, "text names one column"),
            ({"label": None}, "label is a text"),
            ({"label": ["a", 3]}, "label is a text"),
            ({"group": 1}, "group is a text"),
            ({"quotes": "all"}, "quotes is one of auto"),
            ({"name": ""}, "name is a text"),
            ({"primary_metric": "acc"}, "primary metric of classification takes .* got 'acc'"),
            ({"primary_metric": "mcc", "task": "regression"}, "primary metric of regression takes loss, pearson"),
            ({"test_split": "dev"}, "a test split is named for datasets of the hub"),
            ({"skip_bad_rows": "yes"}, "skip_bad_rows is true or false"),
            ({"text": "a", "label": "a"}, "must be different columns"),
        )
    ),
]


@pytest.mark.parametrize(("entry", "message"), BAD)
def test_a_dataset_that_is_none_is_refused_in_one_line(entry, message, tmp_path):
    with pytest.raises(UserError, match=message) as refused:
        grid(tmp_path, [entry])
    assert "\n" not in str(refused.value)


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(
    path=names, text=names | st.tuples(names, names), label=names, group=st.none() | names,
    separator=st.none() | st.sampled_from(";|"), quotes=st.sampled_from(Quotes.__args__), skip_bad_rows=st.booleans(),
)  # fmt: skip
def test_a_source_is_written_and_read_back(**values):
    source = DataSource(values.pop("path"), **values)
    value = source.to_value()
    block = {"models": ["m"], "datasets": [json.loads(json.dumps(value))], "methods": ["full"], "seeds": [1]}
    [entry] = parse_block(block, "here").datasets
    assert entry == source or (entry == value == source.path and source == DataSource(source.path))


def test_a_new_product_keeps_the_sources_of_the_blocks(files):
    sources = tuple(DataSource(path, text="a") for path in files)
    blocks = [Block(models=("bert",), methods=("full",), datasets=(source, "demo"), seeds=(1,)) for source in sources]
    [merged] = override(blocks, models=("minilm",), methods=("lora",), settings={})
    assert merged.datasets == (sources[0], "demo", sources[1])
