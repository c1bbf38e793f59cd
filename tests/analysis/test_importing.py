"""Plain Ray Tune experiments, as Ray leaves them, become stores; what is missing or doubtful is said."""

import json
import pickle

import pytest

from analysis.__main__ import main
from analysis.cells import cells
from analysis.sweep_records import read_sweeps
from tests.support.pickles import Bomb
from tunekit.store.result_store import ResultStore

MAP = ["model=backbone", "dataset=task", "method:=full", "seed=seed", "metric=eval/f1"]


def ray_trial(root, name, config, scores, error=None, start=1):
    """A trial's folder in the form of Ray's JSON logger: an unsorted result a line, NaN as a bare token."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(config, indent=2))
    rows = [
        {"eval": {"f1": score}, "loss": 1 / n, "training_iteration": n, "time_this_iter_s": 2.0, "config": config}
        for n, score in enumerate(scores, start)
    ]
    with (folder / "result.json").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    if error:
        (folder / "error.txt").write_text(error)
    return folder


def config(seed, **changes):
    return {"backbone": "bert", "task": "news", "optim": {"lr": 1e-3}, "layers": [1, 2], "seed": seed, **changes}


@pytest.fixture
def experiment(tmp_path):
    for seed in (1, 2, 3):
        ray_trial(tmp_path / "exp", f"trial_{seed}", config(seed), [0.4, 0.5 + seed / 100])
    return tmp_path / "exp"


def run(experiment, *flags, mapping=MAP, out="store"):
    return main(["import", str(experiment), "--map", *mapping, "--out", str(experiment.parent / out), *flags])


def cells_of(experiment, out="store"):
    return cells(read_sweeps([experiment.parent / out]))


@pytest.mark.slow
def test_an_experiment_becomes_cells_that_keep_their_settings(experiment, capsys):
    ray_trial(experiment, "other", config(1, optim={"lr": 1e-4}), [0.1, 0.2])
    assert run(experiment) == 0
    first, other = sorted(cells_of(experiment), key=lambda cell: -len(cell.trials))
    assert first.by_seed("macro_f1") == {1: 0.51, 2: 0.52, 3: 0.53}
    assert (first.model, first.dataset, first.method) == ("bert", "news", "full")
    assert (first.variant, other.variant) == ("optim/lr 0.001", "optim/lr 1e-4")
    assert first.settings["layers"] == "[1, 2]"
    assert first.sample("train_seconds").mean == 4
    assert main([str(experiment.parent / "store"), "--out", str(experiment.parent / "out")]) == 0
    report = (experiment.parent / "out" / "report.md").read_text()
    assert "Eval/f1 (percent, test, last epoch)" in report
    assert "52.00 ± 1.00" in report
    assert "imported from exp" in report
    assert not list((experiment.parent / "out" / "tables").glob("*accuracy*"))
    capsys.readouterr()


def test_again_it_changes_nothing_but_what_is_new(experiment, capsys):
    assert run(experiment) == 0
    before = {cell.key: cell.by_seed("macro_f1") for cell in cells_of(experiment)}
    ray_trial(experiment, "trial_4", config(4), [0.4, 0.6])
    assert run(experiment) == 0
    (cell,) = cells_of(experiment)
    assert cell.by_seed("macro_f1") == {**before[cell.key], 4: 0.6}
    assert "seeds 4 of 1 cells" in read_sweeps([experiment.parent / "store"]).later_seeds[0]
    capsys.readouterr()


def test_validation_scores_are_shown_as_such(experiment, capsys):
    assert run(experiment, "--split", "val") == 0
    (cell,) = cells_of(experiment)
    assert (cell.split, cell.searched) == ("val", False)
    assert cell.by_seed("best_val_macro_f1") == {1: 0.51, 2: 0.52, 3: 0.53}
    capsys.readouterr()


def test_percent_is_asked_for_and_then_divided(experiment, capsys):
    for place in experiment.iterdir():
        text = (place / "result.json").read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        rows = [{**row, "eval": {"f1": 100 * row["eval"]["f1"]}} for row in rows]
        (place / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(experiment) == 2
    assert "add --percent" in capsys.readouterr().err
    assert run(experiment, "--percent") == 0
    assert cells_of(experiment)[0].by_seed("macro_f1")[1] == pytest.approx(0.51)


def test_how_a_trial_ended_is_read_off_its_files(experiment, capsys):
    traceback = 'Failure # 1\nray::train()\n  File "x.py", line 1, in train\n    raise\nValueError: too\nlong'
    ray_trial(experiment, "failed", config(4), [0.4], error=traceback)
    ray_trial(experiment, "diverged", config(5), [0.4, float("nan")])
    ray_trial(experiment, "stopped", config(6), [0.4])
    ray_trial(experiment, "mended", config(7), [0.4, 0.6], error=traceback)
    (experiment / "begun").mkdir()
    (experiment / "begun" / "params.json").write_text(json.dumps(config(8)))
    (experiment / "begun" / "result.json").write_text("")
    assert run(experiment) == 0
    (cell,) = cells_of(experiment)
    states = {run.seed: (run.status, run.error) for run in cell.trials}
    assert states[4] == ("failed", "ValueError: too")
    assert states[5] == ("diverged", "eval/f1 is no finite number at the last iteration")
    assert states[6] == ("stopped", "ended after 1 of the experiment's 2 iterations")
    assert states[7] == ("completed", None)
    assert states[8] == (None, None)
    assert sorted(cell.by_seed("macro_f1")) == [1, 2, 3, 7]
    capsys.readouterr()


def test_of_two_passes_the_later_counts_and_lost_rows_are_named(experiment, capsys):
    ray_trial(experiment, "again", config(4), [0.9, 0.9])
    ray_trial(experiment, "again", config(4), [0.3, 0.35])  # retried from the start
    ray_trial(experiment, "gap", config(5), [0.45], start=2)
    torn = ray_trial(experiment, "torn", config(6), [0.4, 0.5]) / "result.json"
    torn.write_text(torn.read_text()[:-40])
    assert run(experiment) == 0
    printed = capsys.readouterr().out
    assert "gap: iteration 1 is missing" in printed
    assert "result.json:2: JSONDecodeError" in printed
    (cell,) = cells_of(experiment)
    assert (cell.by_seed("macro_f1")[4], cell.by_seed("macro_f1")[5]) == (0.35, 0.45)
    assert 6 not in cell.by_seed("macro_f1")
    store = ResultStore(experiment.parent / "store")
    (gap,) = [trial for trial in store.trials()[0] if trial.spec.seed == 5]
    assert [record.test_macro_f1 for record in gap.epochs] == [None, 0.45]


def test_two_trials_of_one_seed_are_never_averaged(experiment, capsys):
    ray_trial(experiment, "twin", config(1), [0.4, 0.9])
    assert run(experiment) == 0
    assert "twin is left out: trial_1 has the same settings and seed" in capsys.readouterr().out
    assert cells_of(experiment)[0].by_seed("macro_f1")[1] == 0.51


@pytest.mark.slow
def test_settings_named_like_fields_of_a_spec_stay_apart(experiment, capsys):
    for method in ("a", "b"):
        ray_trial(experiment, method, config(1, method=method, epochs=9), [0.1, 0.2])
    assert run(experiment) == 0
    assert {cell.settings.get("config/method") for cell in cells_of(experiment)} == {None, "a", "b"}
    assert main([str(experiment.parent / "store"), "--out", str(experiment.parent / "out")]) == 0
    capsys.readouterr()


def test_pickles_are_never_read(experiment, tmp_path, capsys):
    mark = tmp_path / "executed"
    for place in (experiment, *experiment.iterdir()):
        for name in ("tuner.pkl", "params.pkl", "error.pkl", "experiment_state-2026.json"):
            (place / name).write_bytes(pickle.dumps(Bomb(mark)))
    assert run(experiment) == 0
    assert not mark.exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (["seed"], "takes NAME=KEY"),
        (["metrik=f1"], "did you mean 'metric'?"),
        (MAP[:-1], "lacks metric"),
        ([*MAP, "seed=seed"], "names seed twice"),
        ([*MAP[:3], "seed:=3", MAP[4]], "only model, dataset, method"),
        ([*MAP[:3], "seed=sed", MAP[4]], "did you mean 'seed'?"),
        ([*MAP[:3], "seed=optim/lr", MAP[4]], "a seed is a whole number"),
        ([*MAP[:4], "metric=f1"], "no trial reported 'f1', did you mean 'eval/f1'?"),
        ([*MAP[:4], "metric=time_this_iter_s"], "a score lies in [0, 1]"),
    ],
)
def test_a_bad_map_is_one_line(experiment, mapping, words, capsys):
    assert run(experiment, mapping=mapping) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (experiment.parent / "store").exists()


def damaged_params(experiment):
    (experiment / "trial_1" / "params.json").write_text("{")


def no_params(experiment):
    for place in experiment.iterdir():
        (place / "params.json").unlink()


def link(experiment):
    (experiment / "trial_1" / "result.json").unlink()
    (experiment / "trial_1" / "result.json").symlink_to("/etc/hostname")


def no_results(experiment):
    for place in experiment.iterdir():
        (place / "result.json").write_text("")


def other_sweep(experiment):
    store = ResultStore(experiment.parent / "store")
    store.root.mkdir()
    store.add_request({"cells": []})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damaged_params, "params.json: Expecting"),
        (no_params, "holds no trial"),
        (link, "links are not followed"),
        (no_results, "no trial reported a result"),
        (other_sweep, "that was not imported"),
    ],
)
def test_a_bad_experiment_is_one_line(experiment, damage, words, capsys):
    damage(experiment)
    assert run(experiment) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
