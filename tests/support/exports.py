"""Trials that are exported, and how their logits are had."""

import io
import os
import re
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tests.support.trials import build, specify
from tunekit.engine.checkpoint import trainable
from tunekit.engine.kept_weights import identity_of, read_weights
from tunekit.export import formats
from tunekit.store.result_store import ResultStore

DENSE = {"target_modules": "query,dense", "r": 2}


SPECS = {
    "full": [specify(model="tiny-bert", method="full", seed=seed) for seed in (1, 2, 3)],
    "lora": [specify(model="tiny-bert", method="lora", seed=1, learning_rate=5e-3)],
    "adapter": [specify(model="tiny-bert", method="adapter", seed=1, learning_rate=5e-3)],
    "lora-roberta": [specify(model="tiny-roberta", method="lora", seed=1, learning_rate=5e-3, method_params=DENSE)],
    "adapter-roberta": [specify(model="tiny-roberta", method="adapter", seed=1, learning_rate=5e-3)],
    "adapter-distilbert": [specify(model="tiny-distilbert", method="adapter", seed=1, learning_rate=5e-3)],
    "lora-modernbert": [specify(model="tiny-modernbert", method="lora", seed=1, learning_rate=5e-3)],
    "adapter-modernbert": [specify(model="tiny-modernbert", method="adapter", seed=1, learning_rate=5e-3)],
    "rslora": [specify(model="tiny-bert", method="rslora", seed=1, learning_rate=5e-3)],
    "pissa": [specify(model="tiny-bert", method="pissa", seed=1, learning_rate=5e-3, method_params=DENSE)],
    "parallel": [specify(model="tiny-bert", method="parallel", seed=1, learning_rate=5e-3)],
    "compacter": [specify(model="tiny-bert", method="compacter", seed=1, learning_rate=5e-3)],
    "mam": [specify(model="tiny-bert", method="mam", seed=1, learning_rate=5e-3)],
    "vera": [specify(model="tiny-bert", method="vera", seed=1, learning_rate=2e-2, method_params=DENSE)],
    "lora-dense": [specify(model="tiny-bert", method="lora", seed=2, learning_rate=5e-3, method_params=DENSE)],
}


def cell(spec):
    """The arguments that name a spec's cell."""
    params = [f"{key}={value}" for key, value in spec.method_params.items()]
    where = ["--where", f"learning_rate={spec.learning_rate}", *params]
    return ["--model", spec.model, "--dataset", spec.dataset, "--method", spec.method, *where]


def in_memory(spec, sweep):
    """The trial's model as the libraries' own class, from its kept weights, and the demo's test rows."""
    prepared, model = build(spec)
    stored = ResultStore(sweep).read(ResultStore(sweep).folder(spec))
    tensors = read_weights(stored.folder, 2, identity_of(spec, stored.fingerprint))
    formats.fill(trainable(model), tensors, "here")
    return model.eval(), prepared.data.splits["test"].head(16)


def by_the_card(folder):
    """What the README's code leaves, run in the folder."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    names, printed, before = {}, io.StringIO(), Path.cwd()
    try:
        os.chdir(folder)
        with redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
    finally:
        os.chdir(before)
    return names, printed.getvalue()


def library_logits(model, tokenizer, rows):
    texts = [f"{text}{tokenizer.sep_token}{pair}" for text, pair in zip(rows["text"], rows["pair"], strict=True)]
    with torch.no_grad():
        inputs = tokenizer(texts, truncation=True, max_length=512, padding=True, return_tensors="pt")
        return model(**inputs).logits.numpy()


def stored_logits(spec, sweep, rows):
    frame = pd.read_parquet(ResultStore(sweep).folder(spec) / "predictions.parquet")
    frame = frame[(frame["split"] == "test") & (frame["epoch"] == 2)].set_index("item_id").loc[rows["item_id"]]
    return np.stack(frame["logits"]).astype(np.float32)
