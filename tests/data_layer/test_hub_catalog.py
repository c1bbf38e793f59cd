"""Datasets of the hub by short names, and suites of them: read by the real code from copies on a fake hub."""

import json
import os
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from tests.support.dataset_contract import check_rows
from tests.support.hub_datasets import EMPTY_QUESTION, GLUE, SIZES, hub_of
from tunekit.data.base import DATASETS
from tunekit.data.copies import load_dataset
from tunekit.data.hub_catalog import HUB_DATASETS, SUITES, entry_of, unknown_dataset
from tunekit.data.rows import FileRows
from tunekit.data.sources import DataSource
from tunekit.data.tokens import tokens_of
from tunekit.data.user import MOST_VAL, Columns, dataset_of_rows
from tunekit.errors import UserError
from tunekit.models.tiny import train_tokenizer
from tunekit.planning.blocks import parse_block
from tunekit.planning.own_data import find_data, is_own
from tunekit.schema import slug
from tunekit.tasks import task_of

PLAN = """
import json, sys
from pathlib import Path
import tunekit as tk
from tunekit.data.copies import save_dataset
from tunekit.planning.args import GridArgs
from tunekit.planning.presets import GRID_PRESETS
from tunekit.planning.resolve import resolve_grid
folder = Path(sys.argv[1])
axes = {"models": ("tiny-bert",), "methods": ("full",)}
sweep = tk.plan(tk.Block(datasets=tuple(tk.HUB_DATASETS), seeds=(1,), **axes))
for data in sweep.own_data.values():
    save_dataset(data, folder, with_text=True)
found = {}
for name, spec in zip(tk.HUB_DATASETS, sweep.specs, strict=True):
    lines = sweep.data_summaries()[spec.dataset].lines()
    found[name] = {"name": spec.dataset, "recorded": sweep.original_names[spec.dataset], "lines": lines}
suite = resolve_grid(GridArgs(suite="glue", seeds=(1,), **axes), GRID_PRESETS)
(folder / "glue.yaml").write_text("- {models: [tiny-bert], suite: glue, datasets: demo, methods: [full], seeds: [1]}")
config = resolve_grid(GridArgs(config=folder / "glue.yaml"), GRID_PRESETS)
block = tk.plan(tk.Block(datasets=(*tk.SUITES["glue"], "demo"), seeds=(1,), **axes))
both = resolve_grid(GridArgs(suite="glue", datasets=("demo", "cola"), seeds=(1,), **axes), GRID_PRESETS)
ids = [[spec.trial_id for spec in one.specs] for one in (suite, config, block, both)]
print(json.dumps({"datasets": found, "suite": suite.name, "ids": ids, "block": sweep.blocks[0].to_dict()}))
"""


def planned(home, folder, url, **more):
    """What a fresh process plans of all datasets of the catalogue; it leaves their copies in ``folder``."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    variables |= {"HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "TUNEKIT_CACHE_DIR": str(home / "cache"), **more}
    command = [sys.executable, "-c", PLAN, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=110)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """The datasets by their short names, what was planned, and the copies of the repositories."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "data"
    folder.mkdir()
    with hub_of(home / "repositories") as hub:
        found = planned(home, folder, hub.url)
        url, asked = hub.url, [*hub.asked]
    again = planned(home, folder, url, HF_HUB_OFFLINE="1")
    data = {name: load_dataset(one["name"], folder) for name, one in found["datasets"].items()}
    return SimpleNamespace(found=found, again=again, data=data, glue=home / "repositories" / "glue", asked=asked)


def rows_of(read, config, split):
    return pq.read_table(read.glue / config / f"{split}-00000-of-00001.parquet").to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(HUB_DATASETS))
def test_contract(name, read):
    entry, data = HUB_DATASETS[name], read.data[name]
    assert entry.licence == data.licence
    assert entry.homepage.startswith("https://huggingface.co/datasets/")
    assert name not in DATASETS
    check_rows(data)
    assert list(data.splits) == ["train", "val", "test"]
    assert data.display_name == entry.source.name
    assert data.name.startswith(f"{slug(entry.source.name)}+")
    assert task_of(data.name).name == entry.source.task
    assert entry_of(entry.source) is entry


@pytest.mark.slow
def test_what_was_read_is_recorded_with_its_commit_and_read_again_without_a_network(read):
    for name, one in read.found["datasets"].items():
        path, _, revision = HUB_DATASETS[name].source.path.partition("@")
        recorded = one["recorded"]
        assert recorded["path"].startswith(f"{path}@")
        commit = recorded["path"].removeprefix(f"{path}@")
        assert commit == revision or (revision == "refs/convert/parquet" and commit in ("1" * 40, "2" * 40))
        assert entry_of(DataSource.from_mapping(recorded)) is HUB_DATASETS[name]
        assert read.again["datasets"][name]["name"] == one["name"]
    assert read.again["ids"] == read.found["ids"]
    assert not any(file.endswith(".py") for file in read.asked)


@pytest.mark.slow
@pytest.mark.parametrize("name", GLUE)
def test_glue_is_tested_on_the_development_part_and_validated_on_rows_of_train(name, read):
    data, (texts, names) = read.data[name], GLUE[name]
    dev = rows_of(read, name, "validation_matched" if name == "mnli" else "validation")
    test = data.splits["test"]
    assert test["text"].tolist() == [row[texts[0]] for row in dev]
    if len(texts) == 2:
        assert test["pair"].tolist() == [row[texts[1]] for row in dev]
        assert data.pair_as == "pair"
    if names:
        assert [data.label_names[label] for label in test["label"]] == [names[row["label"]] for row in dev]
    else:
        assert test["label"].tolist() == [row["label"] for row in dev]
    given = Counter(row[texts[0]] for row in rows_of(read, name, "train"))
    drawn = Counter([*data.splits["train"]["text"], *data.splits["val"]["text"]])
    assert given - drawn == ({rows_of(read, name, "train")[EMPTY_QUESTION]["question1"]: 1} if name == "qqp" else {})
    assert not drawn - given
    assert len(data.splits["val"]) in (SIZES["train"] // 10, SIZES["train"] // 10 + 1)
    assert not set(data.splits["train"]["group"]) & set(data.splits["val"]["group"])
    assert "the labels of GLUE's own test part are not public" in data.note
    assert "the validation part is drawn from its training split" in data.note
    assert task_of(data.name).primary == {"cola": "mcc", "stsb": "pearson"}.get(name, "accuracy")


@pytest.mark.slow
def test_what_a_plan_says_of_the_parts(read):
    lines = {name: "\n".join(one["lines"]) for name, one in read.found["datasets"].items()}
    assert "left out: splits validation_mismatched, test_matched, test_mismatched" in lines["mnli"]
    assert "its train rows are split 90% train, 10% val" in lines["cola"]
    assert "left out: 1 row (1 empty text)" in lines["qqp"]
    assert read.data["qqp"].left_out == {"empty text": 1}
    assert "4 types of entities" in lines["conll2003"]
    assert "28 labels" in lines["go_emotions"]


@pytest.mark.slow
def test_labels_in_lists_are_several_labels_a_text(read):
    data = read.data["go_emotions"]
    assert set(data.label_names) >= {"admiration", "neutral"}
    assert {sum(label) for frame in data.splits.values() for label in frame["label"]} == {1, 2}


@pytest.mark.slow
def test_a_pair_has_the_tokens_that_its_tokenizer_gives_a_pair(read):
    tokenizer = train_tokenizer("tiny-bert", read.data["mnli"])
    frame = read.data["mnli"].splits["test"]
    texts, pairs = frame["text"].tolist(), frame["pair"].tolist()
    found = tokens_of(texts, pairs, tokenizer, 12)
    for place, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
        expected = tokenizer(text, pair, truncation=True, max_length=12)
        own = slice(found.offsets[place], found.offsets[place + 1])
        assert found.ids[own].tolist() == expected["input_ids"]
        assert found.types[own].tolist() == expected["token_type_ids"]
    assert set(found.types) == {0, 1}


@pytest.mark.slow
def test_a_suite_is_its_datasets_on_the_command_line_in_yaml_and_in_python(read):
    suite, config, block, both = read.found["ids"]
    assert len(suite) == len(SUITES["glue"]) == 9
    assert config == block == both
    assert config[:9] == suite
    assert read.found["suite"] == "tiny-bert-glue-full"


def test_a_suite_holds_datasets_of_the_catalogue():
    assert SUITES["glue"] == ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")
    for suite in SUITES:
        assert suite not in (*DATASETS, *HUB_DATASETS)
        assert all(name in HUB_DATASETS or name in DATASETS for name in SUITES[suite])


def block_of(**values):
    return parse_block({"models": ["m"], "methods": ["full"], "seeds": [1], **values}, "here")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"suite": "gleu"}, "here: unknown suite 'gleu', did you mean 'glue'"),
        ({"suite": ["glue"]}, "here: suite is the name of one suite"),
        ({}, "here: missing datasets"),
        ({"suit": "glue"}, "unknown key 'suit', did you mean 'suite'"),
    ],
)
def test_a_suite_that_is_none_is_refused_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as refused:
        block_of(**values)
    assert "\n" not in str(refused.value)


def test_an_unknown_dataset_is_told_what_there_is():
    assert "'glue' is a suite of datasets; give --suite glue" in str(unknown_dataset("glue"))
    assert "did you mean 'cola'" in str(unknown_dataset("colla"))
    assert "Registered datasets: " in str(unknown_dataset("zzz"))
    with pytest.raises(UserError, match="did you mean 'mrpc'"):
        find_data([block_of(datasets=["mrcp"])])


def test_a_name_that_may_mean_two_things_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rte").mkdir()
    with pytest.raises(UserError, match="'rte' is a dataset's name, and a file or folder here; give ./rte"):
        find_data([block_of(datasets=["rte"])])
    with pytest.raises(UserError, match="'rte' is registered and has columns of its own"):
        find_data([block_of(datasets=[{"path": "rte"}])])
    assert is_own("./rte")


@pytest.mark.slow
def test_a_large_training_split_gives_at_most_so_many_rows_to_validation():
    def rows(split, count):
        texts = [f"text {split} {number}" for number in range(count)]
        values = {"text": texts, "label": ["ab"[number % 2] for number in range(count)]}
        return FileRows(source=split, unit="row", numbers=[*range(1, count + 1)], values=values)

    columns = Columns("text", None, ("label",), None)
    given = {"train": rows("train", 12 * MOST_VAL), "test": rows("test", 20)}
    data = dataset_of_rows(given, columns, "x", "x", draw_val=True)
    assert len(data.splits["val"]) == MOST_VAL
    assert "split 91.7% train, 8.3% val" in data.split_note
    assert "val" not in dataset_of_rows(given, columns, "x", "x").splits
