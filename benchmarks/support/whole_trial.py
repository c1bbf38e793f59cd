"""One whole trial in a fresh process that imports what Ray's workers do: its processor seconds and its peak memory."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tunekit.data.base import DATASETS
from tunekit.models.loading import resolve_model
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.schema import TrialSpec


@dataclass(frozen=True)
class Measured:
    """What a trial took."""

    seconds: float
    """Processor seconds from the build of its model to its summary, on one thread; imports do not count."""
    peak_bytes: int
    """The most resident memory of its process."""
    predicted_bytes: int | None
    """The same as predicted; None without a closed form."""


def measure(spec: TrialSpec, model: str) -> Measured:
    """Train ``spec``, whose model is registered or in the folder ``model``. Raises RuntimeError where that fails."""
    command = [sys.executable, "-m", "benchmarks.support.whole_trial", json.dumps(spec.to_dict()), model]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if run.returncode:
        raise RuntimeError(f"{spec.label}: {run.stderr[-500:]}")
    return Measured(**json.loads(run.stdout.splitlines()[-1]))


def _train(spec: TrialSpec, model: str, sweep: Path) -> Measured:
    ref = resolve_model(model)
    fingerprint = fingerprint_of(spec, ref.revision, DATASETS[spec.dataset].content_hash)
    import tunekit.runner.preloaded  # noqa: F401  (what a worker of Ray holds before its first trial)
    from tunekit.engine.job import Job
    from tunekit.engine.run import TrialRun

    before = os.times()
    run = TrialRun(Job(spec, fingerprint, ref, sweep, 0, threads=1), lambda line: None)
    while not run.done:
        run.train_epoch()
    summary = run.finish()
    after = os.times()
    seconds = after.user - before.user + after.system - before.system
    return Measured(seconds, summary.peak_memory_bytes or 0, summary.predicted_memory_bytes)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = _train(TrialSpec.from_dict(json.loads(sys.argv[1])), sys.argv[2], Path(folder))
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
