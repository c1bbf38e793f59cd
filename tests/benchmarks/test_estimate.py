"""The comparison of predictions with measurements: rows of trials, of a whole preset and of a store."""

import pytest

from benchmarks import estimate
from benchmarks.support.whole_trial import Measured, measure
from tests.support.stores import GOLDEN
from tunekit.planning.speed import ProcessorSpeed


@pytest.mark.slow
def test_a_trial_that_fails_gives_no_row():
    with pytest.raises(RuntimeError, match="tiny-bert · demo · lora · seed 1"):
        measure(estimate.spec_of("tiny-bert", "demo", "lora", max_length=4), "tiny-bertt")


@pytest.mark.slow
def test_rows_and_factors(monkeypatch):
    monkeypatch.setattr(estimate, "measure", lambda spec, model: Measured(2.0, 2**30, 2**29))
    monkeypatch.setattr(estimate.machine, "cpu_flops_per_second", lambda: 1e11)
    figures = estimate.run(True).figures
    (row,) = figures["trials"]
    assert (row["seconds measured"], row["peak measured"], row["peak of the summary"]) == (2.0, 2**30, 2**29)
    factor = figures["seconds, factor between prediction and measurement"]
    assert factor["largest"] == factor["median"] == pytest.approx(2.0 / row["seconds predicted"])
    assert "preset demo" not in figures


def test_the_preset_takes_its_trials_in_turns(monkeypatch):
    monkeypatch.setattr(estimate.machine, "cores", lambda: 2)
    specs = [spec for spec in estimate.demo_specs() if spec.seed == 1]
    shapes = {"minilm": estimate.MODELS["minilm"].shape}
    nothing = estimate.ResultStore(GOLDEN / "nowhere").frames()
    timer = estimate.timer_for(specs, shapes, nothing, ProcessorSpeed(1e11))
    found = estimate.whole_demo(timer, [{"seconds measured": 10.0 * number} for number in (1, 2, 3)])
    assert found["seconds of its trials' processor time"] == pytest.approx(estimate.START_SECONDS + 60)
    assert "minutes" in found["said"]


def test_epochs_of_a_store_are_compared_by_cell():
    rows = estimate.stored_epochs(GOLDEN, ProcessorSpeed(1e11))
    assert {row["cell"] for row in rows} == {"tiny-bert demo full", "tiny-bert demo lora"}
    assert all(row["epochs"] == 9 and row["seconds stored"] > 0 and row["seconds predicted"] > 0 for row in rows)
