"""What must hold for every task, and that the engine trains and scores through whatever task a dataset names."""

import json
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from analysis.cells import cells
from analysis.epoch_choice import selected_epochs
from analysis.patience import simulated_patience
from analysis.sweep_records import read_sweeps
from tests.support.records import FINGERPRINT, record, summary
from tests.support.trials import build, specify, start
from tunekit.commands.status import legend, status_as_json
from tunekit.data.base import DATASETS
from tunekit.engine.end_trial import end_trial
from tunekit.engine.member import Member
from tunekit.engine.summary import best_epoch
from tunekit.engine.train import Diverged, Pack
from tunekit.errors import UserError
from tunekit.runner.actor import line_of
from tunekit.runner.metrics import gauges
from tunekit.schema import Direction, EpochRecord, Status
from tunekit.search.outcome import objectives_on
from tunekit.store.progress import ProgressReader
from tunekit.store.release import _epochs_of_tables
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore
from tunekit.tasks import LOSS_OPTIONS, TASKS, choosing_by, task_of
from tunekit.worker.report import TrialReport

NAMES = ["O", "B-X", "I-X"]
every_task = pytest.mark.parametrize("name", list(TASKS))


def example(task):
    """40 labels of a task, logits, and the constants of the labels."""
    generator = np.random.default_rng(0)
    labels = {
        "class": generator.integers(0, 3, 40),
        "number": generator.normal(5, 2, 40),
        "labels": generator.integers(0, 2, (40, 3)),
        "tags": np.split(generator.integers(0, 3, 120), range(3, 120, 3)),
    }[task.form]
    logits = generator.normal(size=(40, 1 if task.form == "number" else 3)).astype(np.float32)
    if task.of_words:
        logits = list(generator.normal(size=(40, 3, 3)).astype(np.float32))
    constants = task.constants(labels)
    return labels, logits, {**constants, **task.decided(labels, task.outputs(logits, constants))}


@every_task
def test_scores_are_the_metrics_that_the_task_names(name):
    task = TASKS[name]
    labels, logits, constants = example(task)
    outputs = task.outputs(logits, constants)
    scores = task.scores(labels, outputs, constants, NAMES)
    assert list(scores)[: len(task.metrics)] == [metric.name for metric in task.metrics]
    assert list(scores)[len(task.metrics) :] == (["f1_X"] if task.of_words else [])
    for metric in task.metrics:
        low, high = metric.bounds
        assert low is None or scores[metric.name] >= low
        assert high is None or scores[metric.name] <= high
    assert task.metric(task.primary).direction is not Direction.NONE
    assert [task.metric(name).name for name in task.reported] == list(task.reported)
    rows = torch.from_numpy(np.concatenate(logits) if task.of_words else logits)
    losses = task.loss(rows, torch.from_numpy(task.targets(labels, constants)))
    assert losses.shape == (len(rows),)
    assert float(losses.mean()) == pytest.approx(scores["loss"], abs=1e-6)
    predicted = task.predicted(outputs, constants)
    assert np.shape(predicted) == np.shape(labels)
    assert np.issubdtype(np.asarray(predicted).dtype, np.floating if task.form == "number" else np.integer)
    assert TASKS[name].name == name


@every_task
def test_the_loss_takes_the_options_that_the_task_names_and_at_their_neutral_value_changes_nothing(name):
    task = TASKS[name]
    labels, logits, constants = example(task)
    rows = torch.from_numpy(np.concatenate(logits) if task.of_words else logits)
    given, none = (rows, torch.from_numpy(task.targets(labels, constants))), torch.zeros(len(rows))
    neutral = {"class_weights": torch.ones(rows.shape), "label_smoothing": none, "focal_gamma": none}
    assert list(neutral) == list(LOSS_OPTIONS)
    for option in LOSS_OPTIONS:
        if option in task.loss_options:
            assert torch.equal(task.loss(*given, **{option: neutral[option]}), task.loss(*given))
        else:
            with pytest.raises(TypeError):
                task.loss(*given, **{option: neutral[option]})


@every_task
def test_what_predict_writes_is_a_text_a_row_in_each_column(name):
    task = TASKS[name]
    _, logits, constants = example(task)
    answers = task.answers(task.outputs(logits, constants), constants, NAMES[: np.shape(logits)[1]])
    assert answers
    assert all(len(column) == 40 and all(isinstance(text, str) for text in column) for column in answers.values())


@every_task
def test_a_model_card_says_what_the_task_predicts(name):
    task = TASKS[name]
    _, logits, constants = example(task)
    printed = []
    names = {"logits": torch.from_numpy(np.stack(logits[:1])), "print": lambda *texts: printed.extend(texts)}
    names["inputs"] = SimpleNamespace(word_ids=lambda: [0, 1, 2])
    manifest = {"label_names": NAMES[: np.shape(logits)[1]], "constants": dict(constants)}
    exec("\n".join(task.reading), {**names, "manifest": manifest})
    answer = next(iter(task.answers(task.outputs(logits[:1], constants), constants, manifest["label_names"]).values()))
    if task.of_words:
        assert printed == [0, *answer[0].split()[:1], 1, *answer[0].split()[1:2], 2, *answer[0].split()[2:]]
        return
    assert printed[0] == answer[0] or float(printed[0]) == pytest.approx(float(answer[0]), rel=1e-5)


def test_records_of_schema_version_1_hold_the_scores_of_classification():
    task, of_records = TASKS["classification"], {item.name: item.metadata for item in fields(EpochRecord)}
    words = {"val": "Validation", "test": "Test"}
    for name in task.score_names:
        split, _, metric = name.partition("_")
        found = task.metric(metric)
        assert of_records[name]["label"] == f"{words[split]} {found.label}"
        assert (of_records[name]["direction"], of_records[name]["unit"]) == (found.direction, found.unit)
    assert f"best_val_{task.primary}" in of_records


@every_task
def test_a_dataset_chooses_by_any_metric_of_its_task(name):
    task = TASKS[name]
    labels, logits, constants = example(task)
    assert choosing_by(task, None) is choosing_by(task, task.primary) is task
    for metric in task.choices:
        chosen = choosing_by(task, metric.name)
        assert choosing_by(task, metric.name) is chosen, "a cell's task is compared by identity"
        assert (chosen.name, chosen.chooses_by, chosen.loss) == (name, metric, task.loss)
        assert metric.name in chosen.reported
        scores = chosen.scores(labels, chosen.outputs(logits, constants), constants, NAMES)
        assert list(scores)[: len(task.metrics)] == [one.name for one in task.metrics]
        assert scores[metric.name] >= (metric.bounds[0] if metric.bounds[0] is not None else -np.inf)
    with pytest.raises(UserError, match=f"the primary metric of {name} takes loss, .*, got 'bleu'"):
        choosing_by(task, "bleu")


def test_the_matthews_correlation_is_recorded_where_a_dataset_names_it():
    from sklearn.metrics import matthews_corrcoef

    task = task_of("x+classification.mcc-0123456789ab")
    labels, logits, _ = example(task)
    scores = task.scores(labels, logits, {}, NAMES)
    assert scores["mcc"] == pytest.approx(matthews_corrcoef(labels, logits.argmax(1)))
    assert "val_mcc" in task.score_names
    assert "mcc" not in TASKS["classification"].scores(labels, logits, {}, NAMES)
    assert "val_mcc" not in task_of("x-0123456789ab").score_names
    one_class = np.eye(3, dtype=np.float32)[np.zeros(40, int)]
    assert task.scores(labels, one_class, {}, NAMES)["mcc"] == 0


@pytest.mark.parametrize(
    ("dataset", "task", "primary"),
    [
        ("x-0123456789ab", "classification", "macro_f1"),
        ("x+regression-0123456789ab", "regression", "pearson"),
        ("x+regression.rmse-0123456789ab", "regression", "rmse"),
        ("x+classification.accuracy-0123456789ab", "classification", "accuracy"),
        ("demo", "classification", "macro_f1"),
    ],
)
def test_the_name_of_a_dataset_says_its_task_and_its_primary_metric(dataset, task, primary):
    found = task_of(dataset)
    assert (found.name, found.primary) == (task, primary)


def test_a_registered_dataset_may_name_its_primary_metric(tmp_path):
    DATASETS.register("mcc-demo")(replace(DATASETS["demo"], primary_metric="mcc"))
    try:
        run = start(specify(dataset="mcc-demo", method="full", epochs=3, learning_rate=1e-3), tmp_path)
        while not run.done:
            run.train_epoch()
        ended = run.finish()
        values = [one.score("val_mcc") for one in run.records]
        assert ended.best_epoch == int(np.argmax(values)) + 1
        assert run.records[-1].score("best_val_mcc") == max(values)
        assert {"test_mcc", "test_accuracy", "test_macro_f1"} <= set(ended.final_scores)
        assert run.records[0].row()["schema_version"] == 2
        assert [one.name for one in objectives_on("mcc-demo", None)] == ["mcc"]
    finally:
        DATASETS.remove("mcc-demo")


@pytest.fixture
def toy():
    """A task of its own loss, scores and choice on the demo's rows: the mean margin is better the smaller it is."""

    def loss(logits, labels):
        return (logits - F.one_hot(labels, logits.shape[1])).square().mean(1)

    def scores(labels, logits, constants, label_names):
        value = float(loss(torch.from_numpy(logits), torch.from_numpy(labels)).mean())
        return {"loss": value, "accuracy": 0.25, "micro_f1": 0.5, "macro_f1": 0.75}

    task = replace(TASKS["classification"], name="toy", primary="loss", loss=loss, loss_options=(), scores=scores)
    task = replace(task, predicted=lambda logits, constants: np.full(len(logits), 2))
    TASKS.register("toy")(task)
    DATASETS.register("toy-demo")(replace(DATASETS["demo"], task="toy"))
    yield task
    TASKS.remove("toy")
    DATASETS.remove("toy-demo")


@pytest.mark.slow
def test_the_engine_trains_and_scores_through_the_task_of_the_dataset(toy, tmp_path):
    assert task_of("toy-demo") is toy
    spec = specify(dataset="toy-demo", method="full", epochs=3, learning_rate=1e-3)
    run = start(spec, tmp_path)
    while not run.done:
        record = run.train_epoch()
        assert (record.val_accuracy, record.val_micro_f1, record.test_macro_f1) == (0.25, 0.5, 0.75)
    summary = run.finish()
    rows = run.recorded.predictions
    assert set(rows["predicted"]) == {2}
    logits = np.stack(rows[(rows["split"] == "val") & (rows["epoch"] == 3)]["logits"]).astype(np.float32)
    expected = toy.scores(run.splits["val"].labels, logits, {}, [])
    assert run.records[-1].val_loss == pytest.approx(expected["loss"], abs=1e-3)  # logits are stored as float16
    losses = [record.val_loss for record in run.records]
    assert summary.best_epoch == best_epoch(run.records, toy) == int(np.argmin(losses)) + 1
    assert json.loads((run.folder / "summary.json").read_text())["train_scores"]["accuracy"] == 0.25
    assert run.records[-1].train_loss < run.records[0].train_loss


def test_training_minimises_the_loss_of_the_task(toy):
    spec = specify(dataset="toy-demo", method="full", batch_size=4)
    prepared, model = build(spec)
    member = Member(spec, model.eval(), prepared.splits["train"], torch.device("cpu"))
    pack, first = Pack([member]), np.arange(4)
    loss = pack.steps.loss([first])[0].detach()
    logits = torch.from_numpy(pack.predict(member.train.subset(first))[0])
    expected = toy.loss(logits, torch.from_numpy(member.train.labels[first])).mean()
    assert abs(float(loss) - float(expected)) < 0.1
    with torch.no_grad():
        cross_entropy = TASKS["classification"].loss(logits, torch.from_numpy(member.train.labels[first])).mean()
    assert abs(float(loss) - float(cross_entropy)) > 0.3


def test_a_score_that_is_not_finite_ends_the_trial(toy, tmp_path, monkeypatch):
    run = start(specify(dataset="toy-demo"), tmp_path)
    monkeypatch.setattr(
        run, "task", replace(toy, scores=lambda labels, logits, constants, names: {"loss": float("nan")})
    )
    with pytest.raises(Diverged, match="the loss of a scored split became nan"):
        run.train_epoch()


def test_a_trial_that_never_began_is_summarised_by_its_task(toy, tmp_path):
    run = start(specify(dataset="toy-demo", epochs=3), tmp_path)
    for _ in range(2):
        run.train_epoch()
    ended = end_trial(run.job, Status.STOPPED, "stopped by the scheduler")
    losses = [record.val_loss for record in run.records]
    assert ended.best_epoch == int(np.argmin(losses)) + 1


def test_the_best_epoch_on_test_is_that_of_the_primary_metric_and_its_direction(toy, tmp_path):
    spec = specify(dataset="toy-demo")
    store = ResultStore(tmp_path / "sweep")
    store.root.mkdir()
    store.add_request({"cells": cells_of([spec])})
    folder, losses = store.open_trial(spec, FINGERPRINT), (0.5, 0.25, 0.75)
    records = [
        replace(record(epoch), test_loss=loss, val_loss=loss, val_macro_f1=loss, test_macro_f1=loss)
        for epoch, loss in enumerate(losses, 1)
    ]
    store.write_epochs(folder, records)
    store.write_summary(folder, summary())
    read = read_sweeps([store.root])
    assert selected_epochs(read, "best-test")["epoch"].tolist() == [2]
    assert set(_epochs_of_tables(store.read(folder))) == {1, 2, 3}, "the summary says 1, the last is 3"
    [cell] = cells(read)
    [stopped] = simulated_patience(read, cell, patiences=[1])
    assert (stopped.epochs, stopped.score, stopped.change) == (3, 0.25, 0)


def test_people_watch_a_trial_by_the_metric_of_its_task(toy, tmp_path):
    spec = specify(dataset="toy-demo")
    store, last = ResultStore(tmp_path / "sweep"), replace(record(2), val_loss=0.25, test_loss=0.125)
    store.root.mkdir()
    store.add_request({"cells": cells_of([spec])})
    store.write_epochs(store.open_trial(spec, FINGERPRINT), [record(1), last])
    progress = ProgressReader(store.root).read()
    [trial] = status_as_json(progress)["trials"]
    assert (trial["loss"], "macro_f1" in trial) == (0.125, False)
    assert progress.trials[0].text == "interrupted 2/2 0.1250"
    assert (
        legend(progress)
        == "Numbers are loss after the last epoch, on test, or on validation where a trial does not score test."
    )
    assert "loss 0.1250" in line_of(spec, TrialReport([last], None))
    assert "tunekit_loss" in gauges()
    with pytest.raises(UserError, match="the task of 'toy-demo' chooses by loss"):
        objectives_on(spec.dataset, None)


def test_a_task_that_is_not_registered_is_one_line():
    DATASETS.register("lost-demo")(replace(DATASETS["demo"], task="classificaton"))
    try:
        with pytest.raises(UserError, match="classification"):
            task_of("lost-demo")
    finally:
        DATASETS.remove("lost-demo")
