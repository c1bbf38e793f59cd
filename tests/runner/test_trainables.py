"""The trainables without Ray Tune: what they import, and what they report of epochs that were recorded before."""

import gc
import pickle
import subprocess
import sys
import weakref

import pytest

from tests.conftest import ROOT
from tests.support.trials import fingerprint, specify
from tunekit.engine.job import Job
from tunekit.models.loading import resolve_model
from tunekit.runner import trainables
from tunekit.runner.actor import title_of
from tunekit.runner.trainables import SearchTrainable
from tunekit.runner.trainers import LocalTrainer
from tunekit.schema import EpochRecord, Status
from tunekit.tasks import TASKS
from tunekit.worker.report import OBJECTIVE, TrialReport

CLIENT = """
import pickle, sys
from pathlib import Path
from types import SimpleNamespace
from tunekit.runner import trainers
from tunekit.runner.trainables import TrialTrainable
from tunekit.worker.report import TrialReport

job = pickle.loads(Path(sys.argv[1]).read_bytes())
host = SimpleNamespace(
    place=SimpleNamespace(remote=lambda job: True),
    step=SimpleNamespace(remote=lambda job: TrialReport((), None)),
    release=SimpleNamespace(remote=lambda trial_id: None),
)
trainers.get_or_start_host = lambda device, job, num_places: host
trainers.ray.get = lambda answer: answer
for num_places in (2, 1):
    trainable = object.__new__(TrialTrainable)
    trainable.setup({"trial": {"trial_id": job.spec.trial_id}}, {job.spec.trial_id: job}, num_places=num_places)
    try:
        trainable.step()
    finally:
        print(f"of {num_places} places: {'torch' in sys.modules}", flush=True)
"""


def job_for(seed, sweep):
    spec = specify(seed=seed, epochs=3, score_test=False)
    return Job(spec, fingerprint(spec), resolve_model(spec.model), sweep, 0, 1)


@pytest.mark.slow
def test_a_client_of_a_device_host_imports_no_torch(tmp_path):
    (tmp_path / "job").write_bytes(pickle.dumps(job_for(1, tmp_path / "sweep")))
    run = subprocess.run(
        [sys.executable, "-c", CLIENT, str(tmp_path / "job")], cwd=ROOT, capture_output=True, text=True
    )
    found = [line for line in run.stdout.splitlines() if line.startswith("of ")]
    assert found == ["of 2 places: False", "of 1 places: True"], run.stderr


def record(epoch):
    scores = {
        f"{split}_{name}": epoch / 10
        for split in ("val", "test")
        for name in ("loss", "accuracy", "micro_f1", "macro_f1")
    }
    return EpochRecord(
        epoch=epoch, step=epoch, train_loss=1.0, **scores, best_val_macro_f1=epoch / 10, learning_rate=0.1,
        epoch_seconds=1.0, train_tokens_per_second=1.0, peak_memory_bytes=1,
    )  # fmt: skip


class RecordedTrainer:
    """Trials of which two epochs are recorded; each step adds one."""

    def __init__(self, end=Status.COMPLETED):
        self.steps, self.end, self.num = [], end, {}

    def begin(self, jobs):
        self.num = {job.spec.trial_id: 2 for job in jobs}
        return [TrialReport([record(1), record(2)], None, ["restored"]) for _ in jobs]

    def step(self, jobs):
        reports = []
        for job in jobs:
            self.steps.append(job.spec.seed)
            self.num[job.spec.trial_id] += 1
            reports.append(TrialReport([record(epoch) for epoch in (1, 2, 3)], self.end, ["trained"]))
            if reports[-1].ended_early:
                break
        return reports

    def release(self):
        self.num = {}


@pytest.fixture
def search(tmp_path, monkeypatch):
    """A search's trainable over seeds 1 and 2, and its trainer."""

    def make(end):
        trainer = RecordedTrainer(end)
        monkeypatch.setattr(trainables, "trainer_for", lambda num_places: trainer)
        jobs = [job_for(seed, tmp_path) for seed in (1, 2)]
        trainable = object.__new__(SearchTrainable)
        config = {"study": "s", "specs": [job.spec.to_dict() for job in jobs]}
        trainable.setup({"trial": config}, bases={"s": jobs[0]}, metrics={"s": TASKS["classification"].chooses_by})
        monkeypatch.setattr(SearchTrainable, "show", lambda self, spec, report: None)
        return trainable, trainer

    return make


def test_recorded_epochs_are_reported_again_without_training_and_notes_once(search):
    trainable, trainer = search(Status.COMPLETED)
    results = [trainable.step() for _ in range(2)]
    assert trainer.steps == []
    assert [(one["epoch"], one[OBJECTIVE], one["done"]) for one in results] == [(1, 0.1, False), (2, 0.2, False)]
    assert [one["note"] for one in results] == ["restored; restored", None]
    last = trainable.step()
    assert trainer.steps == [1, 2]
    assert (last["epoch"], last["done"], last["status"], last["note"]) == (3, True, "completed", "trained; trained")


def test_a_seed_that_ends_early_ends_its_configuration_before_the_next_seed_trains(search):
    trainable, trainer = search(Status.DIVERGED)
    results = [trainable.step() for _ in range(3)]
    assert trainer.steps == [1]
    assert (results[-1]["epoch"], results[-1]["done"], results[-1]["status"]) == (3, True, "diverged")


def test_a_process_keeps_no_model_of_a_trial_that_it_has_released(tmp_path):
    """A worker trains trials one after another, and would grow by a model each until Python collects its garbage."""
    job, trainer = job_for(1, tmp_path), LocalTrainer()
    trainer.begin([job])
    [attempt] = trainer._attempts.values()
    model = weakref.ref(attempt.run.member.model)
    del attempt
    gc.disable()
    try:
        trainer.release()
        assert model() is None
    finally:
        gc.enable()


def test_a_process_has_a_name_that_ray_can_show():
    """Ray fails on a title that is not ASCII, and its dashboard ends a title at a space."""
    assert title_of(specify(seed=3)) == "tiny-bert/demo/lora/seed-3"
    title = title_of(specify(dataset="données à moi"))
    assert title.isascii()
    assert " " not in title


@pytest.mark.slow
def test_the_seeds_of_a_configuration_share_the_time_for_checkpoints(tmp_path):
    trainer, jobs = LocalTrainer(), [job_for(seed, tmp_path) for seed in (1, 2)]
    assert [len(report.records) for report in trainer.step(jobs)] == [1, 1]
    assert [attempt.run.trials_in_process for attempt in trainer._attempts.values()] == [2, 2]
