"""Regression through the engine: losses, scores, packs, resume and the steps of a GPU, and what can't be learnt."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import root_mean_squared_error
from torch.nn import functional as F

from tests.support.combinations import usually
from tests.support.device import device_pack
from tests.support.packs import check_packs, member_of
from tests.support.runs import finish, numbers
from tests.support.trials import build, specify, start
from tunekit.data.base import DATASETS, content_hash
from tunekit.engine.train import Diverged, Pack
from tunekit.errors import UserError
from tunekit.store.epoch_records import TaskEpochRecord, epoch_record
from tunekit.store.frames import scores_of
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore
from tunekit.tasks import TASKS
from tunekit.tasks.regression import constants, correlation

pytestmark = pytest.mark.slow

TASK = TASKS["regression"]


def spec_of(**changes):
    return specify(**{"dataset": "demo-regression", "method": "full", "learning_rate": 5e-3, **changes})


def test_the_loss_is_pytorchs_on_standardised_targets():
    spec = spec_of(batch_size=8)
    prepared, model = build(spec)
    labels = prepared.data.splits["train"]["label"].to_numpy()
    assert prepared.constants == pytest.approx({"target_mean": labels.mean(), "target_std": labels.std()})
    assert model.config.num_labels == 1
    member, first = member_of(spec, dropout=False), np.arange(8)
    pack = Pack([member])
    loss = float(pack.steps.loss([first])[0].detach())
    logits = torch.from_numpy(pack.predict(member.train.subset(first))[0])
    targets = torch.from_numpy((labels[first] - labels.mean()) / labels.std()).float()
    assert loss == pytest.approx(float(F.mse_loss(logits.squeeze(1), targets)), abs=1e-5)


@pytest.mark.parametrize("unit", [1.0, 1e-7, 1e9])
def test_scores_are_those_of_scipy_and_scikit_learn_in_any_unit(unit):
    generator = np.random.default_rng(1)
    labels = unit * np.round(generator.normal(3, 2, 200), 1)  # with equal values, which share a rank
    outputs = (labels + unit * generator.normal(size=200))[:, None]
    found = TASK.scores(labels, outputs, constants(labels), ["rating"])
    assert found["pearson"] == pytest.approx(stats.pearsonr(labels, outputs[:, 0])[0], abs=1e-12)
    assert found["spearman"] == pytest.approx(stats.spearmanr(labels, outputs[:, 0])[0], abs=1e-12)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(labels, outputs[:, 0]))
    assert found["loss"] == pytest.approx((found["rmse"] / labels.std()) ** 2)


def test_a_constant_prediction_has_no_correlation_and_the_root_mean_squared_error_of_the_mean():
    labels = np.array([1.0, 2.0, 4.0])
    found = TASK.scores(labels, np.full((3, 1), 0.1 + 0.2), constants(labels), ["rating"])
    assert (found["pearson"], found["spearman"]) == (0, 0)
    assert np.isnan(correlation(labels, np.array([1.0, np.nan, 2.0])))


def test_targets_and_outputs_undo_each_other():
    labels = np.array([-3e5, 0.0, 7e5])
    of = constants(labels)
    there = TASK.targets(labels, of)
    assert there.dtype == np.float32
    assert TASK.outputs(there[:, None], of)[:, 0] == pytest.approx(labels, abs=0.1)


def test_a_trial_records_its_scores_and_predictions_in_the_targets_unit(tmp_path):
    spec = spec_of(epochs=3)
    run = start(spec, tmp_path)
    summary = finish(run)
    rows = [json.loads(line) for line in (run.folder / "epochs.jsonl").read_text().splitlines()]
    assert {row["schema_version"] for row in rows} == {2}
    assert not {"val_macro_f1", "val_loss", "best_val_macro_f1"} & set(rows[0])
    stored = ResultStore(tmp_path).read(run.folder)
    assert stored.epochs == run.records
    labels = run.data.splits["train"]["label"]
    mean_and_std = {"target_mean": labels.mean(), "target_std": labels.std(ddof=0)}
    assert all(record.constants == pytest.approx(mean_and_std) for record in stored.epochs)
    found = pd.read_parquet(run.folder / "predictions.parquet")
    for split in ("val", "test"):
        own = found[(found["split"] == split) & (found["epoch"] == 3)]
        assert own["gold"].tolist() == run.data.splits[split]["label"].tolist()
        assert np.concatenate(own["logits"].to_list()) == pytest.approx(own["predicted"].to_numpy(), rel=1e-6)
        expected = root_mean_squared_error(own["gold"], own["predicted"])
        assert stored.epochs[-1].score(f"{split}_rmse") == pytest.approx(expected)
    pearsons = [record.score("val_pearson") for record in stored.epochs]
    assert summary.best_epoch == int(np.argmax(pearsons)) + 1
    assert stored.epochs[-1].scores["best_val_pearson"] == max(pearsons)
    assert set(summary.train_scores) == {"loss", "pearson", "spearman", "rmse"}
    frames = ResultStore(tmp_path).frames()
    assert scores_of(frames.epochs, "val_pearson").tolist() == pearsons
    assert frames.epochs["val_macro_f1"].isna().all()
    assert frames.epochs["val_loss"].tolist() == [record.score("val_loss") for record in stored.epochs]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema_version": 1}, "EpochRecord: missing fields"),
        ({"schema_version": 3}, "not a record of schema version"),
        ({"scores": {"val_pearson": "high"}}, "scores must map names to finite numbers"),
        ({"constants": {"target_std": None}}, "constants must be numbers"),
        ({"val_macro_f1": 0.5}, "val_macro_f1 stands outside of scores"),
        ({"step": 1.5}, "step must be"),
    ],
)
def test_a_damaged_row_is_said(change, problem, tmp_path):
    run = start(spec_of(epochs=1), tmp_path)
    run.train_epoch()
    path = run.folder / "epochs.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    with pytest.raises(DamagedRecord, match=problem):
        ResultStore(tmp_path).read(run.folder)


def test_a_record_is_what_its_row_says():
    values = {"epoch": 1, "step": 2, "train_loss": 0.5, "learning_rate": 0.1, "epoch_seconds": 1.0}
    record = TaskEpochRecord(
        **values, train_tokens_per_second=9.0, peak_memory_bytes=7,
        scores={"val_pearson": 0.25, "test_pearson": None}, constants={"target_mean": 1.0},
    )  # fmt: skip
    assert epoch_record(record.row()) == record
    assert record.values()["val_pearson"] == 0.25
    assert record.score("test_pearson") is None
    with pytest.raises(KeyError):
        record.score("val_macro_f1")


def test_resumed_trials_are_bit_identical(tmp_path):
    spec = spec_of(epochs=3)
    whole = start(spec, tmp_path / "whole")
    finish(whole)
    run = start(spec, tmp_path / "broken")
    run.last_checkpoint = -float("inf")
    run.train_epoch()
    run = start(spec, tmp_path / "broken")
    assert len(run.records) == 1
    finish(run)
    assert numbers(run.records) == numbers(whole.records)
    ours, theirs = (pd.read_parquet(one.folder / "predictions.parquet") for one in (run, whole))
    assert ours["predicted"].equals(theirs["predicted"])


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("make_pack", usually([device_pack], [Pack, device_pack]))
def test_packs_give_each_trial_its_own_numbers(method, make_pack):
    specs = [spec_of(method=method, seed=seed, learning_rate=rate, batch_size=8, train_limit=44, epochs=2)
             for seed, rate in ((1, 1e-3), (2, 5e-3), (3, 2e-3))]  # fmt: skip
    check_packs(specs, make_pack, moved=0.01)


@pytest.fixture
def constant():
    """A registered dataset all of whose targets are 2.5."""
    info = DATASETS["demo-regression"]
    rows = {split: frame.assign(label=2.5) for split, frame in info.load().items()}
    changed = {"load": lambda: rows, "content_hash": content_hash(rows, info.label_names)}
    DATASETS.register("constant-demo")(replace(info, **changed))
    yield "constant-demo"
    DATASETS.remove("constant-demo")


def test_a_constant_target_is_refused_in_one_line(constant, tmp_path):
    with pytest.raises(UserError, match=r"dataset 'constant-demo': every target of train is 2\.5"):
        start(spec_of(dataset=constant), tmp_path)


def test_outputs_that_are_not_finite_end_the_trial(tmp_path, monkeypatch):
    run = start(spec_of(epochs=1), tmp_path)
    predict = run.pack.predict
    monkeypatch.setattr(run.pack, "predict", lambda split: np.nan * np.stack(predict(split)))
    with pytest.raises(Diverged, match="the loss of a scored split became nan"):
        run.train_epoch()
