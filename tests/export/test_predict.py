"""Files are labelled as the trial would; exports that someone changed are refused."""

import csv
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.exports import SPECS, by_the_card, in_memory, library_logits
from tests.support.runs import finish
from tests.support.trials import specify
from tunekit.data.copies import save_dataset
from tunekit.data.user import read_user_dataset
from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun
from tunekit.export.loading import load_exported
from tunekit.models.loading import resolve_model
from tunekit.planning.fingerprints import fingerprint_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", ["full", "lora-dense", "adapter-roberta"])
def test_predict_labels_a_file(name, said, sweep, exported, tmp_path):
    folder, (model, rows) = exported(name), in_memory(SPECS[name][0], sweep)
    tokenizer = load_exported(folder).tokenizer
    shares = torch.from_numpy(library_logits(model, tokenizer, rows)).softmax(-1).numpy()
    rows[["text", "pair"]].rename(columns={"text": "aspect", "pair": "sentence"}).to_csv(tmp_path / "rows.csv")
    rows[["text", "pair"]].to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    columns = ["--text-column", "aspect", "--pair-column", "sentence"]
    code, lines, told = said("predict", folder, tmp_path / "rows.csv", *columns)
    assert code == 0
    assert "16 predictions written to standard output" in told
    table = list(csv.DictReader(lines))
    assert [row["row"] for row in table] == [str(number) for number in range(1, 17)]
    labels = ("positive", "neutral", "negative")
    assert [row["label"] for row in table] == [labels[index] for index in shares.argmax(1)]
    found = np.array([[float(row[f"p_{label}"]) for label in labels] for row in table])
    np.testing.assert_allclose(found, shares, atol=2e-5)
    code, printed, told = said("predict", folder, tmp_path / "rows.jsonl", "--out", tmp_path / "out.csv")
    assert (code, printed) == (0, [])
    assert f"16 predictions written to {tmp_path / 'out.csv'}" in told
    assert (tmp_path / "out.csv").read_text().splitlines() == lines


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
        (
            "x.csv",
            "text,pair\n,b\na,b,c\na,\n",
            [],
            "3 bad rows: line 2: empty text in column 'text'; line 3: 3 fields",
        ),
        ("x.csv", "text,pair\n" + 'a,"b\n' * 4 + 'c,d"\n', [], "--quotes none"),
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


@pytest.mark.parametrize(
    ("name", "content", "more", "notes"),
    [
        ("x.csv", "pair;text\nb;a, c\n", [], ["separated by a semicolon"]),
        ("x.TSV", "pair\ttext\nb\ta, c\n", [], []),
        ("x.csv", "pair~text\nb~a, c\n", ["--separator", "~"], []),
        ("x.csv", 'pair;text\n"b;"a, c\n', ["--quotes", "none"], ["separated by a semicolon"]),
    ],
)
def test_a_file_of_any_separator_is_labelled_and_the_separator_is_said(
    name, content, more, notes, said, exported, tmp_path
):
    (tmp_path / name).write_text(content)
    code, lines, error = said("predict", exported("lora"), tmp_path / name, *more)
    assert (code, len(lines)) == (0, 2)
    assert [line for line in notes if line not in error] == []


def test_no_exported_model_and_an_existing_out_are_refused(said, exported, tmp_path):
    (tmp_path / "x.csv").write_text("text,pair\na,b\n")
    code, _, error = said("predict", tmp_path, tmp_path / "x.csv")
    assert (code, "holds no exported model" in error) == (2, True)
    code, _, error = said("predict", exported("lora"), tmp_path / "x.csv", "--out", tmp_path / "x.csv")
    assert (code, "exists already" in error) == (2, True)
    assert (tmp_path / "x.csv").read_text() == "text,pair\na,b\n"
