"""Early stopping by patience: the epochs of the trial without it up to its end, which is complete and resumes."""

import shutil
from dataclasses import replace

import pytest

import tunekit as tk
from analysis.statistics.patience import stopped
from tests.support.records import FINGERPRINT, record, summary
from tests.support.runs import begin, finish, numbers
from tests.support.trials import fingerprint, specify, start
from tunekit.engine.kept_weights import kept_epochs
from tunekit.errors import UserError
from tunekit.planning.plan import PlanState, make_plan, plan_sweep
from tunekit.schema import Status
from tunekit.search.outcome import objectives_on, outcome_of
from tunekit.store.result_store import ResultStore
from tunekit.tasks import TASKS
from tunekit.worker.attempt import Attempt
from tunekit.worker.report import OBJECTIVE, TrialReport, tune_result_of_seeds

SPEC = specify(method="full", epochs=8, learning_rate=5e-3, train_limit=96)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The trial that trains all epochs."""
    run = start(SPEC, tmp_path_factory.mktemp("whole"))
    finish(run)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("patience", [1, 2])
def test_a_trial_ends_where_its_best_score_has_not_risen_for_so_many_epochs(whole, patience, tmp_path):
    scores = [record.val_macro_f1 for record in whole.records]
    expected = stopped(scores, patience)
    assert expected.last < 8, "a trial that trains all epochs would agree with no patience at all"
    spec = replace(SPEC, patience=patience)
    run = begin(spec, tmp_path, "last")
    ended = finish(run)
    assert len(run.records) == expected.last
    # The learning rate falls over the epochs that were asked for.
    assert numbers(run.records) == numbers(whole.records)[: expected.last]
    assert (ended.status, ended.num_epochs, ended.best_epoch) == (Status.COMPLETED, expected.last, expected.kept)
    assert kept_epochs(run.folder) == [expected.last]
    (planned,) = make_plan([spec], {spec.trial_id: fingerprint(spec)}, ResultStore(tmp_path)).trials
    assert planned.state is PlanState.DONE
    again = Attempt(run.job)
    assert again.status is Status.COMPLETED


@pytest.mark.slow
def test_a_trial_that_was_killed_ends_at_the_same_epoch(whole, tmp_path):
    spec = replace(SPEC, patience=2)
    unbroken = begin(spec, tmp_path / "unbroken", "best")
    finish(unbroken)
    broken = begin(spec, tmp_path / "broken", "best")
    broken.train_epoch()
    broken.save(broken.records, broken.member.trained)
    if not broken.done:
        broken.train_epoch()
    resumed = begin(spec, tmp_path / "broken", "best")
    assert len(resumed.records) == 1
    finish(resumed)
    assert numbers(resumed.records) == numbers(unbroken.records)
    assert kept_epochs(resumed.folder) == kept_epochs(unbroken.folder) == [unbroken.finish().best_epoch]
    shutil.rmtree(tmp_path / "broken")


def test_a_patience_without_a_validation_part_is_refused_in_the_plan(tmp_path):
    block = {"models": ("tiny-bert",), "datasets": ("agnews_7k6",), "methods": ("full",), "seeds": (1,), "patience": 2}
    store = ResultStore(tmp_path)
    with pytest.raises(
        UserError, match="patience: agnews_7k6 has no validation part to look at; give a --val-fraction"
    ):
        plan_sweep(tk.plan(tk.Block(**block)), store)
    assert plan_sweep(tk.plan(tk.Block(**block, val_fraction=0.1)), store).count(PlanState.NEW) == 1


def curve(*scores):
    return [replace(record(epoch), val_macro_f1=score) for epoch, score in enumerate(scores, 1)]


def test_a_search_seed_that_patience_has_ended_counts_with_its_last_epoch():
    metric = TASKS["classification"].chooses_by
    ended, training = curve(0.5, 0.4), curve(0.2, 0.3, 0.7)
    reports = [TrialReport(ended, Status.COMPLETED), TrialReport(training[:2], None)]
    found = tune_result_of_seeds(2, reports, metric)
    assert (found["done"], found[OBJECTIVE]) == (False, pytest.approx(0.4))
    reports[1] = TrialReport(training, Status.COMPLETED)
    found = tune_result_of_seeds(3, reports, metric)
    assert (found["done"], found["val_macro_f1"], found[OBJECTIVE]) == (True, pytest.approx(0.55), pytest.approx(0.6))


def test_the_curve_of_a_configuration_goes_on_with_the_best_of_a_seed_that_has_ended(tmp_path):
    store, trials = ResultStore(tmp_path / "sweep"), []
    for seed, scores in ((1, (0.5, 0.4)), (2, (0.2, 0.3, 0.7))):
        spec = replace(SPEC, seed=seed, patience=1)
        folder = store.open_trial(spec, FINGERPRINT)
        store.write_epochs(folder, curve(*scores))
        store.write_summary(folder, replace(summary(Status.COMPLETED, None), num_epochs=len(scores)))
        trials.append(store.read(folder))
    found = outcome_of(trials, objectives_on("demo", None))
    assert found.curve == pytest.approx((0.35, 0.4, 0.6))
    assert found.values == pytest.approx((0.6,))
