"""A trial against a store: resume, damage, divergence, what the records hold."""

import importlib
import json
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import torch

from tests.support.runs import finish, numbers
from tests.support.trials import fingerprint, specify, start
from tunekit.engine import run as engine_run
from tunekit.engine.checkpoint import checkpoints, newest_valid
from tunekit.engine.train import Diverged
from tunekit.methods import METHODS
from tunekit.planning import fingerprints
from tunekit.schema import Status
from tunekit.storage.lease import Superseded, acquire
from tunekit.store.result_store import ResultStore
from tunekit.tasks.classification import label_scores

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A trial that nothing broke off, as it is stored, and its run; trained once for all tests of equal specs."""
    trained = {}

    def train(spec):
        if spec.trial_id not in trained:
            root = tmp_path_factory.mktemp("unbroken")
            run = start(spec, root)
            finish(run)
            trained[spec.trial_id] = ResultStore(root).read(run.folder), run
        return trained[spec.trial_id]

    return train


@pytest.mark.parametrize("method", ["full", "adapter", "lora"])
@pytest.mark.parametrize("model", ["tiny-bert", "tiny-roberta"])
def test_resumed_trials_are_bit_identical(model, method, tmp_path, unbroken):
    spec = specify(model=model, method=method, epochs=4)
    whole, whole_run = unbroken(spec)
    for _ in range(2):
        run = start(spec, tmp_path / "broken")
        run.last_checkpoint = -float("inf")  # a checkpoint is due, however short the epoch was
        run.train_epoch()
    log: list[str] = []
    run = start(spec, tmp_path / "broken", log)
    assert any("going on after epoch 2" in line for line in log)
    assert len(run.records) == 2
    finish(run)
    stored = ResultStore(tmp_path / "broken").read(run.folder)
    assert numbers(stored.epochs) == numbers(whole.epochs)
    assert stored.summary.train_scores == whole.summary.train_scores
    assert (run.folder / "steps.csv").read_bytes() == (whole_run.folder / "steps.csv").read_bytes()
    ours, theirs = (pd.read_parquet(r.folder / "predictions.parquet") for r in (run, whole_run))
    assert ours.drop(columns="logits").equals(theirs.drop(columns="logits"))
    assert np.array_equal(np.stack(ours["logits"]), np.stack(theirs["logits"]))
    assert not (run.folder / "checkpoint").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(file, damage, tmp_path, unbroken):
    spec = specify(epochs=3)
    run = start(spec, tmp_path / "broken")
    run.train_epoch()
    run.last_checkpoint = -float("inf")
    run.train_epoch()
    newest = checkpoints(run.folder / "checkpoint")[0]
    assert newest.name == "epoch-2"
    content = bytearray((newest / file).read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        (newest / file).write_bytes(content)
    elif damage == "truncate":
        (newest / file).write_bytes(content[: len(content) // 2])
    else:
        (newest / file).unlink()
    log: list[str] = []
    again = start(spec, tmp_path / "broken", log)
    assert any("epoch-2 is not valid" in line for line in log)
    assert len(again.records) == 1
    finish(again)
    whole, _ = unbroken(spec)
    assert numbers(ResultStore(tmp_path / "broken").read(again.folder).epochs) == numbers(whole.epochs)


@pytest.mark.parametrize("name", ["steps.csv", "predictions.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"epoch,step\n1,1\n"])
def test_a_damaged_side_file_starts_the_trial_anew(name, content, tmp_path, unbroken):
    spec = specify()
    run = start(spec, tmp_path / "broken")
    run.train_epoch()
    (run.folder / name).unlink()
    if content is not None:
        (run.folder / name).write_bytes(content)
    log: list[str] = []
    again = start(spec, tmp_path / "broken", log)
    assert any("starting from the first epoch" in line for line in log)
    finish(again)
    whole, _ = unbroken(spec)
    assert numbers(ResultStore(tmp_path / "broken").read(again.folder).epochs) == numbers(whole.epochs)


def test_two_checkpoints_are_kept_while_running(tmp_path):
    run = start(specify(epochs=5), tmp_path)
    for _ in range(4):
        run.last_checkpoint = -float("inf")
        run.train_epoch()
    assert [path.name for path in checkpoints(run.folder / "checkpoint")] == ["epoch-4", "epoch-3"]
    assert newest_valid(run.folder / "checkpoint")[0].epoch == 4


def test_a_checkpoint_waits_for_twenty_times_its_write_time(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        engine_run.checkpoint, "save_checkpoint", lambda *args, history, **rest: written.append(len(history))
    )
    run = start(specify(epochs=4), tmp_path)
    run.train_epoch()
    run.write_seconds = 1e6
    run.train_epoch()
    run.write_seconds = 0.0
    run.train_epoch()
    assert written == [1, 3]
    assert len(ResultStore(tmp_path).read(run.folder).epochs) == 3


def test_recorded_scores_are_those_of_the_stored_predictions(tmp_path):
    run = start(specify(dataset="demo"), tmp_path)
    finish(run)
    predictions = pd.read_parquet(run.folder / "predictions.parquet")
    assert list(predictions) == ["split", "epoch", "item_id", "group_id", "gold", "predicted", "logits"]
    assert np.stack(predictions["logits"]).dtype == np.float16
    for record in ResultStore(tmp_path).read(run.folder).epochs:
        for split in ("val", "test"):
            rows = predictions[(predictions["split"] == split) & (predictions["epoch"] == record.epoch)]
            found = label_scores(rows["gold"].to_numpy(), rows["predicted"].to_numpy(), 3)
            assert found == {name: getattr(record, f"{split}_{name}") for name in found}
            assert rows["item_id"].is_unique


def test_items_have_the_same_ids_for_all_models(tmp_path):
    ids = []
    for model in ("tiny-bert", "tiny-roberta"):
        run = start(specify(model=model, epochs=1), tmp_path / model)
        run.train_epoch()
        ids.append(pd.read_parquet(run.folder / "predictions.parquet")["item_id"].tolist())
    assert ids[0] == ids[1]


def test_sealed_test_is_scored_nowhere(tmp_path):
    run = start(specify(score_test=False), tmp_path)
    summary = finish(run)
    assert {name: value for name, value in summary.final_scores.items() if name.startswith("test")} == dict.fromkeys(
        ("test_loss", "test_accuracy", "test_micro_f1", "test_macro_f1")
    )
    assert set(pd.read_parquet(run.folder / "predictions.parquet")["split"]) == {"val"}
    assert summary.final_scores["val_macro_f1"] is not None


def test_divergence_keeps_what_was_recorded(tmp_path):
    run = start(specify(epochs=3), tmp_path)
    run.train_epoch()
    with torch.no_grad():
        run.member.model.classifier.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="became nan at step 3"):
        run.train_epoch()
    summary = run.fail(Status.DIVERGED, "x")
    assert (summary.num_epochs, summary.status) == (1, Status.DIVERGED)
    assert len(ResultStore(tmp_path).read(run.folder).epochs) == 1


def test_a_worker_of_an_older_start_writes_nothing_more(tmp_path):
    first = acquire(tmp_path)
    run = start(specify(), tmp_path, number=first.start)
    run.train_epoch()
    before = (run.folder / "epochs.jsonl").read_bytes()
    first.release()
    acquire(tmp_path).release()
    with pytest.raises(Superseded):
        run.train_epoch()
    assert (run.folder / "epochs.jsonl").read_bytes() == before


def test_provenance_names_its_source_and_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted_canary")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted_canary")
    run = start(specify(epochs=1), tmp_path)
    finish(run)
    provenance = json.loads((run.folder / "summary.json").read_text())["provenance"]
    assert provenance["versions"]["torch"] == version("torch")  # torch.__version__ also names PyPI's CUDA
    assert len(provenance["source_hash"]) == 12
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"planted_canary" not in path.read_bytes()


def test_fingerprint_moves_with_code_data_and_weights_only(monkeypatch):
    base = fingerprint(specify())
    assert base == fingerprint(specify(seed=9, learning_rate=1e-3))
    assert base.differs_in(fingerprints.fingerprint_of(specify(), "other", base.data)) == ["model"]
    assert base.differs_in(fingerprints.fingerprint_of(specify(), base.model, "other")) == ["data"]
    source = fingerprints.source_of
    monkeypatch.setattr(
        fingerprints, "source_of", lambda item: source(item) + ("\nchanged = 1" if item is METHODS["lora"] else "")
    )
    assert base.differs_in(fingerprint(specify())) == ["code"]
    assert fingerprint(specify(method="full")) == fingerprints.fingerprint_of(
        specify(method="full"), base.model, base.data
    )


def test_comments_docstrings_and_layout_are_not_code(tmp_path, monkeypatch):
    texts = ['"""One."""\nX = 1  # one\n', '"""Two."""\n\n\nX  =  1\n', "X = 2\n"]
    found = []
    for number, text in enumerate(texts):
        (tmp_path / f"method_{number}.py").write_text(text + "class M: pass\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        found.append(fingerprints.source_of(importlib.import_module(f"method_{number}").M))
    assert found[0] == found[1] != found[2]


def test_epochs_recorded_before_a_stop_outlive_the_resume(tmp_path, monkeypatch):
    run = start(specify(epochs=5), tmp_path)
    run.train_epoch()
    run.write_seconds = 1e6  # no checkpoint after the first epoch
    for _ in range(3):
        run.train_epoch()
    before = ResultStore(tmp_path).read(run.folder).epochs
    again = start(specify(epochs=5), tmp_path)
    assert len(again.records) == 1
    again.train_epoch()
    after = ResultStore(tmp_path).read(run.folder).epochs
    assert numbers(after) == numbers(before)
    assert pd.read_csv(run.folder / "steps.csv")["epoch"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert set(pd.read_parquet(run.folder / "predictions.parquet")["epoch"]) == {1, 2, 3, 4}


def test_a_run_says_how_many_texts_were_cut(tmp_path):
    assert start(specify(), tmp_path / "whole").cut_line is None
    assert (
        start(specify(max_length=6), tmp_path / "cut").cut_line == "tiny-bert on demo: 100.0 % of texts cut to 6 tokens"
    )
