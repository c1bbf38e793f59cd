"""Short ways to a trial for the tests."""

import runpy
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tunekit.data.base import DATASETS
from tunekit.engine.build import PreparedData, build_model, prepare_splits
from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.models.loading import resolve_model
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.schema import Fingerprint, TrialSpec

FITTING: dict[str, dict[str, object]] = {"compacter": {"reduction_factor": 2}}
"""Hyperparameters of methods whose defaults do not fit the small hidden sizes of the tests."""


def specify(**changes: object) -> TrialSpec:
    """A small spec; the method's parameters are completed and its default rate taken."""
    fields = {"model": "tiny-bert", "dataset": "demo", "method": "lora", "seed": 1, "epochs": 2, "train_limit": 64}
    fields |= changes
    method = str(fields["method"])
    fields["method_params"] = complete_params(method, fields.get("method_params", FITTING.get(method, {})))
    return TrialSpec(**{"learning_rate": METHODS[method].learning_rate, **fields})


def fingerprint(spec: TrialSpec) -> Fingerprint:
    return fingerprint_of(spec, resolve_model(spec.model).revision, DATASETS[spec.dataset].content_hash)


def build(spec: TrialSpec) -> tuple[PreparedData, object]:
    """The spec's data and model."""
    ref = resolve_model(spec.model)
    prepared = prepare_splits(spec, fingerprint(spec), ref, Path("unused"))
    return prepared, build_model(spec, ref, prepared)


def start(spec: TrialSpec, sweep: Path, log: list[str] | None = None, number: int = 0) -> TrialRun:
    """A TrialRun on one thread."""
    job = Job(spec, fingerprint(spec), resolve_model(spec.model), sweep, number, 1)
    return TrialRun(job, (log if log is not None else []).append)


def run_script(name: str, *arguments: object) -> int:
    """Run ``sweeps/NAME`` with arguments in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "sweeps" / name), run_name="__main__")
    return left.value.code
