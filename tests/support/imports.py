"""Experiments of other programs for ``tunekit import``, and what an import of them wrote."""

import json
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.cells import Cell, cells
from analysis.sweep_records import read_sweeps


def imported(place: Path, *words: str, code: int = 0) -> Path:
    """Import ``place`` into a store beside it and return the store; the command must end with ``code``."""
    store = place.parent / "store"
    assert main(["import", str(place), *words, "--out", str(store)]) == code
    return store


def imported_cells(place: Path, *words: str) -> list[Cell]:
    """Import ``place`` and return the cells of the store."""
    return cells(read_sweeps([imported(place, *words)]))


def log_mlflow_runs(uri: str) -> None:
    """Log four runs of one configuration to MLflow: two finished, one failed, one deleted."""
    mlflow = pytest.importorskip("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        mlflow.set_experiment("news")
        for seed, state in ((1, "FINISHED"), (2, "FINISHED"), (3, "FAILED"), (4, "FINISHED")):
            run = mlflow.start_run(run_name=f"seed {seed}")
            mlflow.log_params({"model": "bert", "seed": seed, "lr": "1e-05" if seed == 1 else 1e-5, "layers": [1, 2]})
            mlflow.log_params({"dropout": None})
            mlflow.set_tag("team", "a")
            for step in range(6):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
            for step in (2, 5):
                mlflow.log_metric("val/accuracy", step / 10 + seed / 100, step=step)
            mlflow.log_metric("test_accuracy", 0.5 + seed / 100)  # without a step, as final scores are logged
            mlflow.log_metric("grad", float("nan"), step=5)
            mlflow.end_run(state)
            if seed == 4:
                mlflow.delete_run(run.info.run_id)
    finally:
        mlflow.set_tracking_uri(before)


def peft_result(place: Path, method: str | None, seed: int, accuracy: float, status: str = "success") -> None:
    """Write a result in the form of PEFT's method_comparison: metrics by step, the test score in a row of its own."""
    adapter = None if method is None else {"peft_type": method, "r": 8, "target_modules": ["q"], "revision": None}
    config = {"model_id": "org/llama", "seed": seed, "max_steps": 20, "optimizer_kwargs": {"lr": 1e-4}}
    rows = [
        {"step": 10 * n, "valid accuracy": accuracy - 0.1 / n, "train loss": 1 / n, "train time": 3.0} for n in (1, 2)
    ]
    last = {"step": 20, "test accuracy": accuracy, "train loss": 0.5, "train total tokens": 900}
    costs = {
        "accelerator_memory_max": 22_000,
        "train_time": 7.5,
        "file_size": 36,
        "num_trainable_params": 9,
        "num_total_params": 90,
    }
    content = {
        "run_info": {"created_at": "2026-01-01", "experiment_name": "x", "train_config": config, "peft_config": adapter,
                     "error_msg": "" if status == "success" else "CUDA out of memory\nmore"},
        "train_info": {**costs, "status": status, "metrics": [*rows, last] if status == "success" else []},
        "meta_info": {"package_info": {"peft-version": "0"}},
    }  # fmt: skip
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(content, indent=2))


def trainer_run(place: Path, seed: int, accuracy: float) -> None:
    """Write the files that transformers' Trainer leaves of a run of one epoch: the state with its log, the card."""
    rows = [
        {"epoch": 1.0, "step": 9, "loss": 0.4},
        {"epoch": 1.0, "step": 9, "eval_accuracy": accuracy, "eval_loss": 0.5, "eval_runtime": 1.0},
        {"epoch": 1.0, "step": 9, "train_runtime": 7.5, "train_loss": 0.45},
        {"epoch": 1.0, "step": 9, "test_accuracy": accuracy - 0.01},
    ]
    state = {"global_step": 9, "max_steps": 9, "num_train_epochs": 1, "train_batch_size": 8, "log_history": rows}
    place.mkdir(parents=True)
    (place / "trainer_state.json").write_text(json.dumps(state))
    card = f"### Training hyperparameters\n\n- learning_rate: 5e-05\n- seed: {seed}\n\n### Framework versions\n"
    (place / "README.md").write_text(card)
