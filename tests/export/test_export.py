"""Exported models load through the libraries with the trial's own predictions."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support.exports import SPECS, by_the_card, cell, in_memory, library_logits, stored_logits
from tests.support.trials import build, specify
from tunekit.engine.checkpoint import trainable
from tunekit.engine.kept_weights import weights_file
from tunekit.errors import UserError
from tunekit.export import formats
from tunekit.methods import METHODS
from tunekit.models.families import FAMILIES
from tunekit.models.safety import checked_config
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXACT = ["full", "lora", "adapter", "adapter-roberta", "parallel"]


every = pytest.mark.parametrize("name", list(SPECS))


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
    kept = weights_file(ResultStore(sweep).folder(spec), 2).stat().st_size
    zeros = kept if name == "lora-modernbert" else 0  # LoRA of a fused module holds zeros for the rows of others
    assert weights < kept + zeros + 20_000
    inside = folder if spec.method == "full" else folder / "base"
    assert checked_config(inside, "x", FAMILIES)["id2label"] == {"0": "positive", "1": "neutral", "2": "negative"}
    assert oct(folder.stat().st_mode)[-3:] == "755"
    assert {oct(path.stat().st_mode)[-3:] for path in paths} == {"644"}


@pytest.mark.parametrize("name", ["lora", "lora-roberta", "lora-dense", "lora-modernbert", "rslora", "pissa", "vera"])
def test_merged_lora_is_one_whole_model(name, sweep, exported):
    folder = exported(name, "--merged")
    names, _ = by_the_card(folder)
    _, rows = in_memory(SPECS[name][0], sweep)
    found = library_logits(names["model"], names["tokenizer"], rows)
    np.testing.assert_allclose(found, stored_logits(SPECS[name][0], sweep, rows), atol=2e-3, rtol=2e-3)
    assert type(names["model"]).__name__.endswith("ForSequenceClassification")
    assert not (folder / "adapter_config.json").exists()
    assert not [key for key in load_file(folder / "model.safetensors") if "lora" in key or "vera" in key]


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


def test_train_makes_the_weights_that_were_not_kept_and_writes_nothing_into_the_store(said, sweep, exported, tmp_path):
    copy, spec = shutil.copytree(sweep, tmp_path / "sweep"), SPECS["lora"][0]
    shutil.rmtree(ResultStore(copy).folder(spec) / "model")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    line = ["export", copy, *cell(spec), "--seed", 1, "--epoch", "last", "--to", tmp_path / "to"]
    code, _, error = said(*line)
    assert (code, error.count("\n")) == (2, 1)
    assert "kept no weights of epoch 2" in error
    assert "add --train, which trains it again here" in error
    assert "--keep-models best" in error
    assert not (tmp_path / "to").exists()
    code, lines, error = said(*line, "--train")
    assert code == 0, error
    assert any("the same 2 epochs as stored, bit for bit" in line for line in lines)
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    file = "adapter_model.safetensors"
    assert (tmp_path / "to" / file).read_bytes() == (exported("lora") / file).read_bytes()


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_is_written_and_read_back_or_refused(method, tmp_path):
    spec = specify(method=method, train_limit=8)
    prepared, model = build(spec)
    _, again = build(spec)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    if method == "prefix":
        with pytest.raises(UserError, match="can't be exported"):
            formats.write(model, tmp_path, None, None)
        return
    kind = formats.write(model, tmp_path, "org/name", "a" * 40)
    if kind == formats.WHOLE:
        again = type(model).from_pretrained(tmp_path)
    else:
        formats.read(again, tmp_path)
        assert "org/name" in (tmp_path / "adapter_config.json").read_text()
    rows = prepared.data.splits["test"].head(4)
    found = [library_logits(one.eval(), prepared.tokenizer, rows) for one in (model, again)]
    assert np.array_equal(*found)
