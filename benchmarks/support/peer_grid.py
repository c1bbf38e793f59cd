"""A grid of methods x seeds as users run it today: Hugging Face's Trainer under Ray Tune, to its table.

python -m benchmarks.support.peer_grid --peer p1 --model minilm --dataset restaurant --storage FOLDER
"""

import logging
import os
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from benchmarks.support.harness import write_record
from benchmarks.support.peers import PEERS, Rows, options_of
from benchmarks.support.trial import case_of, prepared_of
from tunekit.tasks.classification import label_scores


class Report(TrainerCallback):
    """Reports the scores of each epoch to Ray Tune."""

    def __init__(self) -> None:
        self.scores: dict[str, float] = {}

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Splits come one by one; the test part is the last."""
        from ray import tune

        self.scores |= others["metrics"]
        if "eval_test_loss" in others["metrics"]:
            tune.report(self.scores)


def trial(config: Mapping[str, Any]) -> None:
    """A trial of Ray Tune, as a function: a model, a Trainer, and a report an epoch."""
    case = config["case"]
    prepared = prepared_of(case)
    num_labels = len(prepared.data.label_names)
    trainer = Trainer(
        **options_of(PEERS[config["peer"]], case, eval_strategy="epoch"),
        eval_dataset={split: Rows(rows) for split, rows in prepared.splits.items() if split != "train"},
        compute_metrics=lambda found: label_scores(found.label_ids, found.predictions.argmax(axis=1), num_labels),
        callbacks=[Report()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a grid of methods x seeds as a peer does and print its table."""

    peer: str
    """p0, p1, p1g, or a name of ``PEERS``."""
    model: str
    """A name, a hub id or a folder."""
    dataset: str
    methods: tuple[str, ...] = ("full", "adapter", "lora")
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    rows: int | None = None
    """Training rows (default: all)."""
    epochs: int = 10
    cpus: int = 1
    """Cores of a trial."""
    storage: Path
    """Folder of Ray Tune's experiment."""
    json: Path | None = None
    """File to write the scores to."""


def main(arguments: Arguments) -> None:
    """Run the grid on Ray Tune, print mean ± std of the last test macro-F1 of each method."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    import ray
    from ray import tune

    peer, started = PEERS[arguments.peer], time.perf_counter()
    cases = [
        case_of(
            arguments.model, arguments.dataset, method, rows=arguments.rows, seed=seed, epochs=arguments.epochs
        )
        for method in arguments.methods
        for seed in arguments.seeds
    ]  # fmt: skip
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    results = tune.Tuner(
        tune.with_resources(trial, {"cpu": arguments.cpus}),
        param_space={"peer": peer.name, "case": tune.grid_search(cases)},
        run_config=tune.RunConfig(storage_path=str(arguments.storage.resolve()), verbose=0),
        tune_config=tune.TuneConfig(reuse_actors=peer.reuse_actors),
    ).fit()
    ray.shutdown()
    if results.num_errors:
        raise RuntimeError(f"{results.num_errors} trials failed: {results.errors[0]}")
    found: dict[str, list[float]] = {method: [] for method in arguments.methods}
    for result in (results[number] for number in range(len(results))):
        config, metrics = result.config or {}, result.metrics or {}
        found[config["case"].spec.method].append(metrics["eval_test_macro_f1"])
    for method, values in found.items():
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        sys.stdout.write(f"{method}: {100 * statistics.mean(values):.2f} ± {100 * spread:.2f} (n={len(values)})\n")
    if arguments.json is not None:
        write_record(arguments.json, {"test_macro_f1": found, "seconds": time.perf_counter() - started})


if __name__ == "__main__":
    main(tyro.cli(Arguments, prog="python -m benchmarks.support.peer_grid"))
