"""On a GPU: epochs that are recorded while the next ones train have the same bits, and the probe of packs runs."""

from dataclasses import replace

import pytest
import torch

from tests.support.attempts import job_for, run_out, specs
from tests.support.runs import numbers
from tests.support.trials import specify
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore
from tunekit.worker.attempt import Attempt
from tunekit.worker.pack_probe import fastest, probe
from tunekit.worker.pack_trainer import PackTrainer

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]
DEVICE = "cuda"


@pytest.fixture(autouse=True)
def _gpu():
    if not torch.cuda.is_available():
        pytest.fail("torch finds no GPU here")
    yield
    torch.use_deterministic_algorithms(False)


def test_packs_that_run_ahead_have_the_bits_of_packs_that_wait(tmp_path):
    found = {}
    for name, ahead in (("waits", False), ("ahead", True)):
        jobs = [replace(job_for(spec, tmp_path / name, runs_ahead=ahead), device=DEVICE) for spec in specs(epochs=5)]
        run_out(PackTrainer(3), [Attempt(job) for job in jobs])
        store = ResultStore(tmp_path / name)
        trials = [store.read(store.folder(job.spec)) for job in jobs]
        assert {trial.summary.status for trial in trials} == {Status.COMPLETED}
        found[name] = [numbers(trial.epochs) for trial in trials]
    assert found["waits"] == found["ahead"]


def test_the_probe_tries_packs(tmp_path):
    jobs = [
        replace(job_for(specify(seed=seed, batch_size=8, epochs=10), tmp_path), device=DEVICE) for seed in (1, 2, 3, 4)
    ]
    rates = probe(jobs)
    assert [rate.pack for rate in rates] == [1, 2, 4][: len(rates)]
    assert fastest(rates).trials_per_hour > 0
