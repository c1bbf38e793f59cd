"""Stages of a benchmark run in processes of their own: what one has measured outlives its end, however it ends."""

import os
import time
from collections.abc import Iterator

import pytest

from benchmarks.support.harness import Outcome, Ratio
from benchmarks.support.stages import ERROR, Setting, Stage, chosen, run_stages
from tunekit.errors import UserError

QUICK = Setting(quick=True, model="tiny-bert")


def measures(setting: Setting) -> Iterator[Outcome]:
    yield Outcome({"first": Ratio(2.0, 1.0, 3.0)}, {"model": setting.model})
    yield Outcome(figures={"second": 2})


def fails(setting: Setting) -> Iterator[Outcome]:
    yield Outcome(figures={"before the error": 1})
    raise ValueError("the reason")


def dies(setting: Setting) -> Iterator[Outcome]:
    yield Outcome(figures={"before the death": 1})
    os._exit(9)


def hangs(setting: Setting) -> Iterator[Outcome]:
    time.sleep(600)
    yield Outcome()


@pytest.mark.slow
def test_each_stage_keeps_what_it_measured_and_the_next_one_runs():
    stages = {
        "failing": Stage(fails, 60), "dying": Stage(dies, 60), "hanging": Stage(hangs, 2), "good": Stage(measures, 60)
    }  # fmt: skip
    kept: list[Outcome] = []
    earlier = Outcome({"old": Ratio(1.0, 1.0, 1.0)}, {f"good{ERROR}": "an old error", "old": 0})
    found = run_stages(stages, QUICK, earlier, kept.append)
    assert set(found.ratios) == {"old", "first"}
    figures = dict(found.figures)
    assert "the reason" in figures.pop(f"failing{ERROR}")
    assert "exit code 9" in figures.pop(f"dying{ERROR}")
    assert "more than its 2 seconds" in figures.pop(f"hanging{ERROR}")
    assert {key: value for key, value in figures.items() if not key.endswith("seconds of the stage")} == {
        "old": 0, "before the error": 1, "before the death": 1, "model": "tiny-bert", "second": 2,
    }  # fmt: skip
    assert kept[0].figures["before the error"] == 1
    assert kept[-1] == found


def test_stages_are_chosen_by_name_in_the_order_of_the_command():
    stages = {"small": Stage(measures, 1), "base": Stage(fails, 1)}
    assert list(chosen(stages, ())) == ["small", "base"]
    assert list(chosen(stages, ("base", "small"))) == ["base", "small"]
    with pytest.raises(UserError, match="no stage 'bas'.*did you mean 'base'"):
        chosen(stages, ("bas",))


def test_a_machine_without_a_gpu_is_refused():
    with pytest.raises(UserError, match="torch finds none here"):
        run_stages({}, Setting(quick=False, model="minilm"), Outcome(), print)
