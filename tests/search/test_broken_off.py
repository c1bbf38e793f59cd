"""A search that is broken off anywhere goes on as if it had not been: simulated training, all else is real."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.support.search_simulation import Killed, Simulation, plan_for, score_of
from tunekit.schema import Status
from tunekit.search.choosing import select_configuration
from tunekit.search.outcome import objectives_on
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import Search, TrialState, study_lines

pytestmark = pytest.mark.slow

POINTS = 11
"""At which one search is killed, evenly spread over all that it writes."""


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch):
    """A kill loses nothing that was handed to the system, so that these tests need not wait for the disk."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def shown(studies):
    """What a study must have in common with an unbroken one."""
    return [[(t.number, dict(t.params), t.state, t.values, t.epochs) for t in study.trials] for study in studies]


def killed_at(step):
    count = iter(range(1, 10**9))

    def tick():
        if next(count) == step:
            raise Killed

    return tick


def steps_of(tmp_path, plans):
    """Points at which the search of ``plans`` can be killed."""
    seen = []
    result = Simulation(tmp_path / "unbroken", plans, tick=lambda: seen.append(1)).run()
    return len(seen), result


@pytest.mark.parametrize(("sampler", "scheduler"), [("tpe", "asha"), ("random", "none")])
def test_killed_anywhere_it_suggests_and_trains_what_an_unbroken_search_does(tmp_path, sampler, scheduler):
    plans = [plan_for(sampler=sampler, scheduler=scheduler, trials=6)]
    steps, unbroken = steps_of(tmp_path, plans)
    states = Counter(trial.state for trial in unbroken[0].trials)
    assert states[TrialState.PRUNED] > 0 if scheduler == "asha" else states[TrialState.PRUNED] == 0
    for step in range(1, steps + 1, steps // POINTS):
        root = tmp_path / f"kill-{step}"
        broken = Simulation(root, plans, tick=killed_at(step))
        with pytest.raises(Killed):
            broken.run()
        again = Simulation(root, plans)
        result = again.run()
        assert shown(result) == shown(unbroken), f"killed at step {step}"
        assert not set(broken.trained) & set(again.trained), f"killed at step {step}: an epoch was trained twice"


def test_killed_again_and_again_it_still_has_exactly_its_trials(tmp_path):
    plans = [plan_for(trials=6), plan_for("full", trials=6)]
    _, unbroken = steps_of(tmp_path, plans)
    trained, step = [], 5
    while True:
        simulation = Simulation(tmp_path / "broken", plans, tick=killed_at(step))
        try:
            result = simulation.run()
            break
        except Killed:
            step += 3
        finally:
            trained += simulation.trained
    assert shown(result) == shown(unbroken)
    assert max(Counter(trained).values()) == 1
    assert [len(study.trials) for study in result] == [6, 6]


@pytest.mark.parametrize("slots", [2, 4])
def test_several_at_a_time_no_suggestion_is_another_s_and_none_is_left_running(tmp_path, slots):
    plans = [plan_for(sampler="random", trials=9)]
    broken = Simulation(tmp_path, plans, slots=slots, tick=killed_at(150))
    with pytest.raises(Killed):
        broken.run()
    again = Simulation(tmp_path, plans, slots=slots)
    study = again.run()[0]
    assert [trial.number for trial in study.trials] == list(range(9))
    assert len({tuple(sorted(trial.params.items())) for trial in study.trials}) == 9
    assert not set(broken.trained) & set(again.trained)


def test_trials_is_a_total(tmp_path):
    plan = plan_for(trials=4)
    first = Simulation(tmp_path / "steps", [plan]).run()
    repeat = Simulation(tmp_path / "steps", [plan])
    assert shown(repeat.run()) == shown(first)
    assert repeat.trained == []
    longer = replace(plan, planned=7)
    grown = Simulation(tmp_path / "steps", [longer]).run()
    assert shown(grown) == shown(Simulation(tmp_path / "at once", [longer]).run())
    shorter = Simulation(tmp_path / "steps", [replace(plan, planned=2)])
    assert len(shorter.run()[0].trials) == 7
    assert shorter.trained == []


def test_the_default_is_trial_0_and_budgets_grow_evenly(tmp_path):
    plans = [plan_for(trials=3), plan_for("full", trials=3), plan_for("adapter", trials=3)]
    studies = Simulation(tmp_path, plans, slots=2).run()
    assert [len(study.trials) for study in studies] == [3, 3, 3]
    assert studies[0].trials[0].params == {"learning_rate": 5e-4, "r": 32, "lora_alpha": 8}
    assert studies[1].trials[0].params == {"learning_rate": 5e-5}
    assert studies[2].trials[0].params == {"learning_rate": 5e-4, "reduction_factor": 16}


def test_a_repeated_suggestion_is_answered_from_the_store(tmp_path):
    space = {"learning_rate": (5e-4, 1e-3), "r": (4, 32), "lora_alpha": (8,)}
    with pytest.raises(Exception, match="powers of two"):
        plan_for(space=space)
    plan = plan_for("full", space={"learning_rate": (5e-5, 1e-3)}, trials=9, sampler="random")
    for slots in (1, 3):
        simulation = Simulation(tmp_path / str(slots), [plan], slots=slots)
        study = simulation.run()[0]
        assert len(study.trials) == 9
        assert len(set(simulation.trained)) == len(simulation.trained) == 8, "two configurations of four epochs"
        assert sum(trial.epochs for trial in study.trials) == 8
        by_rate = {}
        for trial in study.trials:
            assert by_rate.setdefault(trial.params["learning_rate"], trial.values) == trial.values


def test_diverged_is_told_failed_and_pruned_is_told_pruned_with_its_curve(tmp_path):
    rates = {"learning_rate": (5e-4, 5e-3, 1e-3, 2e-5, 1e-4)}
    plan = plan_for(space=rates, sampler="random", scheduler="asha", trials=12, sampler_seed=1)
    simulation = Simulation(tmp_path, [plan])
    study = simulation.run()[0]
    states = {state: [t for t in study.trials if t.state is state] for state in TrialState}
    assert all(states.values()), {state: len(found) for state, found in states.items()}
    assert {t.params["learning_rate"] for t in states[TrialState.FAILED]} == {5e-3}
    assert all(t.values is None for t in states[TrialState.FAILED])
    store = ResultStore(tmp_path)
    for trial in states[TrialState.PRUNED]:
        stored = store.read(store.find_folder(trial.trial_ids[0]))
        assert stored.summary.status is Status.STOPPED
        assert trial.values == (max(record.val_macro_f1 for record in stored.epochs),)
    import optuna

    from tunekit.search.optuna_storage import open_storage

    optunas = optuna.load_study(study_name=f"sweep/{plan.key}", storage=open_storage(None, tmp_path)).trials
    assert {trial.state.name for trial in optunas} == {"COMPLETE", "PRUNED", "FAIL"}
    for trial in optunas:
        if trial.state.name == "PRUNED":
            assert list(trial.intermediate_values) == list(range(1, len(trial.intermediate_values) + 1))
            assert trial.intermediate_values


def test_the_objective_is_the_mean_over_search_seeds(tmp_path):
    plan = plan_for(seeds=(1001, 1002, 1003), trials=3)
    simulation = Simulation(tmp_path, [plan])
    study = simulation.run()[0]
    store = ResultStore(tmp_path)
    for trial in study.trials:
        specs = [store.read(store.find_folder(trial_id)).spec for trial_id in trial.trial_ids]
        assert [spec.seed for spec in specs] == [1001, 1002, 1003]
        expected = sum(score_of(spec, 4) for spec in specs) / 3
        assert trial.values == pytest.approx((expected,))
        assert trial.epochs == 12


def test_several_objectives_make_a_front(tmp_path):
    plan = plan_for(objectives=objectives_on("demo", ["macro_f1", "num_trainable_params"]), trials=6)
    study = Simulation(tmp_path, [plan]).run()[0]
    assert study.directions == ("maximize", "minimize")
    for trial in study.trials:
        assert trial.values[1] == trial.params["r"]


@pytest.mark.parametrize("scheduler", ["asha", "none"])
def test_a_score_of_which_less_is_better_is_minimised(tmp_path, scheduler):
    """A search by RMSE is the search by Pearson's r, which the made-up scores mirror, with the other direction."""
    found = {}
    for name in ("pearson", "rmse"):
        objectives = objectives_on("demo-regression", [name])
        plan = plan_for(
            dataset="demo-regression", objectives=objectives, scheduler=scheduler, sampler="random", trials=12
        )
        [found[name]] = Simulation(tmp_path / name, [plan]).run()
    up, down = found["pearson"], found["rmse"]
    assert (up.directions, down.directions) == (("maximize",), ("minimize",))
    assert [(one.params, one.state) for one in up.trials] == [(one.params, one.state) for one in down.trials]
    assert ("pruned" in {one.state.value for one in down.trials}) == (scheduler == "asha")
    for more, less in zip(up.trials, down.trials, strict=True):
        assert less.values == (None if more.values is None else pytest.approx((1 - more.values[0],)))
    best = min((one for one in down.trials if one.state.value == "complete"), key=lambda one: one.values)
    [line] = study_lines(Search((down,)))
    assert f"best RMSE on validation {min(one.values for one in down.trials if one.values)[0]:.4f}" in line
    chosen = select_configuration(ResultStore(tmp_path / "rmse"), down)
    assert chosen.best == best.number
    assert chosen.best == select_configuration(ResultStore(tmp_path / "pearson"), up).best


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_the_same_number_draws_the_same_and_another_number_another(tmp_path, sampler):
    plans = [plan_for(sampler=sampler, trials=7)]
    one, two = (shown(Simulation(tmp_path / name, plans).run()) for name in ("one", "two"))
    assert one == two
    other = shown(Simulation(tmp_path / "other", [plan_for(sampler=sampler, trials=7, sampler_seed=4)]).run())
    assert other[0][0] == one[0][0], "the default comes first under any seed"
    assert all(a[1] != b[1] for a, b in zip(one[0][1:], other[0][1:], strict=True))
