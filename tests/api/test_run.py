"""``tk.run`` is the grid's own code, on Ray."""

import pytest

import tunekit as tk

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def test_a_plan_is_run_and_run_again(tmp_path, capsys):
    plan = tk.plan(
        tk.Block(models=("tiny-bert",), datasets=("demo",), methods=("lora",), seeds=(1, 2), epochs=1, train_limit=48)
    )
    results = tk.run(plan, tmp_path / "mine", keep_models="best", max_concurrent=1)
    assert sorted(results.trials["seed"]) == [1, 2]
    assert set(results.trials["status"]) == {"completed"}
    assert capsys.readouterr().out == ""
    again = tk.run(plan, tmp_path / "mine")
    assert "nothing to do" in capsys.readouterr().err
    assert list(again.trials["trial_id"]) == list(results.trials["trial_id"])
