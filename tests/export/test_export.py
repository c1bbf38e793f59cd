"""Exported models load through the libraries with the trial's own predictions; what can't be exported is one line."""

import csv
import io
import json
import os
import re
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.engine.test_kept import begin
from tests.engine.test_run import finish
from tests.helpers import build, specify
from tests.test_maintenance import said as said
from tunekit.__main__ import main
from tunekit.data.base import save_dataset
from tunekit.data.user import read_user_dataset
from tunekit.engine.checkpoint import trainable
from tunekit.engine.job import Job
from tunekit.engine.kept import file_of, identity_of, kept_epochs, read_kept
from tunekit.engine.run import TrialRun
from tunekit.export import formats
from tunekit.export.exported import load_exported
from tunekit.models import MODEL_TYPES, resolve_model
from tunekit.plan import fingerprint_of
from tunekit.safety import checked_config
from tunekit.status import cells_of
from tunekit.store import ResultStore

DENSE = {"target_modules": "query,dense", "r": 2}
SPECS = {
    "full": [specify(model="tiny-bert", method="full", seed=seed) for seed in (1, 2, 3)],
    "lora": [specify(model="tiny-bert", method="lora", seed=1, learning_rate=5e-3)],
    "adapter": [specify(model="tiny-bert", method="adapter", seed=1, learning_rate=5e-3)],
    "lora-roberta": [specify(model="tiny-roberta", method="lora", seed=1, learning_rate=5e-3, method_params=DENSE)],
    "adapter-roberta": [specify(model="tiny-roberta", method="adapter", seed=1, learning_rate=5e-3)],
    "lora-dense": [specify(model="tiny-bert", method="lora", seed=2, learning_rate=5e-3, method_params=DENSE)],
}
EXACT = ["full", "lora", "adapter", "adapter-roberta"]
every = pytest.mark.parametrize("name", list(SPECS))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep of one or more trials of each name, with the weights of their last epoch."""
    root = tmp_path_factory.mktemp("export") / "sweep"
    specs = [spec for group in SPECS.values() for spec in group]
    for spec in specs:
        finish(begin(spec, root, "last"))
    ResultStore(root).add_request({"cells": cells_of([*specs, replace(SPECS["full"][0], seed=4)])})
    return root


def cell(spec):
    """The arguments that name a spec's cell."""
    params = [f"{key}={value}" for key, value in spec.method_params.items()]
    where = ["--where", f"learning_rate={spec.learning_rate}", *params]
    return ["--model", spec.model, "--dataset", spec.dataset, "--method", spec.method, *where]


@pytest.fixture(scope="module")
def exported(sweep, tmp_path_factory):
    """Folder of the export of each name, made once."""
    made = {}

    def of(name, *more):
        if (name, *more) not in made:
            to, spec = tmp_path_factory.mktemp("to") / name, SPECS[name][0]
            line = ["export", sweep, *cell(spec), "--seed", spec.seed, "--epoch", "last", "--to", to, *more]
            assert main([str(one) for one in line]) == 0
            made[name, *more] = to
        return made[name, *more]

    return of


def in_memory(spec, sweep):
    """The trial's model as the libraries' own class, from its kept weights, and the demo's test rows."""
    prepared, model = build(spec)
    stored = ResultStore(sweep).read(ResultStore(sweep).folder(spec))
    tensors = read_kept(stored.folder, 2, identity_of(spec, stored.fingerprint))
    formats.fill(trainable(model), tensors, "here")
    return model.eval(), prepared.data.splits["test"].head(16)


def by_the_card(folder):
    """What the README's code leaves, run in the folder."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    names, printed, before = {}, io.StringIO(), Path.cwd()
    try:
        os.chdir(folder)
        with redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
    finally:
        os.chdir(before)
    return names, printed.getvalue()


def library_logits(model, tokenizer, rows):
    texts = [f"{text}{tokenizer.sep_token}{pair}" for text, pair in zip(rows["text"], rows["pair"], strict=True)]
    with torch.no_grad():
        inputs = tokenizer(texts, truncation=True, max_length=512, padding=True, return_tensors="pt")
        return model(**inputs).logits.numpy()


def stored_logits(spec, sweep, rows):
    frame = pd.read_parquet(ResultStore(sweep).folder(spec) / "predictions.parquet")
    frame = frame[(frame["split"] == "test") & (frame["epoch"] == 2)].set_index("item_id").loc[rows["item_id"]]
    return np.stack(frame["logits"]).astype(np.float32)


@every
def test_the_libraries_load_it_with_the_trials_own_predictions(name, sweep, exported):
    spec, folder = SPECS[name][0], exported(name)
    names, printed = by_the_card(folder)
    model, rows = in_memory(spec, sweep)
    found = library_logits(names["model"], names["tokenizer"], rows)
    same = library_logits(model, names["tokenizer"], rows)
    if name in EXACT:
        assert np.array_equal(found, same)
    np.testing.assert_allclose(found, same, atol=1e-5)  # updates of the head are merged into it
    np.testing.assert_allclose(found, stored_logits(spec, sweep, rows), atol=2e-3, rtol=2e-3)
    assert printed.split()[0] in ("positive", "neutral", "negative")
    assert not names["model"].training


@every
def test_files_are_safetensors_and_no_more_than_was_trained(name, exported, sweep):
    folder = exported(name)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in paths if path.suffix not in (".json", ".md", ".txt", ".safetensors")]
    assert str(folder.parent) not in "".join(path.read_text() for path in paths if path.suffix in (".json", ".md"))
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    spec = SPECS[name][0]
    kept = file_of(ResultStore(sweep).folder(spec), 2).stat().st_size
    assert weights < kept + 20_000
    inside = folder if spec.method == "full" else folder / "base"
    assert checked_config(inside, "x", MODEL_TYPES)["id2label"] == {"0": "positive", "1": "neutral", "2": "negative"}
    assert oct(folder.stat().st_mode)[-3:] == "755"


@pytest.mark.parametrize("name", ["lora", "lora-roberta", "lora-dense"])
def test_merged_lora_is_one_whole_model(name, sweep, exported):
    folder = exported(name, "--merged")
    names, _ = by_the_card(folder)
    _, rows = in_memory(SPECS[name][0], sweep)
    found = library_logits(names["model"], names["tokenizer"], rows)
    np.testing.assert_allclose(found, stored_logits(SPECS[name][0], sweep, rows), atol=2e-3, rtol=2e-3)
    assert type(names["model"]).__name__.endswith("ForSequenceClassification")
    assert not (folder / "adapter_config.json").exists()
    assert not [key for key in load_file(folder / "model.safetensors") if "lora" in key]


@pytest.mark.parametrize("name", ["full", "lora-dense", "adapter-roberta"])
def test_predict_labels_a_file(name, said, sweep, exported, tmp_path):
    folder, (model, rows) = exported(name), in_memory(SPECS[name][0], sweep)
    tokenizer = load_exported(folder).tokenizer
    shares = torch.from_numpy(library_logits(model, tokenizer, rows)).softmax(-1).numpy()
    rows[["text", "pair"]].rename(columns={"text": "aspect", "pair": "sentence"}).to_csv(tmp_path / "rows.csv")
    rows[["text", "pair"]].to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    columns = ["--text-column", "aspect", "--pair-column", "sentence"]
    code, lines, _ = said("predict", folder, tmp_path / "rows.csv", *columns)
    assert code == 0
    table = list(csv.DictReader(lines))
    assert [row["row"] for row in table] == [str(number) for number in range(1, 17)]
    labels = ("positive", "neutral", "negative")
    assert [row["label"] for row in table] == [labels[index] for index in shares.argmax(1)]
    found = np.array([[float(row[f"p_{label}"]) for label in labels] for row in table])
    np.testing.assert_allclose(found, shares, atol=2e-5)
    code, printed, _ = said("predict", folder, tmp_path / "rows.jsonl", "--out", tmp_path / "out.csv")
    assert (code, printed) == (0, [])
    assert (tmp_path / "out.csv").read_text().splitlines() == lines


def test_the_card_has_the_cells_statistics_and_says_what_is_not_known(sweep, exported):
    text = (exported("full") / "README.md").read_text()
    trials = [ResultStore(sweep).read(ResultStore(sweep).folder(spec)) for spec in SPECS["full"]]
    scores = [100 * trial.summary.final_scores["test_macro_f1"] for trial in trials]
    row = f"| test macro-F1 | {scores[0]:.2f} | {np.mean(scores):.2f} ± {np.std(scores, ddof=1):.2f} |"
    assert row in text
    assert "mean ± std, 3 of 4 seeds" in text
    assert "license: unknown" in text
    assert "Unknown: nobody has said" in text
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.S)]
    assert blocks[0]["spec"] == SPECS["full"][0].to_dict()
    assert blocks[1]["trial_id"] == SPECS["full"][0].trial_id
    assert {"torch", "transformers"} <= set(blocks[1]["versions"])


def test_the_best_seed_on_validation_is_taken_and_test_is_not_looked_at(said, sweep, tmp_path):
    copy = shutil.copytree(sweep, tmp_path / "sweep")
    store = ResultStore(copy)
    trials = [store.read(store.folder(spec)) for spec in SPECS["full"]]
    for trial, val, test in zip(trials, (0.1, 0.9, 0.5), (0.99, 0.0, 0.5), strict=True):
        last = replace(trial.epochs[-1], val_macro_f1=val, test_macro_f1=test)
        store.write_epochs(trial.folder, [*trial.epochs[:-1], last])
    line = ["export", copy, *cell(SPECS["full"][0]), "--epoch", "last", "--to", tmp_path / "to"]
    code, lines, error = said(*line)
    assert code == 0, error
    assert "seed 2 (the best of 3 on validation, macro-F1 90.00 %), epoch 2 of 2" in lines[0]
    assert lines[1].startswith("predicts what the trial recorded: 64 rows")
    assert lines[2].endswith("MB of weights")
    assert json.loads((tmp_path / "to" / "tunekit.json").read_text())["spec"]["seed"] == 2

    for trial in trials:
        epochs = [replace(record, val_macro_f1=None) for record in trial.epochs]
        store.write_epochs(trial.folder, epochs)
    code, _, error = said(*line[:-1], tmp_path / "other")
    assert (code, error.count("\n")) == (2, 1)
    assert "no validation part to choose a seed by, and test is not looked at; give --seed, one of 1 2 3" in error


def test_train_makes_the_weights_that_were_not_kept_and_writes_nothing_into_the_store(said, sweep, exported, tmp_path):
    copy, spec = shutil.copytree(sweep, tmp_path / "sweep"), SPECS["lora"][0]
    shutil.rmtree(ResultStore(copy).folder(spec) / "model")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    line = ["export", copy, *cell(spec), "--seed", 1, "--epoch", "last", "--to", tmp_path / "to"]
    code, _, error = said(*line)
    assert (code, error.count("\n")) == (2, 1)
    assert "kept no weights of epoch 2" in error
    assert "--train trains it again" in error
    assert "--keep-models best" in error
    assert not (tmp_path / "to").exists()
    code, lines, error = said(*line, "--train")
    assert code == 0, error
    assert any("the same 2 epochs as stored, bit for bit" in line for line in lines)
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    file = "adapter_model.safetensors"
    assert (tmp_path / "to" / file).read_bytes() == (exported("lora") / file).read_bytes()


def test_a_users_own_file_from_csv_to_labels(said, tmp_path):
    names = ("=1+1", "<b>bad</b>\n```\x1b[2J", "fine | `x`")
    rows = [{"text": f"{word} {n}", "label": names[n % 3]} for n in range(60) for word in ("good", "bad")]
    pd.DataFrame(rows).to_csv(tmp_path / "my reviews.csv", index=False)
    data = read_user_dataset(tmp_path / "my reviews.csv")
    save_dataset(data, tmp_path / "sweep" / "data", with_text=True)
    spec = specify(dataset=data.name, train_limit=None, epochs=1)
    mark = fingerprint_of(spec, resolve_model(spec.model).revision, data.content_hash)
    finish(TrialRun(Job(spec, mark, resolve_model(spec.model), tmp_path / "sweep", 0, 1, keep_models="best"), print))
    line = ["--model", "tiny-bert", "--dataset", "my-reviews", "--method", "lora", "--to", tmp_path / "to"]
    code, _, error = said("export", tmp_path / "sweep", *line)
    assert code == 0, error
    text = (tmp_path / "to" / "README.md").read_text()
    assert "<b>" not in re.sub(r"```json\n.*?\n```", "", text, flags=re.S)
    (tmp_path / "new.txt").write_text("good things\n\nbad things\n")
    code, lines, error = said("predict", tmp_path / "to", tmp_path / "new.txt")
    assert code == 0, error
    assert "\x1b" not in "".join(lines)
    table = list(csv.DictReader(lines))
    assert len(table) == 2
    assert len(lines) == 3
    assert not [row for row in table if row["label"].startswith("=")]
    _, printed = by_the_card(tmp_path / "to")
    assert printed.startswith(tuple(names))


def not_empty(path, sweep):
    (path / "to").mkdir()
    (path / "to" / "x").write_text("mine")
    return [], "is not empty"


def a_file(path, sweep):
    (path / "to").write_text("mine")
    return [], "is not a folder"


def a_link(path, sweep):
    (path / "elsewhere").mkdir()
    (path / "to").symlink_to(path / "elsewhere")
    return [], "is not a folder"


def no_seed(path, sweep):
    return ["--seed", 9], "no completed trial has seed 9; there are 1"


def other_epoch(path, sweep):
    return ["--epoch", 1], "kept no weights of epoch 1, but of 2"


def odd_epoch(path, sweep):
    return ["--epoch", "first"], "--epoch takes best, last or a number from 1 to 2"


def other_setting(path, sweep):
    return ["--where", "r=77"], "no trial here has r=77; r is "


def odd_setting(path, sweep):
    return ["--where", "rank=2"], "--where takes NAME=VALUE, got 'rank=2'; there are "


def merged_adapter(path, sweep):
    return ["--method", "adapter", "--seed", 1, "--merged"], "can't be merged"


@pytest.mark.parametrize(
    "trouble",
    [not_empty, a_file, a_link, no_seed, other_epoch, odd_epoch, other_setting, odd_setting, merged_adapter],
)
def test_what_can_not_be_exported_is_one_line_and_writes_nothing(trouble, said, sweep, tmp_path):
    more, problem = trouble(tmp_path, sweep)
    before = sorted(tmp_path.rglob("*"))
    line = ["--model", "tiny-bert", "--dataset", "demo", "--method", "lora", "--where", "r=32", "--epoch", "last"]
    if trouble is merged_adapter:
        line = line[:6] + ["--epoch", "last"]
    code, _, error = said("export", sweep, *line, "--to", tmp_path / "to", *more)
    assert (code, error.count("\n")) == (2, 1), error
    assert problem in error
    assert sorted(tmp_path.rglob("*")) == before


def test_several_cells_are_told_apart_by_their_settings(said, sweep, tmp_path):
    line = ["export", sweep, "--model", "tiny-bert", "--dataset", "demo", "--method", "lora", "--to", tmp_path / "to"]
    code, _, error = said(*line)
    assert (code, error.count("\n")) == (2, 1)
    assert "2 cells fit" in error
    assert "--where" in error
    code, _, error = said(*line[:2], "--model", "bert", *line[4:])
    assert "no models here are called 'bert'; there are tiny-bert, tiny-roberta" in error


def change_tensor(folder):
    path = folder / "adapter_model.safetensors"
    save_file({name.replace("lora_A", "lora_X"): one for name, one in load_file(path).items()}, path)
    return "its tensors are not those"


def change_shape(folder):
    path = folder / "adapter_model.safetensors"
    save_file({name: one[:1].clone() for name, one in load_file(path).items()}, path)
    return "its tensors are not those"


def unsafe_config(folder):
    path = folder / "base" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoModel": "x--y.Z"}}))
    return "auto_map"


def manifest_value(**values):
    def change(folder):
        path = folder / "tunekit.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
        return "is not what an export writes"

    return change


def another_method(folder):
    path = folder / "tunekit.json"
    content = json.loads(path.read_text())
    content["spec"] |= {"method": "adapter", "method_params": {"reduction_factor": 16}}
    path.write_text(json.dumps(content))
    return "is not one of peft"


def local_pretrained(folder):
    shutil.rmtree(folder / "base")
    manifest_value(has_base=False)(folder)
    return "is not one of the hub at a commit"


@pytest.mark.parametrize(
    "change",
    [
        change_tensor, change_shape, unsafe_config, another_method, local_pretrained,
        manifest_value(kind="pickle"), manifest_value(label_names=["a"]), manifest_value(label_names="ab"),
        manifest_value(label_names=[1, 2]), manifest_value(spec={"model": "x"}), manifest_value(pairs="yes"),
    ],
)  # fmt: skip
def test_a_changed_export_is_refused_in_one_line(change, said, exported, tmp_path):
    folder = shutil.copytree(exported("lora"), tmp_path / "changed")
    problem = change(folder)
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "pair": "b"}\n')
    code, lines, error = said("predict", folder, tmp_path / "rows.jsonl")
    assert (code, lines, error.count("\n")) == (2, [], 1)
    assert problem in error


@pytest.mark.parametrize(
    ("name", "content", "more", "problem"),
    [
        ("x.csv", "text\nhello\n", [], "no column 'pair'"),
        ("x.txt", "hello\n", [], "takes pairs of texts"),
        ("x.csv", "text,pair\n,b\n", [], "line 2: empty text in column 'text'"),
        ("x.csv", "text,pair\n", [], "no rows"),
        ("x.xls", "text,pair\n", [], "unsupported kind of file"),
        ("x.csv", "text,pair\na,b\n", ["--pair-column", "text"], "must be different columns"),
        ("x.csv", "text,pair\na,b\n", ["--out", "/proc/x"], "can't write --out"),
    ],
)
def test_a_file_that_can_not_be_labelled_is_one_line(name, content, more, problem, said, exported, tmp_path):
    (tmp_path / name).write_text(content)
    code, lines, error = said("predict", exported("lora"), tmp_path / name, *more)
    assert (code, lines, error.count("\n")) == (2, [], 1)
    assert problem in error


def test_no_exported_model_and_an_existing_out_are_refused(said, exported, tmp_path):
    (tmp_path / "x.csv").write_text("text,pair\na,b\n")
    code, _, error = said("predict", tmp_path, tmp_path / "x.csv")
    assert (code, "holds no exported model" in error) == (2, True)
    code, _, error = said("predict", exported("lora"), tmp_path / "x.csv", "--out", tmp_path / "x.csv")
    assert (code, "is there already" in error) == (2, True)
    assert (tmp_path / "x.csv").read_text() == "text,pair\na,b\n"


def test_kept_weights_are_gone_only_when_asked(said, sweep, tmp_path):
    copy = shutil.copytree(sweep, tmp_path / "sweep")
    folder = ResultStore(copy).folder(SPECS["lora"][0])
    (folder / "model" / ".draft-99").write_bytes(b"x")
    assert said("gc", copy)[0] == 0
    assert [path.name for path in (folder / "model").iterdir()] == ["epoch-2.safetensors"]
    assert said("gc", copy, "--models")[0] == 0
    assert not list(copy.rglob("model"))
    assert kept_epochs(folder) == []
