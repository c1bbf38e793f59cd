"""Small stores of searches, written by the store's own writers: every number in them is chosen by the test."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from tests.support.records import FINGERPRINT, record, summary
from tunekit.schema import Status, TrialSpec
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import ConfirmedConfiguration, Search, SearchStudy, SearchTrial, TrialState

ITEMS = 40
"""Items of the validation part, in groups of two; the first half of class 0, the second of class 1."""
SPACE = {
    "learning_rate": {"type": "float", "low": 1e-5, "high": 5e-3, "log": True},
    "r": {"type": "categorical", "choices": [1, 2, 4, 8, 16, 32]},
}
SETTLED = {
    "model": "tiny-bert", "dataset": "demo", "method": "lora", "space": SPACE, "objectives": ("macro_f1",),
    "directions": ("maximize",), "sampler": "tpe", "sampler_seed": 0, "scheduler": "asha", "seeds": (1001,),
    "planned": 12, "trials": (),
}  # fmt: skip


def describe(store: ResultStore, name: str = "demo") -> None:
    """The dataset's description: two classes."""
    store.data_folder.mkdir(parents=True, exist_ok=True)
    content = {"name": name, "display_name": "Demo", "label_names": ["no", "yes"], "content_hash": "d"}
    (store.data_folder / f"{name}-d.json").write_text(json.dumps(content))


def predictions(right: int, epoch: int) -> pd.DataFrame:
    """Validation predictions with the first ``right`` items of each class right."""
    gold = [item // (ITEMS // 2) for item in range(ITEMS)]
    hit = [item % (ITEMS // 2) < right for item in range(ITEMS)]
    return pd.DataFrame(
        {
            "split": "val",
            "epoch": epoch,
            "item_id": [f"i{item}" for item in range(ITEMS)],
            "group_id": [f"g{item // 2}" for item in range(ITEMS)],
            "gold": pd.Series(gold, dtype="int32"),
            "predicted": pd.Series([g if h else 1 - g for g, h in zip(gold, hit, strict=True)], dtype="int32"),
        }
    )


def train(
    store: ResultStore, spec: TrialSpec, val: Sequence[float], test: float | None = None, *, params: int = 100,
    right: int | None = None, status: Status = Status.COMPLETED,
) -> str:  # fmt: skip
    """A trial whose macro-F1 on validation is ``val``, epoch by epoch; its predictions have ``right`` right a class."""
    folder = store.open_trial(spec, FINGERPRINT)
    sealed = dict.fromkeys(("test_loss", "test_accuracy", "test_micro_f1", "test_macro_f1"), test)
    rows = [
        replace(record(epoch), val_macro_f1=score, val_accuracy=score, best_val_macro_f1=max(val[:epoch]), **sealed)
        for epoch, score in enumerate(val, 1)
    ]
    store.write_epochs(folder, rows)
    best = max(range(len(val)), key=lambda place: val[place]) + 1
    if right is not None:
        store.write_predictions(folder, predictions(right, best))
    ended = replace(summary(status), best_epoch=best, num_trainable_params=params, num_epochs=len(val))
    store.write_summary(folder, ended)
    return spec.trial_id


def trial(
    store: ResultStore, spec: TrialSpec, number: int, curve: Sequence[float],
    state: TrialState = TrialState.COMPLETE, **more: object,
) -> SearchTrial:  # fmt: skip
    """A trained search trial, its spec's seed and its test split sealed."""
    sealed = replace(spec, seed=1001, score_test=False)
    status = {TrialState.COMPLETE: Status.COMPLETED, TrialState.PRUNED: Status.STOPPED}.get(state, Status.DIVERGED)
    trial_id = train(store, sealed, curve, status=status, **more)
    values = None if state is TrialState.FAILED else (max(curve),)
    params = {"learning_rate": spec.learning_rate, "r": spec.method_params["r"]}
    return SearchTrial(
        number=number, params=params, state=state, values=values, epochs=len(curve), seconds=2.0 * len(curve),
        trial_ids=(trial_id,),
    )  # fmt: skip


def confirm(
    store: ResultStore, spec: TrialSpec, number: int, role: str, val: Sequence[float], test: Sequence[float]
) -> ConfirmedConfiguration:
    """A choice with a confirming trial for each of ``val`` and ``test``, seeds from 1."""
    ids = [train(store, replace(spec, seed=seed), [v], t) for seed, (v, t) in enumerate(zip(val, test, strict=True), 1)]
    return ConfirmedConfiguration(role=role, number=number, trial_ids=tuple(ids))


def write(store: ResultStore, *studies: Mapping[str, object]) -> None:
    """search.json of studies, each what differs from ``SETTLED``."""
    store.write_search(Search(tuple(SearchStudy(**{**SETTLED, **one}) for one in studies)))
