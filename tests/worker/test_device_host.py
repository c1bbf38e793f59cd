"""Packs as they are run: attempts side by side, the host that trains them, and what may go wrong with either."""

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.support.attempts import assert_as_alone, job_for, run_out, specs
from tests.support.trials import specify
from tunekit.engine import run as engine_run
from tunekit.engine.job import Job
from tunekit.engine.member import Member
from tunekit.engine.train import Pack
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore
from tunekit.worker import device_host as host_module
from tunekit.worker.attempt import Attempt
from tunekit.worker.device_host import DeviceHost
from tunekit.worker.pack_trainer import PackTrainer

pytestmark = pytest.mark.slow


def test_groups_train_as_packs_and_others_alone(tmp_path):
    many = [*specs(), specify(method="full"), *specs(method="adapter")[:2]]
    attempts = [Attempt(job_for(spec, tmp_path / "packed")) for spec in many]
    run_out(PackTrainer(8), attempts)
    for spec, size in zip(many, (3, 3, 3, 1, 2, 2), strict=True):
        assert_as_alone(spec, tmp_path / "packed", size)


def test_a_pack_goes_on_from_the_members_own_checkpoints(tmp_path):
    first, second, third = (job_for(spec, tmp_path / "packed") for spec in specs(epochs=3))
    for job in (first, second):
        Attempt(job).step()
    attempts = [Attempt(job) for job in (first, second, third)]
    run_out(PackTrainer(8), attempts)
    for job in (first, second, third):
        assert_as_alone(job.spec, tmp_path / "packed", 3)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_pack_spends_on_checkpoints_what_one_trial_spends(ahead, tmp_path, monkeypatch):
    """Trials that write one after another wait for each other's share; those that write side by side need not."""
    written = []
    monkeypatch.setattr(
        engine_run.checkpoint, "save_checkpoint", lambda folder, *args, **rest: written.append(folder.parent.name)
    )
    jobs = [job_for(spec, tmp_path, runs_ahead=ahead) for spec in specs(epochs=6)]
    attempts, trainer = [Attempt(job) for job in jobs], PackTrainer(3)

    def written_after(waited, count):
        """How many checkpoints are written once so many seconds have passed since the last, of 1 s each."""
        for attempt in attempts[:count]:
            attempt.run.write_seconds, attempt.run.last_checkpoint = 1.0, time.monotonic() - waited
        before = len(written)
        trainer.advance(attempts[:count])
        return len(written) - before

    trainer.advance(attempts)
    assert [attempt.run.trials_in_process for attempt in attempts] == [3, 3, 3]
    assert written_after(15, 3) == 0
    assert written_after(45, 3) == (3 if ahead else 0)
    assert written_after(75, 3) == 3
    for attempt in attempts[1:]:
        attempt.unload()
    assert written_after(25, 1) == 1


def test_a_pack_that_memory_does_not_hold_is_halved(tmp_path, monkeypatch):
    train = Pack.train_epoch

    def limited(self):
        if len(self.members) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return train(self)

    monkeypatch.setattr(Pack, "train_epoch", limited)
    many = [specify(seed=seed) for seed in (1, 2, 3, 4)]
    attempts = [Attempt(job_for(spec, tmp_path / "packed")) for spec in many]
    run_out(PackTrainer(4), attempts)
    for spec, attempt in zip(many, attempts, strict=True):
        assert attempt.notes == ["out of memory with 4 on the device; from here on 2 at a time"]
        assert_as_alone(spec, tmp_path / "packed", 2)


@pytest.fixture
def memory_for_two(monkeypatch):
    """A device that holds two models; a third one's optimizer finds no memory."""
    alive: weakref.WeakSet[Member] = weakref.WeakSet()

    def limited(self):
        if len(alive) >= 2:
            gc.collect()
        if len(alive) >= 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        made(self)
        alive.add(self)

    made = Member.__post_init__
    monkeypatch.setattr(Member, "__post_init__", limited)


def test_trials_of_which_memory_holds_two_take_turns_and_none_is_given_up(tmp_path, memory_for_two):
    many = [*specs(), *specs(method="full")]
    attempts = [Attempt(job_for(spec, tmp_path / "packed")) for spec in many]
    pack_trainer = PackTrainer(6)
    run_out(pack_trainer, attempts)
    assert pack_trainer.capacity == 1, "6, then 3"
    assert {one.status for one in attempts} == {Status.COMPLETED}
    assert {one.job.micro_batches for one in attempts} == {1}, "each has memory for whole batches when it is alone"


def test_a_host_lets_wait_whom_memory_does_not_hold(tmp_path, memory_for_two):
    jobs = [job_for(specify(seed=seed), tmp_path / "packed") for seed in (1, 2, 3, 4)]
    host = DeviceHost(4, end=no_end)
    assert all(host.place(job) for job in jobs)

    def to_its_end(job: Job) -> Status:
        while (report := host.step(job)).status is None:
            pass
        return report.status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(to_its_end, jobs)) == {Status.COMPLETED}
    assert host.pack_trainer.capacity == 2
    for job in jobs:
        assert_as_alone(job.spec, tmp_path / "packed", 2)


def test_trials_that_wait_for_each_other_pass_on_a_place_for_one(tmp_path, memory_for_two, monkeypatch):
    monkeypatch.setattr(host_module, "GRACE_SECONDS", 0.2)
    jobs = [job_for(specify(seed=seed), tmp_path / "packed") for seed in (1, 2)]
    host = DeviceHost(2, end=no_end)
    host.pack_trainer.capacity = 1
    for epoch in (1, 2):  # as a search's seeds do: none goes on before all are there
        assert [len(report.records) for report in ask_all(host, jobs)] == [epoch] * 2
    for job in jobs:
        assert_as_alone(job.spec, tmp_path / "packed", 1)


def test_memory_that_runs_out_as_a_pack_ends_costs_no_trial(tmp_path, monkeypatch):
    def broken(self):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")

    monkeypatch.setattr(Pack, "close", broken)
    jobs = [job_for(specify(seed=seed, epochs=epochs), tmp_path / "packed") for seed, epochs in ((1, 1), (2, 3))]
    attempts = [Attempt(job) for job in jobs]
    run_out(PackTrainer(2), attempts)
    assert attempts[1].notes == ["out of memory with 2 on the device; from here on 1 at a time"]
    for job, size in zip(jobs, (2, 1), strict=True):
        assert_as_alone(job.spec, tmp_path / "packed", size)


def test_a_member_that_diverges_ends_and_the_others_go_on(tmp_path):
    jobs = [job_for(spec, tmp_path / "packed") for spec in specs()]
    attempts = [Attempt(job) for job in jobs]
    pack_trainer = PackTrainer(8)
    pack_trainer.advance(attempts)
    with torch.no_grad():
        next(reversed(attempts[1].run.member.trained.values())).parameter.fill_(float("nan"))
    run_out(pack_trainer, attempts)
    assert [one.status for one in attempts] == [Status.COMPLETED, Status.DIVERGED, Status.COMPLETED]
    for job in (jobs[0], jobs[2]):
        assert_as_alone(job.spec, tmp_path / "packed", 3)


def test_a_member_whose_record_can_not_be_written_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    jobs = [job_for(spec, tmp_path / "packed") for spec in specs(epochs=3)]
    attempts = [Attempt(job) for job in jobs]
    write, broken = ResultStore.write_epochs, []

    def once(self, folder, records):
        if folder == attempts[2]._folder and len(records) == 2 and not broken:
            broken.append(folder)
            raise OSError(5, "Input/output error")
        write(self, folder, records)

    monkeypatch.setattr(ResultStore, "write_epochs", once)
    monkeypatch.setattr("tunekit.worker.attempt.IO_PAUSES_SECONDS", (0, 0))
    attempts[2]._pauses = [0]
    run_out(PackTrainer(8), attempts)
    assert broken
    assert any("I/O error" in line for line in attempts[2].notes)
    for job in jobs:
        assert_as_alone(job.spec, tmp_path / "packed", 3)


def no_end() -> None:
    """A host of a test must not end the test's process."""


def ask_all(host: DeviceHost, jobs: list[Job]) -> list[object]:
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(host.step, jobs))


def test_a_host_trains_who_asked_as_one_pack(tmp_path):
    jobs = [job_for(spec, tmp_path / "packed") for spec in specs()]
    host = DeviceHost(3, end=no_end)
    assert all(host.place(job) for job in jobs)
    assert not host.place(job_for(specify(seed=9), tmp_path)), "all places are taken"
    for epoch in (1, 2):
        reports = ask_all(host, jobs)
        assert [len(report.records) for report in reports] == [epoch] * 3
    assert {report.status for report in reports} == {Status.COMPLETED}
    assert host.place(job_for(specify(seed=9), tmp_path)), "the places are free again"
    for job in jobs:
        assert_as_alone(job.spec, tmp_path / "packed", 3)


def test_a_client_that_vanished_holds_up_an_epoch_only_for_a_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(host_module, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(host_module, "IDLE_SECONDS", 0.5)
    jobs = [job_for(spec, tmp_path / "packed") for spec in specs(epochs=6)]
    host = DeviceHost(3, end=no_end)
    assert all(host.place(job) for job in jobs)
    ask_all(host, jobs)
    for epoch in (2, 3, 4, 5):
        reports = ask_all(host, jobs[:2])  # the third asks no more
        assert [len(report.records) for report in reports] == [epoch] * 2
    assert jobs[2].spec.trial_id not in host._placements, "it was dropped"
    assert len(host.step(jobs[2]).records) == 2, "and may come back to go on from its checkpoint"


def test_a_host_that_nobody_asks_ends_itself(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(host_module, "IDLE_SECONDS", 0.1)
    DeviceHost(1, ended.set)
    assert ended.wait(10)


def test_a_retry_that_takes_the_place_while_the_last_epoch_trains_is_answered(tmp_path, monkeypatch):
    job = job_for(specify(epochs=1), tmp_path / "packed")
    host, joined = DeviceHost(1, end=no_end), threading.Event()
    begun = Attempt.begin

    def slow(self):
        joined.wait(30)
        begun(self)

    monkeypatch.setattr(Attempt, "begin", slow)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(host.step, job)  # its client then dies
        while not host._placements.get(job.spec.trial_id) or host._placements[job.spec.trial_id].attempt is None:
            time.sleep(0.01)
        assert host.place(job)
        retried = pool.submit(host.step, job)
        while host._placements[job.spec.trial_id].requested_since is None:
            time.sleep(0.01)
        joined.set()
        assert retried.result(30).status is Status.COMPLETED


def test_a_trial_that_leaves_is_waited_for_no_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(host_module, "GRACE_SECONDS", 600)  # a host that waits ends by the test's timeout
    jobs = [job_for(spec, tmp_path / "packed") for spec in specs(epochs=3)]
    host = DeviceHost(3, end=no_end)
    assert all(host.place(job) for job in jobs)
    ask_all(host, jobs)
    host.release(jobs[0].spec.trial_id)
    assert [len(report.records) for report in ask_all(host, jobs[1:])] == [2, 2]
    store = ResultStore(tmp_path / "packed")
    assert len(store.read(store.folder(jobs[0].spec)).epochs) == 1


def test_what_a_retry_may_mend_reaches_the_clients(tmp_path, monkeypatch):
    def broken(self):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(Pack, "train_epoch", broken)
    host = DeviceHost(2, end=no_end)
    jobs = [job_for(spec, tmp_path) for spec in specs()[:2]]
    with ThreadPoolExecutor(2) as pool:
        for answer in [pool.submit(host.step, job) for job in jobs]:
            with pytest.raises(RuntimeError, match="launch failure"):
                answer.result()
    monkeypatch.undo()
    assert [len(report.records) for report in ask_all(host, jobs)] == [1, 1]


def test_damaged_records_of_a_completed_trial_are_noted_and_the_trial_is_trained_again(tmp_path):
    job = job_for(specify(epochs=1), tmp_path)
    attempt = Attempt(job)
    while attempt.status is None:
        attempt.step()
    folder = ResultStore(tmp_path).folder(job.spec)
    (folder / "spec.json").unlink()  # what a claim of the folder leaves behind where nothing was readable
    again = Attempt(job)
    assert again.status is None
    assert "spec.json" in again.report().notes[0]
