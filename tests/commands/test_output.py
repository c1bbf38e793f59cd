"""Results go to standard output, the same on a terminal and in a pipe; notes and progress go to standard error."""

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from tests.support.output import events
from tests.support.stores import add, ask
from tests.support.trials import fingerprint, specify
from tunekit.__main__ import main
from tunekit.commands.console import Progress
from tunekit.planning.plan import make_plan
from tunekit.store.result_store import ResultStore


@pytest.fixture
def sweep(tmp_path, make_spec):
    """A sweep of two cells: four completed trials, one that failed."""
    store = ResultStore(tmp_path / "sweep")
    specs = [make_spec(seed=seed, learning_rate=rate) for rate in (1e-3, 1e-4) for seed in (1, 2)]
    ask(store, specs)
    for place, spec in enumerate(specs):
        add(store, spec, scores=(0.5, 0.6 + place / 100))
    return store


def test_status_is_the_same_on_a_narrow_terminal_and_in_a_pipe(sweep, capsys, monkeypatch):
    printed = []
    for width in ("40", "200"):
        monkeypatch.setenv("COLUMNS", width)
        assert main(["status", str(sweep.root)]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "learning_rate 1e-4" in printed[0]


def test_status_as_json_has_a_trial_an_object(sweep, capsys):
    assert main(["status", str(sweep.root), "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["counts"] == {"done": 4}
    assert [(one["seed"], one["state"], one["macro_f1"]) for one in content["trials"]][0] == (1, "done", 0.6)
    assert content["trials"][0]["planned_epochs"] == 2


@pytest.mark.slow
def test_a_dry_run_as_json_has_the_plan_and_the_costs(capsys, tmp_path):
    words = ["run", "--preset", "demo", "--models", "tiny-bert", "--methods", "lora", "--storage", str(tmp_path)]
    assert main([*words, "--dry-run", "--format", "json"]) == 0
    printed = capsys.readouterr()
    plan = json.loads(printed.out)
    assert printed.err == ""
    assert (plan["sweep"], plan["to_run"], plan["total"]) == ("demo", 2, 2)
    [cell] = plan["cells"]
    assert cell["peak_bytes"] > 0
    assert cell["checkpoint_bytes"] > 0
    assert 0 < cell["seconds_low"] < cell["seconds"] < cell["seconds_high"]
    assert cell["seconds_high"] < plan["estimate"]["high_seconds"] < 10 * 60
    assert plan["estimate"]["source"] == "a probe of the processor"
    assert plan["kept_weights_bytes"] > 0
    assert main([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).items() <= plan.items()


@pytest.mark.slow
def test_a_report_as_json_has_means_in_fractions(sweep, capsys, tmp_path):
    words = ["report", str(sweep.root), "--out", str(tmp_path / "paper")]
    assert main([*words, "--format", "json"]) == 0
    printed = capsys.readouterr()
    tables = json.loads(printed.out)["tables"]
    entries = next(one["entries"] for one in tables if one["metric"] == "macro_f1")
    assert entries[0]["mean"] == pytest.approx(0.605)
    assert entries[0]["n"] == entries[0]["expected"] == 2
    assert entries[0]["values"] == pytest.approx([0.6, 0.61])
    assert (entries[0]["standing"], entries[0]["p"]) == ("not tested", None)
    assert (tmp_path / "paper" / "report.html").exists()
    assert main(words) == 0
    assert "±" in capsys.readouterr().out


@pytest.mark.slow
def test_memory_and_published_as_json(capsys, tmp_path):
    assert main(["memory", "--model", "minilm", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["ours_peak"] > 0
    assert rows[0]["peak_measured"] is None
    assert main(["published", "--out", str(tmp_path), "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tables"]) == 4


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["status"]], ids=" ".join)
def test_a_reader_that_has_left_ends_a_command_without_a_message(words, sweep):
    command = [sys.executable, "-m", "tunekit", *words, *([str(sweep.root)] if words == ["status"] else [])]
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert run.stderr == ""
    assert run.returncode != 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rum"], "unknown command 'rum', did you mean 'run'?"),
        (["run", "--preset", "dmo"], "unknown preset 'dmo', did you mean 'demo'?"),
        (["run", "--track", "tensorbord"], "unknown tracker 'tensorbord', did you mean 'tensorboard'?"),
        (["run", "--config", "nothere.yaml"], "nothere.yaml: there is no such file"),
        (["doctor", "nothere.yaml"], "nothere.yaml: there is no such file"),
        *(
            ([name, "nothere"], "nothere holds no sweep (no sweep.json)")
            for name in ("status", "verify", "audit", "gc")
        ),
    ],
)
def test_a_typo_is_one_line_that_names_it(words, message, capsys):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}")
    assert printed.err.count("\n") == 1


@pytest.fixture
def progress(tmp_path):
    specs = [specify(seed=seed) for seed in (1, 2)]
    plan = make_plan(specs, {spec.trial_id: fingerprint(spec) for spec in specs}, ResultStore(tmp_path))
    return Progress(plan, {spec.trial_id: spec for spec in specs})


RESULT = {"epoch": 1, "epoch_seconds": 3.0, "train_loss": 1.0, "val_macro_f1": 0.5, "test_macro_f1": 0.5}


def shown(progress):
    console = Console(file=io.StringIO(), width=120)
    console.print(progress.view())
    return console.file.getvalue()


def test_the_live_view_says_what_it_waits_for_and_shows_no_empty_table(progress, tmp_path):
    first = next(iter(progress.pending))
    progress.wait("starting Ray")
    assert "starting Ray ..." in shown(progress)
    assert "running trial" not in shown(progress)
    progress.begin(at_a_time=2, dashboard=None, storage=tmp_path, experiment=tmp_path)
    assert "starting 2 worker processes ..." in shown(progress)
    progress.started(first)
    assert "running trial" in shown(progress)
    assert "ETA" not in shown(progress)
    progress.epoch(first, RESULT)
    assert "worker processes" not in shown(progress)
    assert "ETA 0:0" in shown(progress)


def test_the_table_of_running_trials_goes_with_the_run(progress):
    with progress:
        progress.started(next(iter(progress.pending)))
    assert "running trial" not in shown(progress)
    assert "ETA" not in shown(progress)


def test_progress_is_json_lines_on_standard_error(progress, capsys):
    first = next(iter(progress.pending))
    with progress:
        progress.started(first)
        progress.epoch(first, RESULT)
        progress.note("a line")
    printed = capsys.readouterr()
    assert printed.out == ""
    seconds = [one["seconds"] for one in events(printed.err)]
    assert seconds == sorted(seconds)
    assert [one["event"] for one in events(printed.err)] == ["wait", "epoch", "note", "end"]
