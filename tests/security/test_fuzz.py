"""Anything for a store, a data file, a spec or a command line: a sane result or one line, never a traceback."""

import gzip
import json
import os
import shutil
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from analysis.__main__ import main as analyse
from analysis.cells import cells
from analysis.sweep_records import read_sweeps
from tests.support.stores import GOLDEN
from tests.support.trials import specify
from tunekit.__main__ import main as tunekit
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError
from tunekit.schema import TrialSpec
from tunekit.store.progress import ProgressReader
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore
from tunekit.training_options import SCHEDULES

pytestmark = pytest.mark.slow

PACE = {
    "deadline": None,
    "derandomize": bool(os.environ.get("CI")),
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\x1b[2J", "[/red]", "\ud800", "../../x", "=1+1", "<script>", ""])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
RECORDS = ("spec.json", "epochs.jsonl", "summary.json", "steps.csv", "predictions.parquet", "sweep.json", "data.json")


def places(value: object) -> list[tuple[object, object]]:
    """Every (container, key) of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in inner for place in ((value, key), *places(one))]


def damage(path: Path, data: st.DataObject) -> None:
    """Cut a record, turn a byte, or put any value in the place of one that it holds."""
    content = path.read_bytes()
    how = data.draw(st.sampled_from(["cut", "turn", "value", "value", "value", "whole"]))
    if how == "value" and path.suffix in (".json", ".jsonl"):
        rows = [json.loads(line) for line in content.splitlines()] if path.suffix == ".jsonl" else [json.loads(content)]
        container, key = data.draw(st.sampled_from(places(rows)))
        container[key] = data.draw(VALUES)
        path.write_text("\n".join(map(json.dumps, rows)))
    elif how == "cut":
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    elif how == "turn":
        place = data.draw(st.integers(0, len(content) - 1))
        path.write_bytes(content[:place] + data.draw(st.binary(min_size=1, max_size=4)) + content[place + 1 :])
    else:
        path.write_bytes(data.draw(st.binary(max_size=50) | VALUES.map(lambda value: json.dumps(value).encode())))


def damaged(root: Path, data: st.DataObject) -> None:
    """A golden store at ``root`` with one record damaged, of one trial or of the sweep."""
    shutil.copytree(GOLDEN, root, ignore=lambda folder, names: [name for name in names if "-full-s3-" in name])
    record = data.draw(st.sampled_from(RECORDS))
    trial = next((root / "trials").glob("*-lora-s1-*"))
    apart = {"sweep.json": root / "sweep.json", "data.json": next((root / "data").glob("*.json"))}
    damage(apart.get(record, trial / record), data)


def one_line(error: Exception) -> None:
    assert str(error)
    assert "\n" not in str(error)


@settings(max_examples=60, **PACE)
@given(st.data())
def test_a_store_of_anything_is_read_or_refused_in_one_line(data):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "sweep"
        damaged(root, data)
        for read in (
            lambda: cells(read_sweeps([root])),
            lambda: ProgressReader(root).read(),
            lambda: ResultStore(root).trials(),
        ):
            try:
                read()
            except (UserError, DamagedRecord) as error:
                one_line(error)


@pytest.mark.faults
@pytest.mark.timeout(900)
@settings(max_examples=12, **PACE)
@given(st.data())
def test_a_report_of_any_store_is_written_or_refused_in_one_line(capsys, data):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "sweep"
        damaged(root, data)
        code = analyse([str(root), "--out", str(Path(folder) / "out")])
        error = capsys.readouterr().err
        assert (code, error.count("\n")) in ((0, 0), (2, 1)), error


@settings(max_examples=150, **PACE)
@given(st.dictionaries(st.sampled_from([item.name for item in fields(TrialSpec)]), VALUES, max_size=4))
def test_a_spec_of_any_values_is_one_or_is_refused(values):
    try:
        spec = TrialSpec.from_dict({**specify().to_dict(), **values})
    except (ValueError, TypeError):
        return
    assert len(spec.trial_id) == 12
    assert "/" not in spec.folder
    again = TrialSpec.from_dict(json.loads(json.dumps(dict(reversed(spec.to_dict().items())))))
    assert (again, again.trial_id) == (spec, spec.trial_id), "key order and a round trip through JSON change nothing"


@pytest.mark.parametrize("name", [item.name for item in fields(TrialSpec)])
@settings(max_examples=20, **PACE)
@given(st.data())
def test_every_field_moves_the_id(name, data):
    spec = specify(method_params={"r": 4})
    old = getattr(spec, name)
    texts = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
    kinds = {str: texts, bool: st.booleans(), int: st.integers(4, 99), float: st.floats(0.01, 0.9)}
    choices = {
        "method_params": st.dictionaries(texts, st.integers(-9, 9)),
        "precision": st.sampled_from(["fp32", "bf16"]),
        "class_weights": st.sampled_from(["balanced", "none", "a=2", "a=2,b=0.5"]),
        "lr_schedule": st.sampled_from(SCHEDULES),
        "patience": st.integers(1, 99),
    }
    new = data.draw(choices[name] if name in choices else kinds[type(old)])
    assume(new != old)
    assert replace(spec, **{name: new}).trial_id != spec.trial_id


ROWS = st.lists(st.dictionaries(st.sampled_from(["text", "label", "pair", "x"]), VALUES, max_size=4), max_size=12)
CELLS = st.text(max_size=12) | st.sampled_from(['"', '"a', "a,b", "0", "1", "x", "\x00", "\r", " "])
TABLES = st.lists(st.lists(CELLS, min_size=2, max_size=3).map(",".join), max_size=12)


@settings(max_examples=150, **PACE)
@given(
    st.sampled_from([".csv", ".TSV", ".jsonl", ".json", ".parquet", ".csv.gz"]),
    st.sampled_from(["auto", "fields", "none"]),
    st.booleans(),
    st.binary(max_size=200)
    | ROWS.map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
    | TABLES.map(lambda rows: "\n".join(["text,label", *rows]).encode("utf-8", "surrogatepass")),
)
def test_a_data_file_of_anything_is_read_or_refused_in_one_line(suffix, quotes, skip, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mine{suffix}"
        path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
        try:
            found = read_user_dataset(path, quotes=quotes, skip_bad_rows=skip)
        except UserError as error:
            one_line(error)
        else:
            assert {"train", "test"} <= set(found.splits)


COMMON = [
    "--models", "--methods", "--datasets", "--learning-rate", "--method-params", "--sweep", "--preset", "--epochs",
    "--batch-size", "--max-length", "--train-limit", "--val-fraction", "--precision", "--max-concurrent",
    "--cpus-per-trial", "--trials-per-device", "--text-column", "--json", "--yes", "--data-seed",
]  # fmt: skip
GRID = [*COMMON, "--seeds", "--config"]
SEARCH = [*COMMON, "--trials", "--space", "--seeds-per-trial", "--sampler", "--scheduler", "--objective",
          "--choose", "--confirm-seeds", "--optuna-storage"]  # fmt: skip
ANALYSIS = ["published", "audit", "memory", "paper", "import", "--out", "--select", "--metric", "--against",
            "--equivalence", "--paired", "--claims", "--map", "--split", "--model", "--check"]  # fmt: skip
TUNEKIT = ["status", "doctor", "verify", "gc", "--storage", "--fraction", "--seed"]
WORDS = st.sampled_from(
    ["minilm", "tiny-bert", "full", "lora", "demo", "lora.r=4", "lora=1e-3", "1", "2", "0", "-1", "1e400", "nan", "0.5",
     "", "x", "../x", "/dev/null", "nowhere.yaml", "best-val", "tpe", "a/b@c", "\x1b[2J", "study", "--", "-", "~", "é"]
) | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6)  # fmt: skip


def sentences(flags: list[str]) -> st.SearchStrategy[list[str]]:
    """A command line of ``flags`` and words in any order."""
    return st.lists(st.sampled_from(flags) | WORDS, max_size=7)


def left(run, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command: it ends with an exit code of its own; what it refuses itself it refuses in one line."""
    try:
        code = run()
        parsed = True
    except SystemExit as ended:
        code, parsed = ended.code or 0, False
    error = capsys.readouterr().err
    assert code in (0, 1, 2)
    assert "Traceback" not in error
    if code == 2 and parsed:
        assert error.count("\n") == 1, error


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty folder to stand in; no hub, no probe of the processor, no training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("tunekit.planning.machine.cpu_flops_per_second", lambda: 1e11)
    monkeypatch.setattr("tunekit.models.hub._reachable", lambda: False)
    return monkeypatch


@settings(max_examples=40, **PACE)
@given(sentences(GRID))
def test_any_words_for_the_grid(alone, capsys, words):
    left(lambda: tunekit(["run", "--dry-run", *words, "--dry-run"]), capsys)


@settings(max_examples=40, **PACE)
@given(sentences(SEARCH))
def test_any_words_for_the_search(alone, capsys, words):
    left(lambda: tunekit(["search", "--dry-run", *words, "--dry-run"]), capsys)


@settings(max_examples=40, **PACE)
@given(sentences(ANALYSIS))
def test_any_words_for_the_analysis(alone, capsys, words):
    left(lambda: analyse(words), capsys)


@settings(max_examples=40, **PACE)
@given(sentences(TUNEKIT))
def test_any_words_for_tunekit(alone, capsys, words):
    left(lambda: tunekit(words), capsys)
