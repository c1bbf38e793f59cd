"""The search's command before Ray: bad input gets one line and exit code 2, a dry run writes nothing."""

import json
from dataclasses import replace

import pytest
import yaml

from tests.support.datasets import DATA
from tests.support.output import refusals
from tests.support.search_simulation import Simulation, plan_for
from tests.support.trials import run_script
from tunekit.commands.searching import expected_trials
from tunekit.data.base import DATASETS
from tunekit.errors import UserError
from tunekit.planning import machine
from tunekit.planning.args import GridArgs, SearchArgs
from tunekit.planning.blocks import expand, load_blocks
from tunekit.planning.presets import GRID_PRESETS, SEARCH_PRESETS, SearchPreset
from tunekit.planning.resolve import resolve_grid
from tunekit.search.confirm import best_yaml, chosen_specs, confirming
from tunekit.search.request import VAL_FRACTION, resolve_search
from tunekit.search.stopping import expected_epochs
from tunekit.storage.lease import acquire
from tunekit.store.result_store import ResultStore


@pytest.fixture
def search(monkeypatch, capsys, tmp_path):
    """Run the command with a runner that must not be reached: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(
            "tunekit.commands.searching.acquire_lease", lambda *rest: pytest.fail("the search was started")
        )
        storage = [] if "--storage" in arguments else ["--storage", tmp_path / "out"]
        return run_script("peft_search.py", *arguments, *storage), *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "bertt", "--methods", "full"], "unknown model 'bertt', did you mean 'bert'?"),
        (["--datasets", "demoo"], "unknown dataset 'demoo', did you mean 'demo'?"),
        (["--methods", "lorra"], "unknown method 'lorra', did you mean 'lora'?"),
        (["--preset", "tiny"], "unknown preset 'tiny' (there are study, demo"),
        (["--sampler", "grid"], "--sampler takes tpe, random, gp, got 'grid'"),
        (["--scheduler", "hyperband"], "--scheduler takes asha, none, got 'hyperband'"),
        (["--choose", "worst"], "--choose takes best, 1se, got 'worst'"),
        (
            ["--objective", "pearson"],
            "--objective on demo takes macro_f1, accuracy, num_trainable_params, got 'pearson'",
        ),
        (
            ["--objective", "f1"],
            "--objective takes accuracy, macro_f1, mcc, pearson, spearman, rmse, micro_f1, entity_f1, precision, "
            "recall, num_trainable_params, got 'f1'",
        ),
        (["--objective", "macro_f1,macro_f1"], "--objective names one twice"),
        (["--objective", "num_trainable_params"], "must name a score first"),
        (["--objective", "macro_f1,num_trainable_params"], "give --scheduler none with several"),
        (["--trials", "0"], "--trials must be 1 or more, got 0"),
        (["--seeds-per-trial", "0"], "--seeds-per-trial must be 1 or more"),
        (["--sampler-seed", "-1"], "--sampler-seed must be 0 or more"),
        (["--confirm-seeds", "1", "1001"], "--confirm-seeds 1001 were searched on; confirm on seeds that were not"),
        (["--seeds-per-trial", "3", "--confirm-seeds", "1003"], "--confirm-seeds 1003 were searched on"),
        (["--space", "nowhere.yaml"], "nowhere.yaml"),
        (["--space", "empty.yaml"], "empty.yaml, lora.r: an empty range"),
        (["--space", "other.yaml"], "other.yaml, lora: no parameter 'rank'"),
        (["--learning-rate", "lora=1.0"], "the default learning_rate 1.0 of 'lora'"),
        (["--method-params", "lora.r=20"], "the default r 20 of 'lora'"),
        (["--datasets", "column.csv"], "column.csv, line 1: no column 'text'"),
        (["--datasets", "split", "--val-fraction", "0"], "has no dev part to choose on"),
        (["--optuna-storage", "mysql://host/db"], "--optuna-storage takes sqlite:///FILE or postgresql://"),
        (["--json"], "--json goes with --dry-run"),
        (["--storage", "/proc/nowhere"], "can't write to the storage"),
        (["--max-concurrent", "0"], "--max-concurrent must be 1 or more"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(search, arguments, message, tmp_path, monkeypatch):
    rows = "text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(40))
    spaces = {"empty.yaml": "lora: {r: []}", "other.yaml": "lora: {rank: [4]}"}
    for name, content in {**DATA, **spaces, "split/train.csv": rows, "split/test.csv": rows}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    preset = [] if "--preset" in arguments else ["--preset", "demo"]
    code, _, err = search(*preset, *arguments)
    assert (code, len(refusals(err))) == (2, 1), err
    assert message in err


@pytest.mark.slow
def test_what_can_not_be_reached_or_read_is_refused_before_ray(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tunekit.commands.searching.prepare", lambda *rest, **more: pytest.fail("work was begun"))

    def refused(*arguments: object) -> str:
        code = run_script("peft_search.py", "--preset", "demo", "--storage", tmp_path, *arguments)
        err = capsys.readouterr().err
        assert (code, len(refusals(err))) == (2, 1), err
        return err

    assert "sqlite:////proc/nowhere/x.db can't be reached" in refused(
        "--optuna-storage", "sqlite:////proc/nowhere/x.db"
    )
    lease = acquire(tmp_path / "search-demo")
    assert "being run by another driver" in refused()
    lease.release()
    (tmp_path / "search-demo" / "search.json").write_text("{torn")
    assert "search.json" in refused()


@pytest.mark.slow
def test_a_dry_run_says_what_is_searched_and_writes_nothing(search, tmp_path):
    code, out, err = search("--dry-run", "--json")
    plan = json.loads(out)
    assert (code, err) == (0, "")
    assert [study["study"] for study in plan["studies"]] == [
        f"roberta/{dataset}/{method}"
        for dataset in ("acl_arc", "agnews_7k6", "restaurant")
        for method in ("full", "adapter", "lora")
    ]
    assert {study["planned"] for study in plan["studies"]} == {30}
    lora = plan["studies"][2]
    assert lora["space"]["r"]["choices"] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert lora["space"]["learning_rate"] == {"type": "float", "low": 1e-5, "high": 5e-3, "log": True}
    assert plan["studies"][1]["space"]["reduction_factor"]["choices"] == [2, 4, 8, 16, 32, 64]
    code, out, _ = search("--dry-run")
    assert "test is not scored" in out
    assert "agnews_7k6 · full: 0 of 30 trials ended, 10 % of train carved as dev" in out
    _, out, _ = search("--dry-run", "--learning-rate", "lora=2e-4", "--method-params", "lora.r=16", "--epochs", "3")
    assert out.count("    learning_rate: 1e-5 to 0.005, logarithmic; default 2e-4\n") == 3
    assert out.count("    r: 1 2 4 8 16 32 64 128; default 16\n") == 3
    assert out.count("    all trials: epochs 3\n") == 1
    assert not (tmp_path / "out").exists()


def find_with(presets=None, **changes):
    return resolve_search(SearchArgs(**{"preset": "demo", **changes}), presets or SEARCH_PRESETS)


@pytest.mark.parametrize("dataset", list(DATASETS))
def test_every_search_is_sealed_and_has_a_dev_part(dataset):
    request = find_with(models=("tiny-bert",), methods=("full", "adapter", "lora"), datasets=(dataset,), train_limit=64)
    for plan in request.plans:
        assert plan.spec.score_test is False
        has_dev = "val" in DATASETS[dataset].num_rows
        assert plan.spec.val_fraction == (0 if has_dev else VAL_FRACTION)
        assert plan.seeds == (1001,)
    assert not {plan.spec.trial_id for plan in request.plans} & {spec.trial_id for spec in request.sweep.specs}


def test_budgets_are_equal_and_seeds_grow_from_1001():
    request = find_with(trials=5, seeds_per_trial=3, confirm_seeds=(1, 2, 2))
    assert {plan.planned for plan in request.plans} == {5}
    assert {plan.seeds for plan in request.plans} == {(1001, 1002, 1003)}
    assert request.confirm_seeds == (1, 2)


def test_best_yaml_is_the_confirming_trials_as_a_grid(tmp_path):
    plan = plan_for(trials=5)
    study = Simulation(tmp_path / "sweep", [plan]).run()[0]
    roles = chosen_specs(ResultStore(tmp_path / "sweep"), study, plan.spec)
    assert set(roles) == {"default", "best", "1se"}
    assert roles["default"] == (0, plan.spec)
    best = max(study.trials, key=lambda trial: trial.values)
    assert roles["best"][0] == best.number
    confirmed = confirming(roles["best"][1], (7, 8))
    assert [(spec.seed, spec.score_test) for spec in confirmed] == [(7, True), (8, True)]
    sweep = resolve_grid(GridArgs(preset="demo", models=("tiny-bert",), methods=("lora",)), GRID_PRESETS)
    path = tmp_path / "best.yaml"
    path.write_text(best_yaml([roles["best"][1]], sweep, (7, 8), tmp_path))
    assert path.read_text().startswith(
        f"# tunekit run --config {path} --sweep {tmp_path.name}-best --storage {tmp_path.parent}\n"
    )
    assert [spec.trial_id for spec in expand(load_blocks(path))] == [spec.trial_id for spec in confirmed]
    assert yaml.safe_load(best_yaml([plan.spec], sweep, (), tmp_path))[0]["seeds"] == [1, 2, 3, 4, 5]


def test_two_blocks_of_one_study_are_refused():
    block = SEARCH_PRESETS["demo"].blocks[0]
    assert len(find_with({"demo": SearchPreset(blocks=[block, block], trials=2)}).plans) == 3, "equal blocks are one"
    other = replace(block, epochs=7)
    with pytest.raises(UserError, match="two blocks search the same model, dataset and method"):
        find_with({"demo": SearchPreset(blocks=[block, other], trials=2)})


def test_an_estimate_counts_the_epochs_that_asha_leaves_and_the_confirming_trials():
    args = SearchArgs(preset="demo", models=("tiny-bert",), methods=("lora",), epochs=9, trials=30)
    request = resolve_search(args, SEARCH_PRESETS)
    (plan,) = request.plans
    searched, confirmed = 30, 3 * len(request.confirm_seeds)
    expected = expected_trials(request, {})
    assert [spec.score_test for spec, _ in expected] == [False] * searched + [True] * confirmed
    assert sum(epochs for _, epochs in expected[:searched]) == pytest.approx(expected_epochs(30, 9))
    assert {epochs for _, epochs in expected[searched:]} == {9.0}
    assert len(expected_trials(request, {plan.key: 20})) == 10 + confirmed
    assert expected_trials(request, {plan.key: 30}) == []
    whole = resolve_search(replace(args, scheduler="none", seeds_per_trial=2), SEARCH_PRESETS)
    found = expected_trials(whole, {})
    assert (len(found), {epochs for _, epochs in found}) == (2 * searched + confirmed, {9.0})


@pytest.mark.slow
def test_a_search_s_dry_run_says_how_long_it_takes(search, monkeypatch):
    monkeypatch.setattr(machine, "has_accelerator", lambda: False)
    monkeypatch.setattr(machine, "cpu_flops_per_second", lambda: 1e11)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    words = ["--preset", "demo", "--models", "tiny-bert", "--methods", "lora", "--dry-run"]
    assert "estimate: under a minute on 2 cores (2 trials at a time), from a probe" in search(*words)[1]
    code, _, err = search()
    assert code == 2
    assert "days here; run it where there is a GPU" in refusals(err)[0]
