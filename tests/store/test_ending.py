"""How a trial ended, wherever it is shown: a trial that patience has stopped says so, at which epoch of how many."""

import pytest

from analysis.report.evidence import trials_section
from analysis.report.summary import about_section
from analysis.results import load
from analysis.tables.build import build
from analysis.tables.specs import default_specs
from tests.support.stores import add, ask
from tests.support.trials import specify
from tunekit.commands.status import status_as_json, summary_lines
from tunekit.runner.actor import line_of
from tunekit.schema import Status
from tunekit.store.ending import ending
from tunekit.store.progress import ProgressReader
from tunekit.store.result_store import ResultStore
from tunekit.worker.report import TrialReport

SPECS = [specify(seed=seed, epochs=4, patience=1) for seed in (1, 2)]
"""The scores of the first rise until its epoch 2, those of the second until its end."""


@pytest.fixture
def store(tmp_path):
    found = ResultStore(tmp_path / "sweep")
    found.root.mkdir()
    ask(found, SPECS)
    add(found, SPECS[0], scores=(0.5, 0.25, 0.75))
    add(found, SPECS[1], scores=(0.5, 0.25, 0.2, 0.1))
    return found


def test_only_a_completed_trial_with_fewer_epochs_than_asked_for_was_stopped_by_patience():
    asked = {"patience": 1, "epochs": 4}
    assert ending(asked, "completed", 3) == "completed, stopped by patience at epoch 3 of 4"
    for settings, status, epochs in [
        (asked, "completed", 4), (asked, "stopped", 3), (asked, "diverged", 3), (asked, "completed", None),
        ({"patience": None, "epochs": 4}, "completed", 3), ({"epochs": None}, "completed", 3),
    ]:  # fmt: skip
        assert ending(settings, status, epochs) == status


def test_status_says_it_of_the_trial_and_counts_such_trials(store):
    progress = ProgressReader(store.root).read()
    assert [trial.text for trial in progress.trials] == ["done 3/4 (patience) 75.00", "done 10.00"]
    assert "trials: 2 done (1 stopped by patience)" in summary_lines(progress)
    assert [trial["stopped_by_patience"] for trial in status_as_json(progress)["trials"]] == [True, False]


def test_tables_reports_and_frames_say_it(store):
    results = load(store.root)
    assert results.trials.set_index("seed")["stopped_by_patience"].to_dict() == {1: True, 2: False}
    cells = results.cells()
    [spec, *_] = default_specs(cells, ["macro_f1"])
    assert "a: 1 of 2 trials stopped by patience." in build(spec).notes
    [section] = trials_section(results.records, cells, store.root).parts
    [rows] = [block.rows for block in section.blocks if hasattr(block, "rows")]
    assert [row[1] for row in rows] == ["completed, stopped by patience at epoch 3 of 4", "completed"]
    about = str(about_section(results.records, cells, [], "last"))
    assert "2 trials: 2 completed (1 of them stopped by patience)" in about


def test_a_store_without_patience_has_no_such_column_and_note(tmp_path):
    store = ResultStore(tmp_path / "sweep")
    store.root.mkdir()
    spec = specify(epochs=2)
    ask(store, [spec])
    add(store, spec, scores=(0.5, 0.25))
    results = load(store.root)
    assert "stopped_by_patience" not in results.trials.columns
    assert not [
        note for one in default_specs(results.cells(), ["macro_f1"]) for note in build(one).notes if "pat" in note
    ]


def test_the_line_of_a_worker_says_it(store):
    stopped = store.read(store.trials_folder / SPECS[0].folder)
    line = line_of(SPECS[0], TrialReport(stopped.epochs, Status.COMPLETED))
    assert line.endswith("completed, stopped by patience at epoch 3 of 4")
