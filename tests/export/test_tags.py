"""A user's file of tags, through the commands: trials, report, exported model and the tags that it predicts."""

import csv
import json

import pandas as pd
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from tests.support.exports import by_the_card
from tests.support.own_sweeps import check_trained_again, train_sweep
from tests.support.trials import specify
from tunekit.data.demo_tags import generate
from tunekit.data.user import read_user_dataset
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]  # a fixture trains a sweep


def conll(texts, labels):
    """Texts in the format of the CoNLL shared tasks."""
    return "\n".join(
        "".join(f"{word} {tag}\n" for word, tag in zip(text.split(" "), tags.split(" "), strict=True))
        for text, tags in zip(texts, labels, strict=True)
    )


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """A sweep of several methods and three seeds on a CoNLL file, with kept weights; its dataset and its specs."""
    folder = tmp_path_factory.mktemp("tagged")
    rows = generate()["train"].head(300)
    (folder / "notices.conll").write_text(conll(rows["text"], rows["label"]), encoding="utf-8")
    data = read_user_dataset(folder / "notices.conll", task="token_classification")
    sweep = folder / "sweep"
    specs = [
        specify(
            model=model, dataset=data.name, method=method, seed=seed, train_limit=None, epochs=3, learning_rate=5e-3
        )
        for model, method, seeds in (
            ("tiny-bert", "full", (1, 2, 3)),
            ("tiny-bert", "lora", (1, 2, 3)),
            ("tiny-bert", "adapter", (2,)),
            ("tiny-roberta", "full", (2,)),
            ("tiny-modernbert", "lora", (2,)),
            ("tiny-distilbert", "full", (2,)),
        )
        for seed in seeds
    ]
    train_sweep(sweep, data, specs)
    return sweep, data, specs


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("tiny-bert", "full"), ("tiny-bert", "lora"), ("tiny-bert", "adapter"), ("tiny-roberta", "full"),
        ("tiny-modernbert", "lora"), ("tiny-distilbert", "full"),
    ],
)  # fmt: skip
def test_the_exported_model_predicts_the_recorded_tags(model, method, tagged, said, tmp_path):
    sweep, data, specs = tagged
    line = ["--model", model, "--dataset", "notices+token_classification", "--method", method, "--seed", 2]
    code, lines, error = said("export", sweep, *line, "--epoch", "last", "--to", tmp_path / "to")
    assert code == 0, error
    assert " words with another tag" in "\n".join([*lines, error])
    test = data.splits["test"]
    (tmp_path / "new.conll").write_text(conll(test["text"], test["label"]), encoding="utf-8")
    code, lines, error = said("predict", tmp_path / "to", tmp_path / "new.conll")
    assert code == 0, error
    table = list(csv.DictReader(lines))
    assert list(table[0]) == ["row", "tags"]
    folder = ResultStore(sweep).folder(next(s for s in specs if (s.model, s.method, s.seed) == (model, method, 2)))
    stored = pd.read_parquet(folder / "predictions.parquet")
    stored = stored[(stored["split"] == "test") & (stored["epoch"] == 3)].set_index("item_id").loc[test["item_id"]]
    assert [row["tags"] for row in table] == stored["predicted"].tolist()
    assert len(set(stored["predicted"])) > 5
    test[["text"]].to_csv(tmp_path / "new.csv", index=False)
    assert said("predict", tmp_path / "to", tmp_path / "new.csv")[1] == lines
    card = (tmp_path / "to" / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card
    assert "test entity F1" in card
    _, printed = by_the_card(tmp_path / "to")
    lines = [line.split() for line in printed.strip().split("\n")]
    assert [number for number, _ in lines] == ["0", "1"]
    assert {tag for _, tag in lines} <= set(data.label_names)


def test_the_library_loads_the_model_with_the_names_of_the_tags(tagged, said, tmp_path):
    sweep, data, _ = tagged
    line = ["--model", "tiny-roberta", "--dataset", "notices+token_classification", "--method", "full"]
    code, _, error = said("export", sweep, *line, "--epoch", "last", "--to", tmp_path / "to")
    assert code == 0, error
    model, tokenizer = (
        kind.from_pretrained(tmp_path / "to") for kind in (AutoModelForTokenClassification, AutoTokenizer)
    )
    assert list(model.config.id2label.values()) == list(data.label_names)
    words = ["last", "week", "carla", "kent", "sold", "shares", "of", "engel", "."]
    encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    assert list(dict.fromkeys(encoded.word_ids())) == list(range(len(words)))
    first = tokenizer.decode(encoded["input_ids"][0, encoded.word_ids().index(1)])
    assert first.startswith(" w"), "a word has the tokens that it has after a space"
    with torch.no_grad():
        assert model.eval()(**encoded).logits.shape[-1] == len(data.label_names)
    manifest = json.loads((tmp_path / "to" / "tunekit.json").read_text())
    assert manifest["task"] == "token_classification"


def test_the_report_compares_entities_on_new_text(tagged, said, tmp_path):
    sweep, *_ = tagged
    code, printed, error = said("report", sweep, "--out", tmp_path / "out", "--figures", "svg")
    assert code == 0, error
    line = ["report", sweep, "--out", tmp_path / "types", "--metric", "per_class_f1", "--figures", "none"]
    assert said(*line)[0] == 0
    types = (tmp_path / "types" / "report.md").read_text()
    assert "F1 of each type of entity of notices" in types
    assert all(f" {kind} " in types for kind in ("LOC", "ORG", "PER"))
    shown = "\n".join(printed)
    for caption in ("Entity F1 (percent, test", "Precision (percent, test", "Recall (percent, test"):
        assert caption in shown
    assert "Macro-F1" not in shown
    table = pd.read_csv(tmp_path / "out" / "tables" / "methods-tiny-bert-entity-f1.csv")
    assert table["holds_for"].dropna().eq("new texts from the same source").all()
    code, printed, _ = said("status", sweep)
    assert "Numbers are entity F1 in percent after the last epoch" in " ".join(" ".join(printed).split())


def test_a_trial_trained_again_is_as_stored(tagged, tmp_path):
    sweep, _, specs = tagged
    check_trained_again(sweep, specs[0], tmp_path / "again")
