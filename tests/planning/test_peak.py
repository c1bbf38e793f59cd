"""The memory that a dry run expects before it reads texts, against what is predicted once they are read."""

from dataclasses import replace

import pytest

from tests.support.trials import build, specify, start
from tunekit.commands.costs import peak_of
from tunekit.engine.memory import predicted_peak
from tunekit.memory import is_followed
from tunekit.memory.trial import PROCESS_BYTES
from tunekit.methods.base import METHODS
from tunekit.models.catalog import MODELS
from tunekit.models.families import FAMILIES
from tunekit.models.loading import ModelRef, resolve_model
from tunekit.planning.peak import MOST_BATCHES, expected_batches
from tunekit.planning.sizes import SHARES, DatasetSize, declared_size

SIZE = DatasetSize({"train": 100, "test": 50}, (20.0,) * len(SHARES), 3)


def peak(size=SIZE, *, gpu=False, **changes):
    spec = specify(**{"model": "minilm", "max_length": 512, **changes})
    return peak_of(spec, resolve_model(spec.model), size, gpu=gpu)[0]


def test_longer_texts_larger_batches_and_more_trained_weights_take_more():
    found = peak()
    assert peak(replace(SIZE, lengths=(60.0,) * len(SHARES))) > found
    assert peak(replace(SIZE, lengths=(60.0,) * len(SHARES)), max_length=20) == found
    assert peak(batch_size=64) > found
    assert peak(method="full") > found


def test_a_cpu_s_peak_is_that_of_the_whole_process():
    assert peak() > PROCESS_BYTES + peak(gpu=True)


def test_batches_hold_every_row_once_an_epoch_up_to_a_number_of_batches():
    found = expected_batches(specify(batch_size=30, epochs=2, train_limit=None), SIZE)
    assert [len(batch) for batch in found] == [30, 30, 30, 10] * 2
    assert len(expected_batches(specify(batch_size=1, epochs=9, train_limit=None), SIZE)) == MOST_BATCHES


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "adapter"])
def test_a_dry_run_expects_what_is_predicted_once_texts_are_read(method):
    spec = specify(model="minilm", method=method, train_limit=None, batch_size=8, epochs=3)
    prepared, model = build(spec)
    for gpu in (False, True):
        predicted = predicted_peak(spec, model.config.to_dict(), prepared.splits, 3, gpu=gpu)
        assert peak(declared_size("demo"), gpu=gpu, **vars(spec)) == pytest.approx(predicted, rel=0.03)


def test_a_summary_holds_that_prediction_and_no_other(tmp_path):
    run = start(specify(), tmp_path)
    config = run.member.model.config.to_dict()
    assert run.facts.predicted_memory_bytes == predicted_peak(run.spec, config, run.splits, 3, gpu=False)


def test_a_method_without_a_closed_form_is_measured_and_says_so(monkeypatch):
    plain = peak(model="tiny-bert", method="full")
    monkeypatch.setitem(METHODS._items, "own", METHODS["full"])
    found, note = peak_of(specify(method="own"), resolve_model("tiny-bert"), SIZE, gpu=False)
    assert note == "no closed form (method 'own'): measured by a step"
    assert found == pytest.approx(plain, rel=0.02)


def test_a_model_that_is_not_here_yet_says_so():
    ref = ModelRef("nobody/nothing", "0" * 40)
    assert peak_of(specify(model="nobody/nothing"), ref, SIZE, gpu=False) == (None, "its config.json is not here yet")


@pytest.mark.slow
def test_every_registered_model_has_a_peak(monkeypatch):
    """Models whose memory is measured have one layer and few words here: a step of all their layers takes a minute."""
    measured = []
    for name in MODELS:
        info = MODELS[name]
        if not is_followed(info.shape):
            small = replace(info.shape, num_hidden_layers=1, vocab_size=2_000)
            monkeypatch.setitem(MODELS._items, name, replace(info, shape=small))
            measured.append(info.shape.model_type)
        peak, note = peak_of(specify(model=name), ModelRef(name, "x"), SIZE, gpu=False)
        assert peak > PROCESS_BYTES
        assert ("measured by a step" in note) == (not is_followed(info.shape)), name
    assert set(measured) == {kind for kind, family in FAMILIES.items() if family.padded}
