"""Small stores written by the store's own writers, and the golden store that a real run wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tests.support.records import FINGERPRINT, record, record_of_task, summary
from tunekit.schema import Fingerprint, Status, TrialSpec
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore
from tunekit.tasks import task_of

GOLDEN = Path(__file__).parents[1] / "data" / "golden_store"
PAPER = """\
sweeps: [golden]
names: {tiny-bert: Tiny_BERT}
figures: [overview]
tables:
  - stem: peft
    caption: Full & LoRA.
    metric: macro_f1
    columns: [demo]
    rows:
      - {model: tiny-bert, method: full, learning_rate: 0.002, label: Full fine-tuning}
      - {model: tiny-bert, method: lora}
"""
"""A paper over the golden store."""


def add(
    store: ResultStore,
    spec: TrialSpec,
    scores: Sequence[float] = (0.5,),
    status: Status = Status.COMPLETED,
    fingerprint: Fingerprint = FINGERPRINT,
    execution: Mapping[str, str] | None = None,
) -> None:
    """A trial whose accuracy and macro-F1 on test are ``scores``, epoch by epoch; 1 - score on validation."""
    folder = store.open_trial(spec, fingerprint)
    records = [
        replace(record(epoch), test_accuracy=score, test_macro_f1=score, val_macro_f1=1 - score)
        for epoch, score in enumerate(scores, 1)
    ]
    store.write_epochs(folder, records)
    best = min(range(len(scores)), key=lambda position: scores[position]) + 1
    ended = replace(summary(status, None), num_epochs=len(scores), best_epoch=best, execution=dict(execution or {}))
    store.write_summary(folder, replace(ended, error=None if status is Status.COMPLETED else "loss became nan"))


def add_of_task(store: ResultStore, spec: TrialSpec, scores: Sequence[Mapping[str, float]]) -> None:
    """A completed trial of another task than classification, with these scores after each epoch (``test_rmse``)."""
    task = task_of(spec.dataset)
    folder = store.open_trial(spec, FINGERPRINT)
    records = [record_of_task(epoch, task, one) for epoch, one in enumerate(scores, 1)]
    store.write_epochs(folder, records)
    final = {name: records[-1].scores[name] for name in task.score_names}
    store.write_summary(folder, replace(summary(), num_epochs=len(records), final_scores=final))


def ask(store: ResultStore, specs: Sequence[TrialSpec]) -> None:
    """A request for ``specs``."""
    store.root.mkdir(parents=True, exist_ok=True)
    store.add_request({"cells": cells_of(specs)})
