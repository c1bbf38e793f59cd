"""Several labels a text through the engine: losses, scores, the threshold, packs, resume and the steps of a GPU."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch.nn import functional as F

from tests.support.combinations import usually
from tests.support.device import device_pack
from tests.support.packs import check_packs, member_of
from tests.support.runs import finish, numbers
from tests.support.trials import build, specify, start
from tunekit.data.base import DATASETS
from tunekit.engine.memory_probe import member_of as probed
from tunekit.engine.train import Pack
from tunekit.errors import UserError
from tunekit.store.result_store import ResultStore
from tunekit.tasks import TASKS
from tunekit.tasks.multi_label import STEPS, decided, probabilities

pytestmark = pytest.mark.slow

TASK = TASKS["multi_label"]


def spec_of(**changes):
    return specify(**{"dataset": "demo-multi", "method": "full", "learning_rate": 5e-3, **changes})


def rows(seed=0, size=200):
    """Labels of four, the last of which no row has, and logits that know something of them."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((size, 4)) < (0.5, 0.2, 0.05, 0)).astype(np.int64)
    return labels, (2 * labels - 2 + generator.normal(size=labels.shape)).astype(np.float32)


def test_the_loss_is_pytorchs():
    spec = spec_of(batch_size=8)
    prepared, model = build(spec)
    assert model.config.num_labels == 5
    member, first = member_of(spec, dropout=False), np.arange(8)
    pack = Pack([member])
    loss = float(pack.steps.loss([first])[0].detach())
    logits = torch.from_numpy(pack.predict(member.train.subset(first))[0])
    labels = torch.tensor(prepared.data.splits["train"]["label"].to_list()[:8]).float()
    assert loss == pytest.approx(float(F.binary_cross_entropy_with_logits(logits, labels)), abs=1e-5)


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_scores_are_those_of_scikit_learn(threshold):
    labels, logits = rows()
    found = TASK.scores(labels, logits, {"threshold": threshold}, ["a", "b", "c", "d"])
    predicted = 1 / (1 + np.exp(-logits.astype(float))) >= threshold
    assert found["micro_f1"] == pytest.approx(f1_score(labels, predicted, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
    expected = np.mean([average_precision_score(labels[:, n], logits[:, n]) for n in range(3)])
    assert found["average_precision"] == pytest.approx(expected)
    with torch.no_grad():
        loss = F.binary_cross_entropy_with_logits(torch.from_numpy(logits), torch.from_numpy(labels).float())
    assert found["loss"] == pytest.approx(float(loss), abs=1e-6)
    assert TASK.predicted(logits, {"threshold": threshold}).tolist() == predicted.astype(int).tolist()


def test_the_threshold_is_the_best_of_all_on_validation():
    labels, logits = rows()
    scores = {
        n / STEPS: f1_score(labels, probabilities(logits) >= n / STEPS, average="macro", zero_division=0)
        for n in range(1, STEPS)
    }
    found = decided(labels, logits)["threshold"]
    assert scores[found] == pytest.approx(max(scores.values()))
    assert scores[found] > scores[0.5] + 0.02
    alike = [one for one, score in scores.items() if score == pytest.approx(scores[found], abs=1e-12)]
    assert found == min(alike, key=lambda one: abs(one - 0.5))


def test_without_validation_the_threshold_is_a_half_and_extreme_logits_are_probabilities():
    assert decided(None, None) == {"threshold": 0.5}
    assert probabilities(np.array([-1e30, 0, 1e30])).tolist() == [0, 0.5, 1]


def test_a_trial_records_the_threshold_of_each_epoch_and_scores_test_by_it(tmp_path):
    run = start(spec_of(epochs=3), tmp_path)
    finish(run)
    stored = ResultStore(tmp_path).read(run.folder)
    found = pd.read_parquet(run.folder / "predictions.parquet")
    for record in stored.epochs:
        own = {split: found[(found["split"] == split) & (found["epoch"] == record.epoch)] for split in ("val", "test")}
        logits = {split: np.stack(part["logits"].to_list()) for split, part in own.items()}
        gold = {split: np.array([list(text) for text in part["gold"]]).astype(int) for split, part in own.items()}
        assert record.constants == decided(gold["val"], logits["val"])
        for split, part in own.items():
            predicted = np.array([list(text) for text in part["predicted"]]).astype(int)
            assert (
                predicted.tolist()
                == (probabilities(logits[split]) >= record.constants["threshold"]).astype(int).tolist()
            )
            expected = f1_score(gold[split], predicted, average="macro", zero_division=0)
            assert record.score(f"{split}_macro_f1") == pytest.approx(expected)
            assert gold[split].tolist() == [list(label) for label in run.data.splits[split]["label"]]
    rows = [json.loads(line) for line in (run.folder / "epochs.jsonl").read_text().splitlines()]
    assert {row["schema_version"] for row in rows} == {2}
    frames = ResultStore(tmp_path).frames()
    assert frames.epochs["val_macro_f1"].tolist() == [record.score("val_macro_f1") for record in stored.epochs]
    assert json.loads(frames.epochs["scores"].iloc[-1])["test_average_precision"] == stored.epochs[-1].score(
        "test_average_precision"
    )


def test_sealed_test_is_scored_nowhere_and_resumed_trials_are_bit_identical(tmp_path):
    spec = spec_of(epochs=3, score_test=False)
    whole = start(spec, tmp_path / "whole")
    ended = finish(whole)
    run = start(spec, tmp_path / "broken")
    run.last_checkpoint = -float("inf")
    run.train_epoch()
    run = start(spec, tmp_path / "broken")
    assert len(run.records) == 1
    assert finish(run).train_scores == ended.train_scores
    assert numbers(run.records) == numbers(whole.records)
    assert whole.records[-1].score("test_macro_f1") is None
    ours, theirs = (pd.read_parquet(one.folder / "predictions.parquet") for one in (run, whole))
    assert ours["predicted"].equals(theirs["predicted"])
    assert set(ours["split"]) == {"val"}


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("make_pack", usually([device_pack], [Pack, device_pack]))
def test_packs_give_each_trial_its_own_numbers(method, make_pack):
    specs = [
        spec_of(method=method, seed=seed, learning_rate=rate, batch_size=8, train_limit=44, epochs=2)
        for seed, rate in ((1, 1e-3), (2, 5e-3), (3, 2e-3))
    ]
    check_packs(specs, make_pack)


def test_memory_is_probed_with_targets_of_the_task():
    spec = spec_of()
    config = build(spec)[1].config.to_dict()
    member = probed(config, spec, [5, 7], 5)
    assert member.train.labels.shape == (2, 5)
    assert np.isfinite(Pack([member]).train_epoch()[0].losses).all()


def test_labels_of_another_form_are_refused_in_one_line(tmp_path):
    DATASETS.register("wrong-demo")(replace(DATASETS["demo"], task="multi_label"))
    try:
        with pytest.raises(UserError, match="task 'multi_label' takes a 0 or 1 for each of several labels"):
            start(specify(dataset="wrong-demo"), tmp_path)
    finally:
        DATASETS.remove("wrong-demo")
