"""Weights kept for export: which epochs', the same after a kill, and of one member of a pack as of a trial alone."""

import shutil

import pytest
import torch

from tests.support.runs import begin, finish
from tests.support.trials import specify
from tunekit.engine.checkpoint import trainable
from tunekit.engine.end_trial import end_trial
from tunekit.engine.kept_weights import identity_of, kept_epochs, read_weights, weights_file
from tunekit.errors import UserError
from tunekit.models.catalog import MODELS
from tunekit.planning.disk import checkpoint_bytes, kept_weights_bytes
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore

pytestmark = pytest.mark.slow

EPOCHS = 4


def spec_of(**changes):
    return specify(epochs=EPOCHS, learning_rate=5e-3, **changes)


@pytest.mark.parametrize("keep", ["none", "last", "best", "all"])
def test_what_is_kept(keep, tmp_path):
    run = begin(spec_of(), tmp_path, keep)
    summary = finish(run)
    expected = {"none": [], "last": [EPOCHS], "best": [summary.best_epoch], "all": [1, 2, 3, 4]}
    assert kept_epochs(run.folder) == expected[keep]
    assert (run.folder / "model").exists() == (keep != "none")


def test_kept_weights_are_those_of_the_epoch_and_the_trainable_ones_alone(tmp_path):
    run = begin(spec_of(), tmp_path, "all")
    after = []
    while not run.done:
        run.train_epoch()
        after.append({name: p.detach().clone() for name, p in trainable(run.member.model).items()})
    run.finish()
    for epoch, tensors in enumerate(after, 1):
        found = read_weights(run.folder, epoch, identity_of(run.spec, run.job.fingerprint))
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert oct(weights_file(run.folder, 1).stat().st_mode)[-3:] == "644"
    size, shape = weights_file(run.folder, 1).stat().st_size, MODELS[run.spec.model].shape
    assert size < checkpoint_bytes(run.spec, shape, 3) / 3 + 10_000
    assert kept_weights_bytes([run.spec], {run.spec.model: shape}, "all") <= size * EPOCHS


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a trial that was not killed, by what it keeps."""
    folders = {}
    for keep in ("last", "best", "all"):
        run = begin(spec_of(), tmp_path_factory.mktemp(keep), keep)
        finish(run)
        folders[keep] = run.folder
    return folders


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4])
@pytest.mark.parametrize("keep", ["last", "best", "all"])
def test_a_trial_that_was_killed_keeps_the_same(keep, killed_after, whole, tmp_path):
    spec = spec_of()
    broken = begin(spec, tmp_path / "broken", keep)
    for epoch in range(1, killed_after + 1):
        broken.write_seconds = 0.0 if epoch <= 2 else 1e6  # checkpoints of epochs 1 and 2 alone
        broken.train_epoch()
    again = begin(spec, tmp_path / "broken", keep)
    assert len(again.records) == min(killed_after, 2)
    finish(again)
    names = [path.name for path in sorted((whole[keep] / "model").iterdir())]
    assert [path.name for path in sorted((again.folder / "model").iterdir())] == names
    for name in names:
        assert (again.folder / "model" / name).read_bytes() == (whole[keep] / "model" / name).read_bytes()


def test_best_survives_until_no_checkpoint_leads_back(tmp_path):
    """A new best drops the former only when no checkpoint stands before it."""
    run = begin(spec_of(), tmp_path, "best")
    best = []
    for epoch in range(1, EPOCHS):
        run.last_checkpoint = -float("inf")
        run.train_epoch()
        scores = [record.val_macro_f1 for record in run.records]
        best.append(scores.index(max(scores)) + 1)
        assert kept_epochs(run.folder) == sorted(set(best[-2:])), epoch


@pytest.mark.parametrize("ended", [None, Status.STOPPED])
def test_a_trial_that_ends_early_keeps_its_best_alone(ended, tmp_path):
    run = begin(spec_of(), tmp_path, "best")
    for _ in range(3):
        run.last_checkpoint = -float("inf")
        run.train_epoch()
    if ended:
        end_trial(run.job, ended, "stopped by the scheduler")
    else:
        run.fail(Status.DIVERGED, "nan")
    scores = [record.val_macro_f1 for record in run.records]
    assert kept_epochs(run.folder) == [scores.index(max(scores)) + 1]


def test_without_a_validation_part_best_is_the_last(tmp_path):
    run = begin(spec_of(), tmp_path, "best")
    run.splits = {name: split for name, split in run.splits.items() if name != "val"}
    finish(run)
    assert kept_epochs(run.folder) == [EPOCHS]


def test_weights_of_another_trial_are_refused(tmp_path):
    one, other = (begin(spec_of(seed=seed), tmp_path, "last") for seed in (1, 2))
    for run in (one, other):
        finish(run)
    shutil.copy(weights_file(one.folder, EPOCHS), weights_file(other.folder, EPOCHS))
    identity = identity_of(other.spec, other.job.fingerprint)
    with pytest.raises(UserError, match="weights of another trial"):
        read_weights(other.folder, EPOCHS, identity)
    for content in (b"", b"\xff" * 100, b"\x08\0\0\0\0\0\0\0{}      "):
        weights_file(other.folder, EPOCHS).write_bytes(content)
        with pytest.raises(UserError):
            read_weights(other.folder, EPOCHS, identity)
    assert ResultStore(tmp_path).trials()[1] == []
