"""python -m benchmarks.replays.record    trains the table that searches are replayed over, and writes search.csv

64 configurations of LoRA on a small encoder, AG News, 3 seeds: macro-F1 on validation and test after each epoch. The
engine trains them one after the other, without Ray; each is written when it has ended, and not trained again.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.replays.encoder import write_encoder
from benchmarks.replays.table import PATH, POINTS, add_trial, recorded, spec_settings
from tunekit.data.base import DATASETS
from tunekit.engine.build import build_model, prepare_splits
from tunekit.engine.member import Member
from tunekit.engine.train import Pack
from tunekit.errors import UserError
from tunekit.methods.base import complete_params
from tunekit.models.loading import ModelRef, resolve_model
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.schema import Scalar, TrialSpec
from tunekit.tasks.classification import label_scores

DATASET = "agnews_7k6"
SEEDS = (1, 2, 3)
SETTINGS: Mapping[str, Any] = {"epochs": 9, "train_limit": 512, "val_fraction": 0.1, "max_length": 32}


def trials(model: ModelRef) -> Iterator[tuple[Mapping[str, Scalar], TrialSpec]]:
    """Every configuration with its trial, seed by seed."""
    for seed, point in product(SEEDS, POINTS):
        rate, given = spec_settings(point)
        params = complete_params("lora", given)
        names: dict[str, Any] = {"model": model.name, "dataset": DATASET, "method": "lora", "method_params": params}
        yield point, TrialSpec(**names, seed=seed, learning_rate=rate, **SETTINGS)


def train(spec: TrialSpec, model: ModelRef, folder: Path) -> list[tuple[float, float]]:
    """Macro-F1 on validation and on test after each epoch, in [0, 1]. Raises UserError."""
    fingerprint = fingerprint_of(spec, model.revision, DATASETS[spec.dataset].content_hash)
    prepared = prepare_splits(spec, fingerprint, model, folder)
    pack = Pack([Member(spec, build_model(spec, model, prepared), prepared.splits["train"], torch.device("cpu"))])
    curve = []
    for _ in range(spec.epochs):
        pack.train_epoch()
        pair = []
        for split in (prepared.splits["val"], prepared.splits["test"]):
            predicted = pack.predict(split)[0].argmax(axis=1)
            pair.append(label_scores(split.labels, predicted, len(prepared.data.label_names))["macro_f1"])
        curve.append((pair[0], pair[1]))
    return curve


def main() -> int:
    """Train what the table lacks; 0 when done, 2 where data or MiniLM can't be had."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "minilm-64"
        try:
            write_encoder(folder)
            model = resolve_model(str(folder))
            done = recorded(PATH)
            for point, spec in track(list(trials(model)), "training"):
                if (*point.values(), spec.seed) not in done:
                    add_trial(PATH, point, spec.seed, train(spec, model, folder))
        except UserError as error:
            Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"benchmarks: {error}")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
