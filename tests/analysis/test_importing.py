"""Plain Ray Tune experiments become stores; how each trial ended, and what is missing or doubtful, is said."""

import json
import pickle

import pytest

from analysis.__main__ import main
from analysis.cells import cells
from analysis.sweep_records import read_sweeps
from tests.support.pickles import Bomb
from tunekit.store.result_store import ResultStore

MAP = ["model=backbone", "dataset=task", "method:=full", "test_f1=eval/f1"]


def ray_trial(root, name, config, scores, error=None, start=1, **last):
    """A trial's folder in the form of Ray's JSON logger: an unsorted result a line, NaN as a bare token."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(config, indent=2))
    rows = [
        {"eval": {"f1": score}, "loss": 1 / n, "training_iteration": n, "time_this_iter_s": 2.0, "config": config}
        for n, score in enumerate(scores, start)
    ]
    if rows and last:
        rows[-1] |= last
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
    assert "F1 (percent, test, last epoch)" in report
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
    assert "seed 4 of 1 cell was asked for" in read_sweeps([experiment.parent / "store"]).later_seeds[0]
    capsys.readouterr()


def test_validation_scores_are_shown_as_such(experiment, capsys):
    assert run(experiment, mapping=[*MAP[:3], "val_f1=eval/f1"]) == 0
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
    """Without ``done: true`` and Ray's own state, only the lengths of the trials tell."""
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
    assert states[5] == ("diverged", "the last value of eval/f1 is no finite number")
    assert states[6][0] == "stopped"
    assert states[7] == ("completed", None)
    assert states[8] == (None, None)
    assert sorted(cell.by_seed("macro_f1")) == [1, 2, 3, 7]
    said = capsys.readouterr().out
    for line in (
        "completed: 3 trials",
        "stopped: 1 trial (stopped)",
        "failed: 1 trial (failed)",
        "unfinished: 1 trial",
    ):
        assert line in said


def state(experiment, **trials):
    """Write Ray's JSON state of an experiment; each trial is a text inside, as Ray writes it."""
    rows = [json.dumps({"relative_logdir": name, "status": word}) for name, word in trials.items()]
    content = {"trial_data": [[row, "{}"] for row in rows], "runner_data": {}, "stats": {}}
    (experiment / "experiment_state-2026-11-28_11-19-49.json").write_text(json.dumps(content))


@pytest.mark.parametrize("number_of_rows", [1, 2, 3])
def test_each_trial_that_ended_counts_with_its_own_last_row(experiment, number_of_rows, capsys):
    """Epochs as a setting and early stopping: a trial need not be as long as the longest."""
    scores = [0.3, 0.4, 0.45][:number_of_rows]
    ray_trial(experiment, "by-row", config(4), scores, done=True)
    ray_trial(experiment, "by-state", config(5), scores)
    ray_trial(experiment, "running", config(6), scores)
    ray_trial(experiment, "mended", config(7), scores, error="ValueError: the first attempt")
    ray_trial(experiment, "failed", config(8), scores, error="ValueError: gone")
    states = {"by-state": "TERMINATED", "running": "RUNNING", "mended": "TERMINATED", "failed": "ERROR"}
    state(experiment, **states, **{f"trial_{seed}": "TERMINATED" for seed in (1, 2, 3)})
    assert run(experiment) == 0
    (cell,) = cells_of(experiment)
    found = cell.by_seed("macro_f1")
    assert {seed: found[seed] for seed in (4, 5, 7)} == dict.fromkeys((4, 5, 7), scores[-1])
    assert {one.seed: one.status for one in cell.trials if one.seed in (6, 8)} == {6: None, 8: "failed"}
    said = capsys.readouterr().out
    assert "TERMINATED in Ray's experiment state" in said
    assert ("ended before the longest" in said) == (number_of_rows != 2)


def test_the_last_reported_value_counts_where_a_metric_is_reported_now_and_then(experiment, capsys):
    place = ray_trial(experiment, "gaps", config(4), [0.4, 0.6, 0.7], done=True) / "result.json"
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    del rows[2]["eval"]
    rows[0]["test"] = 0.55  # reported once, at the first iteration
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(experiment, mapping=[*MAP[:3], "val_f1=eval/f1", "test_f1=test"]) == 0
    (cell,) = cells_of(experiment)
    trial = next(one for one in cell.trials if one.seed == 4)
    assert trial.status == "completed"
    assert (trial.scores["val_macro_f1"], trial.scores["test_macro_f1"]) == (0.6, 0.55)
    assert "lack it in the last row; the last reported value counts" in capsys.readouterr().out


def test_what_is_chosen_on_validation_is_reported_on_test(experiment, capsys):
    """Both splits and several metrics in one import, those included that records have no field for."""
    for place in experiment.iterdir():
        rows = [json.loads(line) for line in (place / "result.json").read_text().splitlines()]
        rows = [{**row, "dev": 0.9 - row["eval"]["f1"], "acc": 0.7, "rho": -0.25} for row in rows]
        (place / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = ["val_f1=dev", "test_f1=eval/f1", "test_accuracy=acc", "test_spearman=rho", "val_spearman=rho"]
    assert run(experiment, mapping=[*MAP[:3], *scores]) == 0
    records = read_sweeps([experiment.parent / "store"])
    (best,) = cells(records, "best-val")
    assert best.by_seed("macro_f1") == dict.fromkeys((1, 2, 3), 0.4)
    (last,) = cells(records)
    assert last.by_seed("accuracy") == dict.fromkeys((1, 2, 3), 0.7)
    assert last.by_seed("spearman") == dict.fromkeys((1, 2, 3), -0.25)
    assert last.metric_names == {"macro_f1": "f1"}
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
    assert "left out: 1 trial (twin (as trial_1)): the same settings and seed" in capsys.readouterr().out
    (problem,) = read_sweeps([experiment.parent / "store"]).problems
    assert "left out: 1 trial (twin" in problem.detail
    assert cells_of(experiment)[0].by_seed("macro_f1")[1] == 0.51


def test_settings_named_like_fields_of_a_spec_stay_apart(experiment, capsys):
    for method in ("a", "b"):
        ray_trial(experiment, method, config(1, method=method, epochs=9), [0.1, 0.2])
    assert run(experiment) == 0
    assert {cell.settings.get("config/method") for cell in cells_of(experiment)} == {None, "a", "b"}
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
        (["metric=f1"], "a score is named by split and metric"),
        (["acuracy=f1"], "did you mean 'val_accuracy'?"),
        (["modl=f1"], "did you mean 'model'?"),
        (MAP[:-1], "lacks a score"),
        (MAP[1:], "lacks model"),
        ([*MAP, "test_f1=loss"], "names test_f1 twice"),
        ([*MAP, "seed:=3"], "only model, dataset, method, split"),
        ([*MAP, "split:=train"], "the split is val or test"),
        ([*MAP, "seed=sed"], "did you mean 'seed'?"),
        ([*MAP, "seed=optim/lr"], "a seed is a whole number"),
        ([*MAP[:3], "test_f1=f1"], "no trial reported 'f1', did you mean 'eval/f1'?"),
        ([*MAP[:3], "test_accuracy=time_this_iter_s"], "a score lies in [0, 1]"),
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
        (no_params, "holds no trial of a kind that is known"),
        (link, "links are not followed"),
        (no_results, "no trial reported"),
        (other_sweep, "that was not imported"),
    ],
)
def test_a_bad_experiment_is_one_line(experiment, damage, words, capsys):
    damage(experiment)
    assert run(experiment) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "mapping"),
    [((), [*MAP[:3], "val_f1=eval/f1"]), (("--ignore", "layers"), MAP), (("--kind", "ray"), [*MAP, "seed=seed"])],
)
def test_an_import_that_was_told_other_things_is_never_mixed_in(experiment, flags, mapping, capsys):
    assert run(experiment) == 0
    before = sorted((experiment.parent / "store" / "trials").iterdir())
    assert run(experiment, *flags, mapping=mapping) == 2
    assert "give another folder with --out" in capsys.readouterr().err
    assert sorted((experiment.parent / "store" / "trials").iterdir()) == before


def test_a_trial_without_seed_is_counted_and_left_out(experiment, capsys):
    ray_trial(experiment, "unseeded", {k: v for k, v in config(4).items() if k != "seed"}, [0.4, 0.6])
    ray_trial(experiment, "null", config(None), [0.4, 0.6])
    assert run(experiment) == 0
    said = capsys.readouterr().out
    assert "left out: 2 trials (null, unseeded): no seed" in said
    assert (
        "left out: 2 trials (null, unseeded): no seed" in read_sweeps([experiment.parent / "store"]).problems[0].detail
    )
