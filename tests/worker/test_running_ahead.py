"""Trials that record an epoch while they train the next one: the bits of trials that don't, whatever goes wrong."""

import threading
from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.attempts import assert_as_alone, job_for, run_out, specs
from tests.support.device import eager_steps
from tests.support.packs import member_of, specs_of
from tests.support.runs import finish, numbers
from tests.support.trials import specify, start
from tunekit.engine import run as engine_run
from tunekit.engine import train as engine_train
from tunekit.engine.buffers import Trained
from tunekit.engine.checkpoint import checkpoints
from tunekit.engine.run import TrialRun
from tunekit.engine.train import Pack
from tunekit.schema import Status, TrialSpec
from tunekit.storage.lease import Superseded
from tunekit.store.records import StoredTrial
from tunekit.store.result_store import ResultStore
from tunekit.worker import attempt as attempt_module
from tunekit.worker.attempt import Attempt
from tunekit.worker.device_host import DeviceHost
from tunekit.worker.pack_trainer import PackTrainer

pytestmark = pytest.mark.slow

EPOCHS = 4
SPEC = specify(epochs=EPOCHS)
FULL = OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(attempt_module, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> TrialRun:
    """The trial of SPEC, which recorded each epoch before the next."""
    run = start(SPEC, tmp_path_factory.mktemp("whole"))
    finish(run)
    return run


def stored(sweep: Path, spec: TrialSpec = SPEC) -> StoredTrial:
    return ResultStore(sweep).read(ResultStore(sweep).folder(spec))


def to_its_end(attempt: Attempt) -> StoredTrial:
    while attempt.status is None:
        attempt.step()
    return stored(attempt.job.sweep, attempt.job.spec)


def assert_same(trial: StoredTrial, run: TrialRun) -> None:
    """The files of a completed trial hold what those of the unbroken one do."""
    assert trial.summary.status is Status.COMPLETED
    assert numbers(trial.epochs) == numbers(run.records)
    assert (trial.folder / "steps.csv").read_bytes() == (run.folder / "steps.csv").read_bytes()
    ours, theirs = (pd.read_parquet(folder / "predictions.parquet") for folder in (trial.folder, run.folder))
    assert ours.map(str).equals(theirs.map(str))
    assert not (trial.folder / "checkpoint").exists()


def test_each_step_reports_one_epoch_and_the_bits_are_those_of_a_trial_that_waits(tmp_path, whole):
    attempt = Attempt(job_for(SPEC, tmp_path, runs_ahead=True))
    for epoch in range(1, EPOCHS + 1):
        attempt.step()
        assert len(attempt.report().records) == len(stored(tmp_path).epochs) == epoch
        trained = attempt.run.member.step // attempt.run.member.steps_per_epoch
        assert trained == min(epoch + 1, EPOCHS), "it is one epoch further"
    assert attempt.status is Status.COMPLETED
    assert_same(stored(tmp_path), whole)


def test_steps_of_a_device_run_ahead_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_train, "steps_for", eager_steps)
    run = start(SPEC, tmp_path / "whole")
    finish(run)
    assert_same(to_its_end(Attempt(job_for(SPEC, tmp_path / "ahead", runs_ahead=True))), run)


def test_an_epoch_is_recorded_while_the_next_one_trains(tmp_path, monkeypatch):
    begun, epochs = threading.Event(), count(1)
    train, write = Pack.train_epoch, ResultStore.write_epochs

    def trained(self):
        if next(epochs) == 3:
            begun.set()
        return train(self)

    def written(self, folder, records):
        if len(records) == 2:
            assert begun.wait(60), "the third epoch did not begin before the second was recorded"
        write(self, folder, records)

    monkeypatch.setattr(Pack, "train_epoch", trained)
    monkeypatch.setattr(ResultStore, "write_epochs", written)
    monkeypatch.setattr(engine_run, "CHECKPOINT_SPACING", 0)
    attempt = Attempt(job_for(SPEC, tmp_path, runs_ahead=True))
    attempt.step()
    attempt.step()
    assert len(stored(tmp_path).epochs) == 2


@pytest.mark.parametrize(
    ("keep", "most_copied"), [("none", 2**20), ("none", 0), ("last", 2**20), ("best", 2**20), ("all", 0)]
)
def test_weights_are_those_of_their_epoch(keep, most_copied, tmp_path, monkeypatch):
    """Checkpoints are written from copies, or before the next epoch where copies would be too large."""
    monkeypatch.setattr(engine_run, "MOST_COPIED_BYTES", most_copied)
    monkeypatch.setattr(engine_run, "CHECKPOINT_SPACING", 0)
    written = {}
    for name, ahead in (("waits", False), ("ahead", True)):
        attempt = Attempt(replace(job_for(SPEC, tmp_path / name, runs_ahead=ahead), keep_models=keep))
        for _ in range(EPOCHS - 1):
            attempt.step()
        written[name] = {path.name: files_of(path) for path in checkpoints(attempt.run.folder / "checkpoint")}
        to_its_end(attempt)
    assert written["waits"] == written["ahead"]
    kept = [files_of(stored(tmp_path / name).folder / "model") for name in ("waits", "ahead")]
    assert kept[0] == kept[1]
    assert bool(kept[0]) == (keep != "none")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def poison(attempt: Attempt) -> None:
    with torch.no_grad():
        attempt.run.member.model.classifier.weight.fill_(float("nan"))


def test_divergence_ends_a_trial_with_the_epochs_before_it(tmp_path):
    attempt = Attempt(job_for(SPEC, tmp_path, runs_ahead=True))
    attempt.step()  # the second epoch is trained, too
    poison(attempt)
    attempt.step()
    trial = stored(tmp_path)
    assert (attempt.status, len(trial.epochs), trial.summary.num_epochs) == (Status.DIVERGED, 2, 2)
    assert "(epoch 3)" in trial.summary.error


def test_a_superseded_trial_records_neither_epoch(tmp_path, monkeypatch):
    attempt = Attempt(job_for(SPEC, tmp_path, runs_ahead=True))
    attempt.step()
    before = (attempt.run.folder / "epochs.jsonl").read_bytes()

    def superseded(sweep, start):
        raise Superseded("a later start owns the sweep")

    monkeypatch.setattr(engine_run, "check_current", superseded)
    with pytest.raises(Superseded):
        attempt.step()
    assert (attempt.run.folder / "epochs.jsonl").read_bytes() == before
    assert len(attempt.report().records) == 1


def test_a_defect_in_the_epoch_ahead_leaves_the_one_before_on_record(tmp_path, monkeypatch):
    attempt = Attempt(job_for(SPEC, tmp_path, runs_ahead=True))
    attempt.step()
    attempt.run.write_seconds = 1e6

    def broken(self):
        raise IndexError("index out of range in self")

    monkeypatch.setattr(Pack, "train_epoch", broken)
    attempt.step()
    trial = stored(tmp_path)
    assert (attempt.status, len(trial.epochs), trial.summary.num_epochs) == (Status.FAILED, 2, 2)


def test_both_the_record_and_the_epoch_ahead_may_fail(tmp_path, monkeypatch, whole):
    attempt = Attempt(job_for(SPEC, tmp_path, runs_ahead=True))
    attempt.step()
    attempt.run.write_seconds = 1e6
    with monkeypatch.context() as broken:
        broken.setattr(Pack, "train_epoch", raising(RuntimeError("CUDA error: unspecified launch failure")))
        broken.setattr(ResultStore, "write_epochs", raising(FULL))
        with pytest.raises(RuntimeError, match="launch failure"):
            attempt.step()
    assert any("could not be recorded" in line for line in attempt.report().notes)
    assert len(stored(tmp_path).epochs) == 1
    assert_same(to_its_end(Attempt(attempt.job)), whole)


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


PLACES = ("write_steps", "write_predictions", "write_epochs", "write_summary", "checkpoint", "train")
FAULTS = st.dictionaries(
    st.tuples(st.sampled_from(PLACES), st.integers(1, 7)), st.sampled_from(("disk", "process")), max_size=4
)


@given(faults=FAULTS, spacing=st.sampled_from([0, 1e9]))
@settings(max_examples=8, deadline=None)
def test_whatever_fails_whole_epochs_are_stored_in_order_and_no_bit_moves(faults, spacing, whole, tmp_path_factory):
    """Each fault is met at the n-th call of a place: a full disk, or the end of the process."""
    sweep, calls = tmp_path_factory.mktemp("faults"), Counter()
    expected = numbers(whole.records)

    def failing(owner, name, place):
        inner = getattr(owner, name)

        def call(*args, **kwargs):
            calls[place] += 1
            fault = faults.get((place, calls[place]))
            if fault == "disk" and place != "train":
                raise FULL
            if fault:
                raise RuntimeError("CUDA error: unspecified launch failure")
            return inner(*args, **kwargs)

        patched.setattr(owner, name, call)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine_run, "CHECKPOINT_SPACING", spacing)
        for name in PLACES[:4]:
            failing(ResultStore, name, name)
        failing(engine_run.checkpoint, "save_checkpoint", "checkpoint")
        failing(Pack, "train_epoch", "train")
        job = job_for(SPEC, sweep, runs_ahead=True)
        attempt = Attempt(job)
        while attempt.status is None:
            try:
                attempt.step()
            except (RuntimeError, OSError):
                attempt = Attempt(job)  # as Tune does, in a fresh process
            if (ResultStore(sweep).folder(SPEC) / "epochs.jsonl").exists():
                found = numbers(stored(sweep).epochs)
                assert found == expected[: len(found)]
                assert len(attempt.records) <= len(found)
    assert_same(stored(sweep), whole)


# -- packs -------------------------------------------------------------------------------------------------------------


def attempts_of(sweep: Path, many: list[TrialSpec]) -> list[Attempt]:
    return [Attempt(job_for(spec, sweep, runs_ahead=True)) for spec in many]


def test_groups_and_others_run_ahead_as_alone(tmp_path):
    many = [*specs(epochs=3), specify(method="full"), *specs(method="adapter")[:2]]
    run_out(PackTrainer(8), attempts_of(tmp_path / "packed", many))
    for spec, size in zip(many, (3, 3, 3, 1, 2, 2), strict=True):
        assert_as_alone(spec, tmp_path / "packed", size)


def test_a_trial_joins_a_pack_that_runs_ahead_and_others_leave_it(tmp_path):
    many = [specify(seed=1, epochs=2), specify(seed=2, epochs=5), specify(seed=3, epochs=3)]
    pack_trainer, attempts = PackTrainer(8), attempts_of(tmp_path / "packed", many)
    assert pack_trainer.advance(attempts[:2]) == {}, "both hold their first epoch"
    assert set(pack_trainer.advance(attempts[:2])) == set(attempts[:2])
    assert [len(one.records) for one in attempts[:2]] == [1, 1]
    assert set(pack_trainer.advance(attempts)) == set(attempts[:2]), "the third holds its first epoch"
    run_out(pack_trainer, attempts)
    for spec, size in zip(many, (2, 2, 2), strict=True):
        assert_as_alone(spec, tmp_path / "packed", size)


def test_a_member_that_diverges_ends_and_the_others_go_on(tmp_path):
    attempts = attempts_of(tmp_path / "packed", specs(epochs=EPOCHS))
    pack_trainer = PackTrainer(8)
    for _ in range(2):
        pack_trainer.advance(attempts)
    with torch.no_grad():
        next(reversed(attempts[1].run.member.trained.values())).parameter.fill_(float("nan"))
    run_out(pack_trainer, attempts)
    assert [one.status for one in attempts] == [Status.COMPLETED, Status.DIVERGED, Status.COMPLETED]
    assert len(stored(tmp_path / "packed", attempts[1].job.spec).epochs) == 2
    for index in (0, 2):
        assert_as_alone(attempts[index].job.spec, tmp_path / "packed", 3)


def test_memory_that_runs_out_in_an_epoch_ahead_costs_no_record(tmp_path, monkeypatch):
    train, largest = Pack.train_epoch, {"pack": 4}

    def limited(self):
        if len(self.members) > largest["pack"]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return train(self)

    monkeypatch.setattr(Pack, "train_epoch", limited)
    many = [specify(seed=seed, epochs=EPOCHS) for seed in (1, 2, 3, 4)]
    pack_trainer, attempts = PackTrainer(4), attempts_of(tmp_path / "packed", many)
    for _ in range(2):
        pack_trainer.advance(attempts)
    largest["pack"] = 2
    assert pack_trainer.advance(attempts) == {}
    assert [len(stored(tmp_path / "packed", spec).epochs) for spec in many] == [2] * 4
    run_out(pack_trainer, attempts)
    for spec in many:
        assert_as_alone(spec, tmp_path / "packed", 2)


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_trial_that_makes_room_records_what_it_holds(epochs, tmp_path):
    many = [specify(seed=seed, epochs=epochs) for seed in (1, 2)]
    pack_trainer, attempts = PackTrainer(1), attempts_of(tmp_path / "packed", many)
    pack_trainer.advance(attempts[:1])
    assert (attempts[0].run.member.step, len(attempts[0].records)) == (4, 1)
    pack_trainer.advance(attempts[1:])
    assert attempts[0].run is None
    assert len(stored(tmp_path / "packed", many[0]).epochs) == 2
    run_out(pack_trainer, attempts)
    for spec in many:
        assert_as_alone(spec, tmp_path / "packed", 1)


def test_a_member_whose_record_can_not_be_written_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    attempts = attempts_of(tmp_path / "packed", specs(epochs=EPOCHS))
    write, broken = ResultStore.write_epochs, []

    def once(self, folder, records):
        if folder == attempts[2]._folder and len(records) == 2 and not broken:
            broken.append(folder)
            raise FULL
        write(self, folder, records)

    monkeypatch.setattr(ResultStore, "write_epochs", once)
    run_out(PackTrainer(8), attempts)
    assert broken
    assert any("I/O error" in line for line in attempts[2].notes)
    for one in attempts:
        assert_as_alone(one.job.spec, tmp_path / "packed", 3)


def test_clients_of_a_host_get_one_epoch_an_answer_and_a_late_one_joins_the_pack(tmp_path):
    many = [specify(seed=seed, epochs=epochs) for seed, epochs in ((1, 6), (2, 6), (3, 3))]
    jobs = [job_for(spec, tmp_path / "packed", runs_ahead=True) for spec in many]
    host, joins, seen = DeviceHost(3, end=lambda: None), threading.Event(), {job.spec.seed: [] for job in jobs}

    def client(job):
        if job.spec.seed == 3:
            assert joins.wait(60)
        assert host.place(job)
        while (report := host.step(job)).status is None:
            seen[job.spec.seed].append(len(report.records))
            if len(report.records) == 2:
                joins.set()

    threads = [threading.Thread(target=client, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    for job in jobs:
        assert seen[job.spec.seed] == list(range(1, job.spec.epochs))
        assert_as_alone(job.spec, tmp_path / "packed", 3)


def test_a_copy_of_a_members_weights_and_moments_stays_as_it_was():
    members = [member_of(spec) for spec in specs_of("lora")]  # of other ranks
    pack = Pack(members)
    pack.train_epoch()
    copies = [member.state_on_host() for member in members]
    for member, copy in zip(members, copies, strict=True):
        assert list(copy) == list(member.trained)
        for name, one in member.trained.items():
            for ours, theirs in zip(tensors(copy[name]), tensors(one), strict=True):
                assert torch.equal(ours, theirs)
    before = [tensor.clone() for copy in copies for one in copy.values() for tensor in tensors(one)]
    pack.train_epoch()
    after = [tensor for copy in copies for one in copy.values() for tensor in tensors(one)]
    assert all(map(torch.equal, before, after))
    assert not torch.equal(copies[0]["classifier.weight"].parameter, members[0].trained["classifier.weight"].parameter)


def tensors(one: Trained) -> tuple[torch.Tensor, ...]:
    return one.parameter.detach(), one.first, one.second
