"""Sweeps on a user's dataset, trained to their end in the test's process, with kept weights."""

from collections.abc import Sequence
from pathlib import Path

from tests.support.runs import finish
from tunekit.data.base import TextDataset
from tunekit.data.copies import save_dataset
from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun
from tunekit.export.verify import compared, trained_again
from tunekit.models.loading import resolve_model
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.schema import TrialSpec
from tunekit.store.records import CompletedTrial, StoredTrial
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore


def train_sweep(sweep: Path, data: TextDataset, specs: Sequence[TrialSpec]) -> None:
    """Train ``specs`` on ``data`` into the folder ``sweep``."""
    save_dataset(data, sweep / "data", with_text=True)
    for spec in specs:
        ref = resolve_model(spec.model)
        mark = fingerprint_of(spec, ref.revision, data.content_hash)
        finish(TrialRun(Job(spec, mark, ref, sweep, 0, 1, keep_models="last"), lambda line: None))
    ResultStore(sweep).add_request({"cells": cells_of(specs)})


def check_trained_again(sweep: Path, spec: TrialSpec, folder: Path) -> tuple[CompletedTrial, StoredTrial]:
    """Check that the trial of ``spec``, trained again in ``folder``, is bit for bit as stored; return both."""
    store = ResultStore(sweep)
    trial = CompletedTrial.of(store.read(store.folder(spec)))
    again = trained_again(trial, store, folder, resolve_model(spec.model))
    assert compared(trial, again) == ([], "bit for bit")
    return trial, again
