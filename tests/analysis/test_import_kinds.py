"""What Ray Tune, transformers' Trainer and MLflow wrote here, and results of PEFT's comparison, become stores."""

import json
import shutil
import sqlite3

import pytest

from analysis.foreign.kinds import READERS, read
from analysis.foreign.trial import Kind
from tests.support.imports import imported, imported_cells, log_mlflow_runs, peft_result
from tunekit.errors import UserError

FULL = ("--map", "model:=bert", "dataset:=news", "method:=full")


@pytest.fixture(scope="module")
def ray_folder(tmp_path_factory, cluster):
    """A small experiment of Ray Tune: nested settings, a null, a trial that fails, one that its own code ends early."""
    from ray import tune

    def train(config):
        for n in range(2 if config["seed"] == 3 else 3):
            if config["seed"] == 2 and n == 1:
                raise ValueError("no more data")
            test = {"test": {"f1": 0.5}} if n == 0 else {}
            tune.report({"eval": {"f1": 0.1 * (n + 1)}, "loss": 1 / (n + 1), **test})

    space = {"seed": tune.grid_search([1, 2, 3]), "optim": {"lr": 1e-5, "layers": [1, 2]}, "dropout": None}
    folder = tmp_path_factory.mktemp("ray")
    run = tune.RunConfig(name="exp", storage_path=str(folder), verbose=0)
    tune.Tuner(train, param_space=space, run_config=run).fit()
    return folder / "exp"


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_experiment_of_ray_tune(ray_folder, capsys):
    words = (*FULL, "val_f1=eval/f1", "test_f1=test/f1", "train_loss=loss")
    (cell,) = imported_cells(ray_folder, *words)
    found = {trial.seed: (trial.status, trial.error) for trial in cell.trials}
    assert found == {1: ("completed", None), 2: ("failed", "ValueError: no more data"), 3: ("completed", None)}
    assert cell.settings == {
        "optim/lr": 1e-5,
        "optim/layers": "[1, 2]",
        "dropout": "null",
        "epochs": None,
        "score_test": True,
    }
    scores = {trial.seed: trial.scores["val_macro_f1"] for trial in cell.completed}
    assert scores == {1: pytest.approx(0.3), 3: pytest.approx(0.2)}
    assert cell.by_seed("macro_f1") == {1: 0.5, 3: 0.5}
    said = capsys.readouterr().out
    assert "completed: 2 trials: TERMINATED in Ray's experiment state" in said
    assert "ended before the longest with the same settings" in said


@pytest.fixture(scope="module")
def trainer_folder(tmp_path_factory):
    """Three runs of Trainer on a tiny model: two whole ones, and one that was interrupted after its first epoch."""
    from datasets import Dataset
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    config = BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, num_labels=2
    )
    rows = {"input_ids": [[n + 1, 2, 3] for n in range(16)], "attention_mask": [[1] * 3] * 16}
    data = Dataset.from_dict({**rows, "labels": [n % 2 for n in range(16)]})
    folder = tmp_path_factory.mktemp("runs") / "hf"
    for seed in (1, 2, 3):
        arguments = TrainingArguments(
            output_dir=str(folder / f"run-{seed}"), seed=seed, num_train_epochs=2, learning_rate=1e-3, use_cpu=True,
            eval_strategy="epoch", save_strategy="epoch", logging_steps=1, report_to=[], disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(
            model=BertForSequenceClassification(config),
            args=arguments,
            train_dataset=data,
            eval_dataset=data,
            compute_metrics=lambda one: {"accuracy": float((one[0].argmax(1) == one[1]).mean()), "f1": 0.25},
        )
        trainer.train()
        if seed == 3:
            shutil.rmtree(folder / "run-3" / "checkpoint-4")
            (folder / "run-3" / "training_args.json").write_text(arguments.to_json_string())
            continue
        trainer.save_metrics("test", trainer.evaluate(data, metric_key_prefix="test"))
        trainer.save_state()
        trainer.create_model_card()
    return folder


@pytest.mark.slow
def test_folders_of_trainer(trainer_folder, capsys):
    found = imported_cells(trainer_folder, *FULL)
    trials = {trial.seed: (trial, cell) for cell in found for trial in cell.trials}
    assert {seed: trial.status for seed, (trial, _) in trials.items()} == {1: "completed", 2: "completed", 3: None}
    state = json.loads((trainer_folder / "run-1" / "trainer_state.json").read_text())
    logged = {key: value for row in state["log_history"] for key, value in row.items()}
    trial, cell = trials[1]
    assert cell.settings["learning_rate"] == 1e-3
    assert trial.epoch == 2
    assert trial.scores["val_accuracy"] == logged["eval_accuracy"]
    assert trial.scores["test_accuracy"] == logged["test_accuracy"]
    assert trial.scores["test_macro_f1"] == 0.25
    losses = [row["loss"] for row in state["log_history"] if "loss" in row]
    assert trial.scores["train_loss"] == pytest.approx(sum(losses[2:]) / 2)
    assert trial.scores["train_seconds"] == logged["train_runtime"]
    said = capsys.readouterr().out
    assert "completed: 2 trials: train_runtime in its log" in said
    assert "unfinished: 1 trial (run-3): its newest checkpoint is step 2 of 4" in said


def test_a_run_of_trainer_without_arguments_is_refused_by_name(tmp_path, capsys):
    place = tmp_path / "hf" / "run"
    place.mkdir(parents=True)
    row = {"epoch": 1.0, "step": 5, "eval_accuracy": 0.5}
    (place / "trainer_state.json").write_text(json.dumps({"global_step": 5, "max_steps": 5, "log_history": [row]}))
    imported(tmp_path / "hf", *FULL, code=2)
    error = capsys.readouterr().err
    assert "--map lacks seed" in error
    assert "write args.to_json_string() to training_args.json" in error


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["database", "folder"])
def test_what_mlflow_wrote(tmp_path, kind, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    place = tmp_path / ("mlflow.db" if kind == "database" else "mlruns")
    log_mlflow_runs(f"sqlite:///{place}" if kind == "database" else place.as_uri())
    (cell,) = imported_cells(place, "--map", "dataset=mlflow.experiment", "method:=full")
    assert {trial.seed: trial.status for trial in cell.trials} == {1: "completed", 2: "completed", 3: "failed"}
    assert (cell.dataset, cell.settings["lr"], cell.settings["dropout"]) == ("news", 1e-5, "null")
    assert "tag.team" not in cell.settings
    assert cell.by_seed("accuracy") == {1: 0.51, 2: 0.52}
    trial = cell.completed[0]
    assert (trial.epoch, trial.scores["val_accuracy"]) == (2, 0.51)
    assert trial.scores["train_loss"] == pytest.approx((1 / 4 + 1 / 5 + 1 / 6) / 3, rel=0.3)
    assert trial.scores["train_seconds"] >= 0
    assert "1 run deleted in MLflow left out" in capsys.readouterr().out


def test_results_of_pefts_method_comparison(tmp_path, capsys):
    for seed in (0, 1, 2):
        peft_result(tmp_path / "results" / f"lora--{seed}.json", "LORA", seed, 0.5 + seed / 100)
        peft_result(tmp_path / "results" / f"full--{seed}.json", None, seed, 0.6)
    peft_result(tmp_path / "results" / "ia3.json", "IA3", 0, 0.1, status="failed")
    found = {cell.method: cell for cell in imported_cells(tmp_path / "results", "--map", "dataset:=gsm8k")}
    assert set(found) == {"LORA", "IA3", "full-finetuning"}
    lora = found["LORA"]
    assert (lora.model, lora.settings["r"], lora.settings["optimizer_kwargs/lr"]) == ("org/llama", 8, 1e-4)
    assert lora.by_seed("accuracy") == {0: 0.5, 1: 0.51, 2: 0.52}
    trial = lora.completed[0]
    assert (trial.epoch, trial.scores["val_accuracy"], trial.scores["train_loss"]) == (2, 0.45, 0.5)
    assert (trial.scores["train_seconds"], trial.scores["peak_memory_bytes"]) == (7.5, 22_000)
    assert trial.scores["num_trainable_params"] == 9
    assert [trial.error for trial in found["IA3"].trials] == ["CUDA out of memory"]
    capsys.readouterr()


def test_what_lies_there_is_found_or_named(tmp_path, capsys):
    peft_result(tmp_path / "mix" / "a" / "lora.json", "LORA", 1, 0.5)
    place = tmp_path / "mix" / "b"
    place.mkdir()
    (place / "trainer_state.json").write_text("{}")
    words = ("--map", "dataset:=gsm8k")
    imported(tmp_path / "mix", *words, code=2)
    assert "holds peft and trainer results; say which with --kind" in capsys.readouterr().err
    assert imported(tmp_path / "mix", *words, "--kind", "peft").exists()
    assert "of the kind peft" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [*Kind, None])
def test_nothing_of_a_kind_is_one_line(tmp_path, kind):
    for place in (tmp_path / "folder", tmp_path / "file.json"):
        if place.suffix:
            place.write_text("[]")
        else:
            place.mkdir()
        with pytest.raises(UserError) as caught:
            read(place, kind)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file or folder"):
        read(tmp_path / "missing", kind)


def test_each_kind_has_a_reader():
    assert set(READERS) == set(Kind)


def test_a_database_of_something_else_is_one_line(tmp_path, capsys):
    with sqlite3.connect(tmp_path / "other.db") as base:
        base.execute("CREATE TABLE runs (a)")
    imported(tmp_path / "other.db", *FULL, code=2)
    assert "is no database of MLflow" in capsys.readouterr().err


def test_a_folder_with_a_file_that_can_be_read_names_it(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "runs.csv").write_text("a\n1\n")
    with sqlite3.connect(tmp_path / "folder" / "mlflow.db") as base:
        base.execute("CREATE TABLE runs (a)")
    imported(tmp_path / "folder", *FULL, code=2)
    assert "it holds mlflow.db, runs.csv: give the file" in capsys.readouterr().err
