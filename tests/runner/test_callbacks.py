"""What the driver tells of trials' results."""

from types import SimpleNamespace

from tests.support.records import record
from tests.support.trials import specify
from tunekit.runner.callbacks import RetryCallback
from tunekit.store.result_store import ResultStore
from tunekit.tasks import TASKS
from tunekit.worker.report import TrialReport, tune_result, tune_result_of_seeds

CUT = "tiny-bert on demo: 3.0 % of texts cut to 8 tokens"


def trial(seed):
    spec = specify(seed=seed)
    return SimpleNamespace(
        trial_id=spec.trial_id, run_metadata=SimpleNamespace(num_failures=1), __str__=lambda self: spec.name
    )


def test_a_line_on_cut_texts_is_shown_once_and_notes_as_often_as_they_come(tmp_path):
    told: list[str] = []
    callback = RetryCallback(ResultStore(tmp_path), told.append)
    for seed in (1, 2):
        result = tune_result(TrialReport((), None, ["out of memory; trying again"], cut_line=CUT))
        callback.on_trial_result(0, [], trial(seed), result)
    callback.on_trial_result(0, [], trial(3), tune_result(TrialReport((), None, cut_line=f"{CUT} more")))
    callback.on_trial_result(0, [], trial(4), tune_result(TrialReport((), None)))
    assert [line for line in told if line.startswith("tiny-bert on")] == [CUT, f"{CUT} more"]
    assert sum("trying again" in line for line in told) == 2


def test_the_seeds_of_a_configuration_share_one_line_on_cut_texts():
    reports = [TrialReport([record(1)], None, cut_line=CUT) for _ in range(2)]
    assert tune_result_of_seeds(1, reports, TASKS["classification"].chooses_by)["cut"] == CUT
