"""Which trial is exported; what can't be is one line, and nothing is written."""

import json
import shutil
from dataclasses import replace

import pytest

from tests.support.exports import SPECS, cell
from tests.support.runs import finish
from tests.support.stores import add, ask
from tests.support.trials import specify
from tunekit.data.base import DATASETS
from tunekit.engine.job import Job
from tunekit.engine.kept_weights import kept_epochs
from tunekit.engine.run import TrialRun
from tunekit.errors import UserError
from tunekit.export.which_trial import choose_trial
from tunekit.models.loading import resolve_model
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]  # a fixture trains a sweep


def test_the_best_seed_on_validation_is_taken_and_test_is_not_looked_at(said, sweep, tmp_path):
    copy = shutil.copytree(sweep, tmp_path / "sweep")
    store = ResultStore(copy)
    trials = [store.read(store.folder(spec)) for spec in SPECS["full"]]
    for trial, val, test in zip(trials, (0.1, 0.9, 0.5), (0.99, 0.0, 0.5), strict=True):
        last = replace(trial.epochs[-1], val_macro_f1=val, test_macro_f1=test)
        store.write_epochs(trial.folder, [*trial.epochs[:-1], last])
    line = ["export", copy, *cell(SPECS["full"][0]), "--epoch", "last", "--to", tmp_path / "to"]
    code, lines, error = said(*line)
    assert code == 0, error
    assert "seed 2 (the best of 3 on validation, macro-F1 90.00 %), epoch 2 of 2" in lines[0]
    assert lines[1].startswith("predicts what the trial recorded: 64 rows")
    assert lines[2].endswith("MB of weights")
    assert json.loads((tmp_path / "to" / "tunekit.json").read_text())["spec"]["seed"] == 2

    for trial in trials:
        epochs = [replace(record, val_macro_f1=None) for record in trial.epochs]
        store.write_epochs(trial.folder, epochs)
    code, _, error = said(*line[:-1], tmp_path / "other")
    assert (code, error.count("\n")) == (2, 1)
    assert "no validation part to choose a seed by, and test is not looked at; give --seed, one of 1 2 3" in error


def test_a_trial_of_a_local_model_needs_its_folder(said, repository, sweep, tmp_path):
    ref = resolve_model(str(repository))
    spec = specify(model=ref.name, epochs=1)
    mark = fingerprint_of(spec, ref.revision, DATASETS["demo"].content_hash)
    finish(TrialRun(Job(spec, mark, ref, tmp_path / "sweep", 0, 1, keep_models="last"), print))
    line = ["--model", "repository", "--dataset", "demo", "--method", "lora", "--to", tmp_path / "to"]
    code, _, error = said("export", tmp_path / "sweep", *line)
    assert (code, error.count("\n")) == (2, 1)
    assert "give it with --base-model" in error
    other = shutil.copytree(repository, tmp_path / "other")
    code, _, error = said("export", tmp_path / "sweep", *line, "--base-model", other)
    assert (code, "the trial's was repository-" in error) == (2, True)
    code, lines, error = said("export", tmp_path / "sweep", *line, "--base-model", repository)
    assert code == 0, error
    assert "its pretrained model, which the hub does not have" in lines[-1]
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "to").rglob("*.json"))


def not_empty(path, sweep):
    (path / "to").mkdir()
    (path / "to" / "x").write_text("mine")
    return [], "is not empty"


def a_file(path, sweep):
    (path / "to").write_text("mine")
    return [], "is not a folder"


def a_link(path, sweep):
    (path / "elsewhere").mkdir()
    (path / "to").symlink_to(path / "elsewhere")
    return [], "is not a folder"


def no_seed(path, sweep):
    return ["--seed", 9], "no completed trial has seed 9; there are 1"


def other_epoch(path, sweep):
    return ["--epoch", 1], "kept no weights of epoch 1 but of 2"


def odd_epoch(path, sweep):
    return ["--epoch", "first"], "--epoch takes best, last or a number from 1 to 2"


def other_setting(path, sweep):
    return ["--where", "r=77"], "no trial here has r=77; r is "


def odd_setting(path, sweep):
    return ["--where", "rank=2"], "--where takes NAME=VALUE, got 'rank=2'; there are "


def merged_adapter(path, sweep):
    return ["--method", "adapter", "--seed", 1, "--merged"], "can't be merged"


@pytest.mark.parametrize(
    "trouble",
    [not_empty, a_file, a_link, no_seed, other_epoch, odd_epoch, other_setting, odd_setting, merged_adapter],
)
def test_what_can_not_be_exported_is_one_line_and_writes_nothing(trouble, said, sweep, tmp_path):
    more, problem = trouble(tmp_path, sweep)
    before = sorted(tmp_path.rglob("*"))
    line = ["--model", "tiny-bert", "--dataset", "demo", "--method", "lora", "--where", "r=32", "--epoch", "last"]
    if trouble is merged_adapter:
        line = line[:6] + ["--epoch", "last"]
    code, _, error = said("export", sweep, *line, "--to", tmp_path / "to", *more)
    assert (code, error.count("\n")) == (2, 1), error
    assert problem in error
    assert sorted(tmp_path.rglob("*")) == before


def test_several_cells_are_told_apart_by_their_settings(said, sweep, tmp_path):
    line = ["export", sweep, "--model", "tiny-bert", "--dataset", "demo", "--method", "lora", "--to", tmp_path / "to"]
    code, _, error = said(*line)
    assert (code, error.count("\n")) == (2, 1)
    assert "2 cells fit" in error
    assert "--where" in error
    code, _, error = said(*line[:2], "--model", "bert", *line[4:])
    assert "called 'bert'; there are tiny-bert, tiny-distilbert, tiny-modernbert, tiny-roberta" in error


def test_kept_weights_are_gone_only_when_asked(said, sweep, tmp_path):
    copy = shutil.copytree(sweep, tmp_path / "sweep")
    folder = ResultStore(copy).folder(SPECS["lora"][0])
    (folder / "model" / ".draft-99").write_bytes(b"x")
    assert said("gc", copy)[0] == 0
    assert [path.name for path in (folder / "model").iterdir()] == ["epoch-2.safetensors"]
    assert said("gc", copy, "--models")[0] == 0
    assert not list(copy.rglob("model"))
    assert kept_epochs(folder) == []


def test_names_and_settings_are_taken_as_they_are_shown(tmp_path):
    store = ResultStore(tmp_path / "sweep")
    data = "stays+classification.accuracy-0123456789ab"
    specs = [specify(dataset=data, learning_rate=rate, seed=1) for rate in (0.0009569980941620173, 5e-4)]
    ask(store, specs)
    for spec in specs:
        add(store, spec)
    for name in ("stays", "stays+classification.accuracy", data):
        names = {"dataset": name, "method": "lora"}
        for rate, wanted in (("9.56998e-4", specs[0]), ("0.0009569980941620173", specs[0]), ("0.0005", specs[1])):
            assert choose_trial(store.root, names, [f"learning_rate={rate}"], 1, "last").trial.spec == wanted
    with pytest.raises(UserError, match=r"learning_rate 9\.56998e-4"):
        choose_trial(store.root, names, [], 1, "last")
