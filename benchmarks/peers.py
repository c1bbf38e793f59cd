"""What users run today: Hugging Face's Trainer under Ray Tune.

python -m benchmarks.peers --peer p1 --model minilm --dataset restaurant    a grid of methods x seeds, to its table

Peers train the model that we train (``benchmarks.trial.model_of``: the same libraries' modules, the head trained), on
the same rows, with the same batch size, rate and epochs; optimizer, schedule and clipping are Trainer's defaults, which
ours equal. So what is compared is the training loop and what runs it. Trackers, progress bars and checkpoints are off.
"""

import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import tyro
from torch.utils.data import Dataset, Sampler
from transformers import (
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from benchmarks.harness import write_record
from benchmarks.trial import Case, Slice, case_of, model_of, order_of, prepared_of
from benchmarks.workers import Gate
from tunekit.engine.member import LabelledSplit
from tunekit.seeding import stream_seed
from tunekit.tasks.classification import label_scores

TUNED = {"logging_nan_inf_filter": False, "logging_strategy": "no"}


@dataclass(frozen=True)
class Peer:
    """One way to train."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """TrainingArguments that are not at their default."""
    reuse_actors: bool = True
    cpus: tuple[int, ...] = (1, 2)
    """Cores of a trial; where there are several, the best counts."""


PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        peer.name: peer
        for peer in (
            Peer("p0", reuse_actors=False, cpus=(1,)),
            Peer("p1", TUNED),
            Peer("p1g", {**TUNED, "group_by_length": True}),
        )
    }
)


class Rows(Dataset[dict[str, Any]]):
    """A split as Trainer's collator takes it."""

    def __init__(self, split: LabelledSplit) -> None:
        self.ids = [part.tolist() for part in np.split(split.tokens.ids, split.tokens.offsets[1:-1])]
        self.types = [part.tolist() for part in np.split(split.tokens.types, split.tokens.offsets[1:-1])]
        self.labels = split.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids, types = self.ids[index], self.types[index]
        return {
            "input_ids": ids,
            "token_type_ids": types,
            "attention_mask": [1] * len(ids),
            "labels": self.labels[index],
        }


class GivenOrder(Sampler[int]):
    """The rows of each epoch in turn, as ``order`` gives them for its number (from 1)."""

    def __init__(self, order: Callable[[int], np.ndarray]) -> None:
        self.order, self.epoch, self.rows = order, 0, order(1)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        self.rows = self.order(self.epoch)
        return iter(self.rows.tolist())


class OrderedTrainer(Trainer):
    """Trainer over given orders, which keeps each batch's loss."""

    def __init__(self, order: Callable[[int], np.ndarray], **options: Any) -> None:
        super().__init__(**options)
        self.sampler = GivenOrder(order)
        self.losses: list[torch.Tensor] = []

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        return self.sampler

    def compute_loss(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """Trainer's own; its value is kept where it is."""
        loss: torch.Tensor = super().compute_loss(*arguments, **options)
        self.losses.append(loss.detach())
        return loss


class Turns(TrainerCallback):
    """Lets Trainer train one epoch a turn."""

    def __init__(self, gate: Gate, trainer: OrderedTrainer, lengths: np.ndarray) -> None:
        self.gate, self.trainer, self.lengths = gate, trainer, lengths
        gate.wait()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Hand over the epoch and wait for the next."""
        losses = tuple(torch.stack(self.trainer.losses).tolist())
        self.trainer.losses.clear()
        self.gate.done(Slice(int(self.lengths[self.trainer.sampler.rows].sum()), losses))
        control.should_training_stop = not self.gate.wait()


def grouped_order(case: Case, steps: int) -> Callable[[int], np.ndarray]:
    """Of all training rows as ``group_by_length`` batches them, ``steps`` whole batches of evenly spread sizes."""
    lengths = prepared_of(case).splits["train"].tokens.lengths
    size = case.spec.batch_size

    def order(epoch: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(stream_seed(case.spec.seed, "order", epoch))
        rows = list(LengthGroupedSampler(size, lengths=lengths.tolist(), generator=generator))
        whole = np.array(rows[: len(rows) // size * size]).reshape(-1, size)
        by_size = np.argsort(lengths[whole].sum(axis=1), kind="stable")
        middles = (np.arange(steps) + 0.5) * len(whole) / steps
        chosen: np.ndarray = whole[by_size[middles.astype(int)]]
        return chosen.ravel()

    return order


def options_of(peer: Peer, case: Case, **arguments: Any) -> dict[str, Any]:
    """What Trainer takes, but for data to evaluate."""
    prepared, spec = prepared_of(case), case.spec
    return {
        "model": model_of(case),
        "args": TrainingArguments(
            per_device_train_batch_size=spec.batch_size,
            per_device_eval_batch_size=spec.batch_size,
            learning_rate=spec.learning_rate,
            weight_decay=spec.weight_decay,
            num_train_epochs=spec.epochs,
            seed=spec.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **{"output_dir": ".", "use_cpu": True, **peer.arguments, **arguments},
        ),
        "data_collator": DataCollatorWithPadding(prepared.tokenizer),
        "train_dataset": Rows(prepared.splits["train"]),
    }


def train_peer(gate: Gate, name: str, case: Case, steps: int, device: str = "cpu") -> None:
    """A worker's task: one warm Trainer, an epoch of ``steps`` batches a turn; but for p1g those of ``train_ours``."""
    order = grouped_order(case, steps) if name == "p1g" else lambda epoch: order_of(case, epoch)
    trainer: Any = OrderedTrainer(order, **options_of(PEERS[name], case, use_cpu=device == "cpu"))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Turns(gate, trainer, prepared_of(case).splits["train"].tokens.lengths))
    trainer.train()


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
    """p0, p1 or p1g."""
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
    main(tyro.cli(Arguments, prog="python -m benchmarks.peers"))
