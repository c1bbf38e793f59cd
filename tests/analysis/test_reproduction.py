"""`--against published`: whether a printed number was reproduced, by Welch's t from the printed mean, std and n."""

import numpy as np
import pytest
from scipy import stats

from analysis.cells import cells
from analysis.report.pages import markdown_sections
from analysis.report.published_section import answer, published_section, reproductions
from analysis.statistics.multiple import holm
from analysis.sweep_records import read_sweeps
from tests.support.stores import add
from tunekit.errors import UserError
from tunekit.store.result_store import ResultStore

PRINTED = (0.8602, 0.0060, 5)
"""RoBERTa on Restaurant: accuracy 86.02 ± 0.60 over 5 runs."""


@pytest.fixture
def found(tmp_path, make_spec):
    def make(scores, **fields):
        store = ResultStore(tmp_path / "sweep")
        for seed, score in enumerate(scores, 1):
            spec = {"model": "roberta", "dataset": "restaurant", "method": "full", "method_params": {}, **fields}
            add(store, make_spec(seed=seed, **spec), [score])
        return cells(read_sweeps([store.root]))

    return make


def answers(found, metrics=("accuracy",)):
    shown = reproductions(found, metrics)
    corrected = iter(holm([one.compared.p for one in shown if one.compared]))
    return {one.score.source: answer(one, next(corrected) if one.compared else None) for one in shown}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.855, 0.86, 0.865, 0.862], "reproduced within noise"),
        ([0.80, 0.81, 0.80, 0.805], "differs"),
        ([0.86, 0.865], "not testable: 2 seeds here, and a test takes 3"),
    ],
)
def test_the_answer_is_welchs_from_what_is_printed(found, scores, expected):
    own = found(scores)
    assert answers(own)["the study, Table 1"] == expected
    (one,) = [one for one in reproductions(own, ["accuracy"]) if one.score.table]
    if one.compared:
        mean, std, n = PRINTED
        p = stats.ttest_ind_from_stats(np.mean(scores), np.std(scores, ddof=1), len(scores), mean, std, n, False).pvalue
        assert one.compared.p == pytest.approx(p)


def test_a_number_without_a_standard_deviation_is_not_testable_and_says_so(found):
    said = answers(found([0.87, 0.88, 0.89]))
    assert "not testable: no standard deviation is printed" in said.values()


def test_of_several_settings_validation_chooses_and_without_it_there_is_no_answer(found, tmp_path, make_spec):
    own = found([0.85, 0.86, 0.87])
    own += [one for one in found([0.95, 0.96, 0.97], learning_rate=0.9) if one.settings["learning_rate"] == 0.9]
    text = markdown_sections([published_section(own, ["accuracy"])])
    assert "best mean macro-F1 on validation of 2 configurations" in text
    assert "86.00 ± 1.00 (n = 3)" in text  # the validation score is 1 - the test score
    assert "96.00" not in text


def test_grim_stands_beside(found):
    text = markdown_sections([published_section(found([0.86, 0.865, 0.87], method="adapter"), ["accuracy"])])
    assert "fits only if runs were rounded" in text


def test_a_cell_that_nobody_published_is_refused(found):
    with pytest.raises(UserError, match="published none of these cells"):
        published_section(found([0.5, 0.6, 0.7], dataset="mine"), ["accuracy"])
