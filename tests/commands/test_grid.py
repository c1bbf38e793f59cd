"""The grid's command before Ray: bad input gets one line and exit code 2, a dry run fetches and writes nothing."""

import json
from dataclasses import replace

import pytest

from tests.support.datasets import DATA
from tests.support.output import notes, refusals
from tests.support.records import FINGERPRINT, record, summary
from tunekit.__main__ import main as tunekit_main
from tunekit.commands.checks import refuse_long
from tunekit.errors import UserError
from tunekit.planning import machine
from tunekit.planning.args import GridArgs
from tunekit.planning.estimate import Timing
from tunekit.schema import Status, TrialSpec
from tunekit.storage.object_servers import RETRY
from tunekit.store.requests import cell_names, cells_of, requested_specs
from tunekit.store.result_store import ResultStore


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "bertt", "--methods", "full"], "unknown model 'bertt', did you mean 'bert'?"),
        (["--datasets", "demoo"], "unknown dataset 'demoo', did you mean 'demo'?"),
        (["--methods", "lorra"], "unknown method 'lorra', did you mean 'lora'?"),
        (["--method-params", "lora.rank=3"], "method 'lora' has no parameter 'rank'"),
        (["--seeds"], "--seeds names none"),
        (["--preset", "tiny"], "unknown preset 'tiny'"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
        (["--sweep", "../out"], "--sweep takes"),
        (["--trials-per-device", "many"], "--trials-per-device takes"),
        (["--max-concurrent", "0"], "--max-concurrent must be 1 or more"),
        (["--cpus-per-trial", "4096"], "more than the"),
        (["--json"], "--json goes with --dry-run"),
        (["--datasets", "column.csv"], "column.csv, line 1: no column 'text', did you mean 'txt'?"),
        (["--datasets", "empty.csv"], "empty.csv, line 3: empty text"),
        (["--datasets", "broken.jsonl"], "broken.jsonl, line 2: broken JSON"),
        (["--datasets", "new_label"], "label 'z' of test never occurs in train"),
        (["--datasets", "regression.csv"], "looks like regression; --task regression declares it"),
        (["--datasets", "regression.csv", "--task", "regresion"], "there is no task 'regresion' for data of your own"),
        (
            ["--datasets", "regression.csv", "--task", "multi_label"],
            "multi_label takes several label columns of 0 and 1",
        ),
        (["--datasets", "regression.csv", "--label-separator", "|"], "a label separator is for --task multi_label"),
        (["--task", "regression"], "--task: for files of your own, and this sweep has none"),
        (["--datasets", "multi.jsonl"], "holds several labels; --task multi_label takes them"),
        (["--datasets", "nowhere.csv"], "nowhere.csv: there is no such file"),
        (["--models", "./new_label", "--methods", "full"], "config.json can't be read"),
        (["--models", "./nowhere", "--methods", "full"], "model './nowhere': no such folder"),
        (["--storage", "/proc/nowhere"], "can't write to the storage"),
        (["--storage", "ftp://host/sweeps"], "folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"),
        (["--storage", "s3://KEY:SECRET@bucket"], "others can read a command's arguments"),
        (["--storage", "s3://bucket?endpoint_override=127.0.0.1:1&scheme=http"], "127.0.0.1:1 can't be reached"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(grid, arguments, message, tmp_path, monkeypatch):
    for name, content in DATA.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RETRY, "max_retries", 1)
    preset = [] if {"--preset", "--config"} & set(arguments) else ["--preset", "demo"]
    code, _, err = grid(*preset, *arguments)
    assert code == 2
    assert message in err
    assert len(refusals(err)) == 1


def test_a_full_disk_is_refused_before_work(grid, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    code, _, err = grid("--preset", "demo")
    assert code == 2
    assert "GB free, records and checkpoints may take" in err


@pytest.mark.slow
def test_a_cache_that_can_not_be_written_is_one_line(grid, monkeypatch):
    monkeypatch.setenv("TUNEKIT_CACHE_DIR", "/proc/nowhere")
    code, _, err = grid("--preset", "demo", "--models", "tiny-bert", "--methods", "full")
    assert (code, len(refusals(err))) == (2, 1)
    assert "set TUNEKIT_CACHE_DIR" in err


@pytest.mark.slow
def test_days_of_work_need_a_yes(grid, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "has_accelerator", lambda: False)
    monkeypatch.setattr(machine, "cpu_flops_per_second", lambda: 1e11)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    code, out, err = grid()
    assert code == 2
    assert "75 trials, 75 to run" in notes(err)
    assert "days here; run it where there is a GPU" in refusals(err)[0]
    assert "add --yes" in err
    assert not (tmp_path / "out").exists()


def test_only_what_takes_many_hours_in_any_case_is_refused(monkeypatch):
    monkeypatch.setattr("tunekit.commands.checks.has_accelerator", lambda: False)
    args = GridArgs(preset="study")
    refuse_long(None, args, "laptop")
    refuse_long(Timing(18 * 3600, 1.6, "a probe"), args, "laptop")  # 11 to 29 hours
    with pytest.raises(UserError, match="12 to 30 hours here; .*--preset laptop, or add --yes"):
        refuse_long(Timing(19.5 * 3600, 1.6, "a probe"), args, "laptop")
    refuse_long(Timing(20 * 3600, 1.6, "a probe"), GridArgs(preset="study", yes=True), "laptop")


def test_a_dry_run_prints_the_plan_fetches_and_writes_nothing(grid, tmp_path):
    code, out, err = grid("--dry-run", "--json")
    plan = json.loads(out)
    assert (code, err) == (0, "")
    assert plan["total"] == plan["new"] == len(plan["trials"]) == 75
    assert plan["total"] == sum(plan[state] for state in ("new", "partial", "done", "failed"))
    assert TrialSpec.from_dict({k: v for k, v in plan["trials"][0].items() if k not in ("trial_id", "state")})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_dry_run_counts_states_and_says_why_trials_are_stale(grid, tmp_path):
    from tests.support.trials import fingerprint

    code, out, _ = grid("--preset", "demo", "--models", "tiny-bert", "--methods", "full", "lora", "--dry-run", "--json")
    specs = [
        TrialSpec.from_dict({k: v for k, v in trial.items() if k not in ("trial_id", "state")})
        for trial in json.loads(out)["trials"]
    ]
    store = ResultStore(tmp_path / "out" / "demo")
    store.open_trial(specs[0], fingerprint(specs[0]))
    store.write_summary(store.open_trial(specs[1], fingerprint(specs[1])), summary())
    store.open_trial(specs[2], replace(fingerprint(specs[2]), code="other"))
    command = ["--preset", "demo", "--models", "tiny-bert", "--methods", "full", "lora", "--dry-run"]
    plan = json.loads(grid(*command, "--json")[1])
    assert [plan[name] for name in ("total", "new", "partial", "done", "failed", "stale")] == [4, 2, 1, 1, 0, 1]
    assert "was made by other code" in grid(*command)[1]


def test_status_shows_cells_by_seeds(tmp_path, capsys, make_spec):
    specs = [make_spec(method=method, method_params={}, seed=seed) for method in ("full", "lora") for seed in (1, 2)]
    store = ResultStore(tmp_path / "sweep")
    store.root.mkdir()
    store.add_request({"cells": cells_of(specs)})
    store.write_summary(store.open_trial(specs[0], FINGERPRINT), summary())
    store.write_summary(store.open_trial(specs[1], FINGERPRINT), summary(Status.DIVERGED, "the loss became nan"))
    store.write_epochs(store.open_trial(specs[2], FINGERPRINT), [record(1)])
    assert tunekit_main(["status", str(store.root)]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in ("done", "diverged", "1/2", "the loss became nan", "none was recorded"))
    assert tunekit_main(["status", str(tmp_path / "nowhere")]) == 2


def test_requests_hold_every_spec(make_spec):
    specs = [make_spec(seed=seed, learning_rate=rate) for rate in (1e-3, 1e-4) for seed in (1, 2, 3)]
    assert requested_specs([{"cells": cells_of(specs[:4])}, {"cells": cells_of(specs[2:])}]) == specs
    assert sorted(cell_names(specs).values()) == [
        "tiny-bert · demo · lora, learning_rate 0.001",
        "tiny-bert · demo · lora, learning_rate 1e-4",
    ]
    smoothed = [make_spec(label_smoothing=share) for share in (0.0, 0.1)]
    assert requested_specs([{"cells": cells_of(smoothed)}]) == smoothed
    assert sorted(cell_names(smoothed).values()) == [
        "tiny-bert · demo · lora, label_smoothing 0",
        "tiny-bert · demo · lora, label_smoothing 0.1",
    ]
    assert list(cell_names(smoothed[1:]).values()) == ["tiny-bert · demo · lora"]
