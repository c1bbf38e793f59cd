"""What durability costs: records and checkpoints on against off, on the same trial with epochs of about a second.

Off, an epoch is trained and scored and nothing of it is written. Epochs are made a second long by the number of training
rows, found by a first epoch on this machine.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import Outcome, interleaved, ratio_of
from tunekit.data.base import DATASETS
from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.models import resolve_model
from tunekit.plan import fingerprint_of
from tunekit.schema import TrialSpec

EPOCH_SECONDS = 1.0
ROWS = 64
"""Training rows of the epoch that tells how many make a second."""


def run(quick: bool) -> Outcome:
    """``durability/METHOD``: seconds without writing over seconds with it, 1 where it costs nothing."""
    model, epochs, repeats = ("tiny-bert", 4, 2) if quick else ("minilm", 20, 3)
    ratios, figures = {}, {}
    for method in ("lora", "full"):
        with tempfile.TemporaryDirectory() as folder:
            spec = _a_second_long(_spec(model, method, epochs), Path(folder))
            durable, bare = interleaved(
                lambda spec=spec: _seconds(spec, durable=True), lambda spec=spec: _seconds(spec, durable=False), repeats
            )
        ratios[f"durability/{method}"] = ratio_of(durable, bare)
        figures[method] = {
            "model": model, "epochs": epochs, "train_rows": spec.train_limit, "seconds_on": durable, "seconds_off": bare
        }  # fmt: skip
    return Outcome(ratios, figures)


def _spec(model: str, method: str, epochs: int) -> TrialSpec:
    return TrialSpec(
        model=model,
        dataset="demo",
        method=method,
        method_params=complete_params(method, {}),
        learning_rate=METHODS[method].learning_rate,
        seed=1,
        epochs=epochs,
        train_limit=ROWS,
        batch_size=8,
    )


def _a_second_long(spec: TrialSpec, folder: Path) -> TrialSpec:
    """``spec`` with as many training rows as make an epoch of a second, scoring included, if the data has them."""
    trial = _begun(spec, folder)
    trial.train_epoch()
    fewer = trial.train_epoch().epoch_seconds
    rows = round(ROWS * EPOCH_SECONDS / fewer)
    return replace(spec, train_limit=max(8, min(rows, DATASETS["demo"].rows["train"])))


def _seconds(spec: TrialSpec, *, durable: bool) -> float:
    with tempfile.TemporaryDirectory() as folder:
        trial = _begun(spec, Path(folder))
        if not durable:
            trial._record = lambda record, trained, frames: trial.records.append(record)
        start = time.perf_counter()
        while not trial.done:
            trial.train_epoch()
        return time.perf_counter() - start


def _begun(spec: TrialSpec, folder: Path) -> TrialRun:
    model = resolve_model(spec.model)
    fingerprint = fingerprint_of(spec, model.revision, DATASETS[spec.dataset].content_hash)
    return TrialRun(Job(spec, fingerprint, model, folder, 0, 1), lambda line: None)
