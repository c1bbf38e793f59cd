"""What durability costs: records and checkpoints on against off, on the same trial with epochs of about a second.

With writing off, an epoch is trained and scored, and nothing is written. Epochs take about a second: the number of
training rows is chosen by two first epochs on this machine.
"""

import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.support.harness import Outcome, interleaved, ratio_of
from tunekit.data.base import DATASETS
from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.models.loading import resolve_model
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.schema import TrialSpec

EPOCH_SECONDS = 1.0
ROWS = 64
"""Training rows of the epoch by which the number of rows is chosen."""


def run(quick: bool) -> Outcome:
    """Return ``durability/METHOD``: seconds without writing over seconds with it, which is 1 where writing is free."""
    model, epochs, repeats = ("tiny-bert", 4, 2) if quick else ("minilm", 20, 3)
    ratios, figures = {}, {}
    for method in ("lora", "full"):
        with tempfile.TemporaryDirectory() as folder:
            spec = _a_second_long(_spec(model, method, epochs), Path(folder))
            writing: list[float] = []
            durable, bare = interleaved(partial(_durable, spec, writing), partial(_bare, spec), repeats)
        ratios[f"durability/{method}"] = ratio_of(durable, bare)
        figures[method] = {
            "model": model,
            "epochs": epochs,
            "train_rows": spec.train_limit,
            "seconds_on": durable,
            "seconds_off": bare,
            "seconds_writing": writing,
            "share_writing": [part / whole for part, whole in zip(writing, durable, strict=True)],
        }
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
        score_test=False,
    )


def _a_second_long(spec: TrialSpec, folder: Path) -> TrialSpec:
    """Return ``spec`` with as many training rows as an epoch of a second takes, scoring included, or all rows."""
    trial = _begun(spec, folder)
    trial.train_epoch()
    start = time.perf_counter()
    trial.train_epoch()
    rows = round(ROWS * EPOCH_SECONDS / (time.perf_counter() - start))
    return replace(spec, train_limit=max(8, min(rows, DATASETS["demo"].num_rows["train"])))


def _durable(spec: TrialSpec, writing: list[float]) -> float:
    """Return the seconds of a trial's epochs, and append to ``writing`` the seconds that went into writing."""
    with tempfile.TemporaryDirectory() as folder:
        trial = _begun(spec, Path(folder))
        write = trial._write
        spent: list[float] = []

        def timed(*arguments: Any) -> None:
            start = time.perf_counter()
            write(*arguments)
            spent.append(time.perf_counter() - start)

        with mock.patch.object(trial, "_write", timed):
            seconds = _epochs(trial)
    writing.append(sum(spent))
    return seconds


def _bare(spec: TrialSpec) -> float:
    """Return the seconds of a trial's epochs where nothing is written."""
    with tempfile.TemporaryDirectory() as folder:
        trial = _begun(spec, Path(folder))
        with mock.patch.object(trial, "_write", lambda newest, state: trial.records.extend(newest.epochs)):
            return _epochs(trial)


def _epochs(trial: TrialRun) -> float:
    start = time.perf_counter()
    while not trial.done:
        trial.train_epoch()
    return time.perf_counter() - start


def _begun(spec: TrialSpec, folder: Path) -> TrialRun:
    model = resolve_model(spec.model)
    fingerprint = fingerprint_of(spec, model.revision, DATASETS[spec.dataset].content_hash)
    return TrialRun(Job(spec, fingerprint, model, folder, 0, 1), lambda line: None)
