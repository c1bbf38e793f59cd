"""Golden values: losses of tiny specs, trial ids, hashes of code, and stores of this trainer version and an older one.

``python -m tests.support.golden`` writes them anew. Stores are written only under a new trainer version, by Ray.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.support.trials import fingerprint, specify, start
from tunekit.data.base import DATASETS
from tunekit.methods import METHODS
from tunekit.planning.fingerprints import source_of
from tunekit.schema import SCHEMA_VERSION, TRAINER_VERSION, TrialSpec

DATA = Path(__file__).parents[1] / "data"
LOSSES, IDS, CODE = DATA / "golden_losses.json", DATA / "golden_ids.json", DATA / "golden_code.json"
STORES, STALE_STORES = DATA / "stores", DATA / "stale_stores"
SMALL = ("--models", "tiny-bert", "--datasets", "demo", "--epochs", "1", "--batch-size", "8", "--train-limit", "48")
STORED = {
    "grid": ("run", *SMALL, "--methods", "full", "adapter", "lora", "ia3", "prefix", "--seeds", "1"),
    "search": ("search", *SMALL, "--methods", "lora", "--trials", "2", "--confirm-seeds", "1"),
}
"""The command that writes each store of ``STORES``."""
KEPT = ("sweep.json", "search.json", "study.journal", "best.yaml", "data", "trials")
"""What is kept of a store."""


def loss_specs() -> list[TrialSpec]:
    """One spec for each thing that could move numerics: methods, models, warm-up, decay, pairs."""
    return [
        specify(method="full", learning_rate=1e-3),
        specify(method="adapter", model="tiny-roberta"),
        specify(method="lora", learning_rate=1e-2, warmup_ratio=0.5),
        specify(method="lora", method_params={"r": 4, "lora_dropout": 0.1}, seed=7, batch_size=8),
        specify(method="full", model="tiny-roberta", weight_decay=0.1, max_length=16, learning_rate=1e-3),
    ]


def losses_of(spec: TrialSpec) -> list[float]:
    """Training and test loss of each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        run = start(spec, Path(folder))
        return [
            value
            for record in (run.train_epoch(), run.train_epoch())
            for value in (record.train_loss, record.test_loss)
        ]


def code_hashes() -> dict[str, Any]:
    """The hash of every method's and dataset's code, and the whole fingerprint of one spec of each method."""

    def short(item: object) -> str:
        return hashlib.sha256(source_of(item).encode()).hexdigest()[:12]

    return {
        "methods": {name: short(METHODS[name]) for name in METHODS},
        "datasets": {name: short(DATASETS[name].load) for name in DATASETS},
        "fingerprints": {name: asdict(fingerprint(specify(method=name))) for name in METHODS},
    }


def write() -> None:
    """Write the files anew, under the versions at hand."""
    rows = [{"spec": spec.to_dict(), "losses": losses_of(spec)} for spec in loss_specs()]
    old = json.loads(LOSSES.read_text())
    if old["trainer_version"] == TRAINER_VERSION and old["trials"] != rows:
        raise SystemExit("the losses changed: raise TRAINER_VERSION first")
    LOSSES.write_text(json.dumps({"trainer_version": TRAINER_VERSION, "trials": rows}, indent=1) + "\n")
    rows = [TrialSpec.from_dict(row["spec"]) for row in json.loads(IDS.read_text())["trials"]]
    ids = [{"trial_id": spec.trial_id, "spec": spec.to_dict()} for spec in rows]
    IDS.write_text(json.dumps({"schema_version": SCHEMA_VERSION, "trials": ids}, indent=1) + "\n")
    CODE.write_text(json.dumps(code_hashes(), indent=1) + "\n")
    if stored_version(STORES) != TRAINER_VERSION:
        write_stores()


def stored_version(stores: Path) -> int:
    """The trainer version under which the trials of ``stores`` were trained."""
    versions = {json.loads(path.read_text())["fingerprint"]["trainer"] for path in stores.glob("*/trials/*/spec.json")}
    [version] = versions
    return version


def write_stores() -> None:
    """Train the stores of this trainer version, and keep those of the version before as the stale ones."""
    shutil.rmtree(STALE_STORES, ignore_errors=True)
    STORES.rename(STALE_STORES)
    for name, command in STORED.items():
        subprocess.run(
            [sys.executable, "-m", "tunekit", *command, "--storage", str(STORES), "--sweep", name], check=True
        )
        for path in (STORES / name).iterdir():
            if path.name not in KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    best = STORES / "search" / "best.yaml"
    best.write_text(best.read_text().replace(f"{DATA}/", "tests/data/"))  # no path of this machine


if __name__ == "__main__":
    write()
