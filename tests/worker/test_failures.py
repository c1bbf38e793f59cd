"""Errors that are no accident end a trial at once, with their cause in one line and the traceback in log.txt."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.support.trials import fingerprint, specify
from tunekit.engine.job import Job
from tunekit.engine.train import Pack
from tunekit.models.loading import resolve_model
from tunekit.schema import Status, TrialSpec
from tunekit.store.result_store import ResultStore
from tunekit.worker import attempt as attempt_module
from tunekit.worker import device_host as host_module
from tunekit.worker import pack_trainer as pack_module
from tunekit.worker.attempt import Attempt
from tunekit.worker.device_host import DeviceHost
from tunekit.worker.failures import DeviceLost, Failure, classify
from tunekit.worker.pack_trainer import PackTrainer


def three_by_two() -> torch.Tensor:
    return torch.zeros(3, 2)


def endless() -> None:
    endless()


ERRORS = {
    "sizes": lambda: three_by_two() + torch.zeros(4, 2),
    "matrices": lambda: three_by_two() @ three_by_two(),
    "a linear module": lambda: F.linear(three_by_two(), torch.zeros(5, 3)),
    "batches of matrices": lambda: torch.bmm(torch.zeros(2, 3, 4), torch.zeros(2, 5, 6)),
    "a view": lambda: three_by_two().view(4, 4),
    "an expansion": lambda: three_by_two().expand(5, 2),
    "an embedding": lambda: F.embedding(torch.tensor([7]), three_by_two()),
    "an index": lambda: three_by_two()[torch.tensor([9])],
    "a gathered index": lambda: torch.gather(three_by_two(), 0, torch.tensor([[9, 9]])),
    "a selected index": lambda: three_by_two().index_select(0, torch.tensor([9])),
    "types": lambda: torch.zeros(2, 2) @ torch.zeros(2, 2, dtype=torch.int64),
    "no such type": lambda: torch.zeros(2, dtype=torch.int64).softmax(0),
    "a stack": lambda: torch.stack([torch.zeros(1), torch.zeros(2)]),
    "a concatenation": lambda: torch.cat([torch.zeros(1, 2), torch.zeros(1, 3)]),
    "a label": lambda: F.cross_entropy(three_by_two(), torch.tensor([0, 1, 2])),
    "labels": lambda: F.cross_entropy(three_by_two(), torch.tensor([0, 1])),
    "weights": lambda: torch.nn.Linear(2, 3).load_state_dict({"weight": torch.zeros(4, 4), "bias": torch.zeros(3)}),
    "no gradient": lambda: three_by_two().sum().backward(),
    "a dimension": lambda: three_by_two().sum(5),
    "a key": lambda: {}["classifier"],
    "an attribute": lambda: three_by_two().classifier,
    "a type": lambda: torch.zeros(three_by_two),
    "a number": lambda: int("many"),
    "a list": lambda: [][3],
    "a recursion": lambda: endless(),
    "a device": lambda: torch.zeros(2, device="meta") + torch.zeros(2),
    "a copy of no data": lambda: torch.zeros(2, device="meta").cpu(),
}


@pytest.mark.parametrize("what", ERRORS)
def test_what_no_retry_mends_is_a_defect(what):
    with pytest.raises(Exception) as caught:  # noqa: PT011, B017  # each library has types and words of its own
        ERRORS[what]()
    assert classify(caught.value) is Failure.DEFECT, caught.value


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: unspecified launch failure", "CUDA error: an illegal memory access was encountered",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_INTERNAL_ERROR when calling cublasSgemm",
        "CUDA error: uncorrectable ECC error encountered", "NCCL error: unhandled system error",
        "the device host has no answer", "DataLoader worker (pid 7) is killed by signal: Killed",
    ],
)  # fmt: skip
def test_accidents_keep_their_retries(text):
    assert classify(RuntimeError(text)) is Failure.OTHER


def job_for(spec: TrialSpec, sweep: Path) -> Job:
    return Job(spec, fingerprint(spec), resolve_model(spec.model), sweep, 0, 1)


def stored(job: Job):
    store = ResultStore(job.sweep)
    return store.read(store.folder(job.spec))


def log_of(job: Job) -> str:
    return (stored(job).folder / "log.txt").read_text(encoding="utf-8")


def test_a_defect_ends_a_trial_at_its_first_occurrence(tmp_path, monkeypatch):
    job, calls, train = job_for(specify(epochs=3), tmp_path), [], Pack.train_epoch

    def broken(pack):
        calls.append(pack)
        if len(calls) == 2:
            raise IndexError("index out of range in self\nand more lines")
        return train(pack)

    monkeypatch.setattr(Pack, "train_epoch", broken)
    attempt = Attempt(job)
    while attempt.status is None:
        attempt.step()
    summary = stored(job).summary
    assert (summary.status, summary.error) == (Status.FAILED, "IndexError: index out of range in self")
    assert (len(calls), len(stored(job).epochs)) == (2, 1), "one attempt, and what was recorded stays"
    assert "Traceback (most recent call last)" in log_of(job)
    assert 'raise IndexError("index out of range in self' in log_of(job)
    assert log_of(job).rstrip().endswith("failed: IndexError: index out of range in self")


def test_a_defect_while_a_trial_is_built_ends_it(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("classifier")

    monkeypatch.setattr("tunekit.engine.run.build_model", broken)
    job = job_for(specify(), tmp_path)
    attempt = Attempt(job)
    attempt.begin()
    assert attempt.status is Status.FAILED
    assert stored(job).summary.error == "KeyError: 'classifier'"
    assert "Traceback" in log_of(job)


def test_an_accident_is_raised_and_leaves_no_summary(tmp_path, monkeypatch):
    def broken(pack):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(Pack, "train_epoch", broken)
    job = job_for(specify(), tmp_path)
    with pytest.raises(RuntimeError, match="launch failure"):
        Attempt(job).step()
    assert stored(job).summary is None


@pytest.mark.slow
def test_of_a_pack_only_the_trial_at_fault_ends(tmp_path, monkeypatch):
    jobs, train = [job_for(specify(seed=seed, epochs=2), tmp_path) for seed in (1, 2, 3)], Pack.train_epoch

    def broken(pack):
        if any(member.spec.seed == 2 for member in pack.members):
            raise TypeError("no such number")
        return train(pack)

    monkeypatch.setattr(Pack, "train_epoch", broken)
    trainer, attempts = PackTrainer(3), [Attempt(job) for job in jobs]
    while left := [attempt for attempt in attempts if attempt.status is None]:
        assert not any(trainer.advance(left).values())
    assert [attempt.status for attempt in attempts] == [Status.COMPLETED, Status.FAILED, Status.COMPLETED]
    assert stored(jobs[1]).summary.error == "TypeError: no such number"
    assert [len(stored(job).epochs) for job in jobs] == [2, 0, 2]
    assert all("a pack of 3 met TypeError: no such number" in log_of(job) for job in jobs)


@pytest.fixture
def lost_device(monkeypatch):
    """A switch for a process that has lost its GPU."""
    state = {"lost": False}
    for module in (attempt_module, pack_module, host_module):
        monkeypatch.setattr(module, "device_is_lost", lambda: state["lost"])
    return state


@pytest.mark.slow
def test_trials_behind_a_device_assert_are_left_to_a_fresh_process(tmp_path, monkeypatch, lost_device):
    jobs = [job_for(specify(seed=seed, method=method), tmp_path) for seed, method in ((1, "lora"), (2, "full"))]

    def broken(pack):
        lost_device["lost"] = True
        raise RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(Pack, "train_epoch", broken)
    attempts = [Attempt(job) for job in jobs]
    outcomes = PackTrainer(2).advance(attempts)
    assert [attempt.status for attempt in attempts] == [Status.FAILED, None]
    assert isinstance(outcomes[attempts[1]], DeviceLost)
    assert classify(outcomes[attempts[1]]) is Failure.OTHER
    assert stored(jobs[0]).summary.error == "RuntimeError: CUDA error: device-side assert triggered"
    assert stored(jobs[1]).summary is None


@pytest.mark.slow
def test_a_host_that_has_lost_its_device_answers_and_ends(tmp_path, monkeypatch, lost_device):
    def broken(pack):
        lost_device["lost"] = True
        raise RuntimeError("CUDA error: device-side assert triggered")

    ended = []
    monkeypatch.setattr(host_module, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(Pack, "train_epoch", broken)
    job = job_for(specify(), tmp_path)
    report = DeviceHost(1, end=lambda: ended.append(True)).step(job)
    assert report.status is Status.FAILED
    for _ in range(100):
        if ended:
            break
        host_module.time.sleep(0.1)
    assert ended
