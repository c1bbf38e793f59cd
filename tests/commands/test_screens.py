"""What terminals of 80 and of 140 columns show: nothing tears, paths can be pasted, and no hash stands for a name."""

import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.search_stores import SPACE, confirm, describe, train, write
from tests.support.stores import add, ask
from tests.support.trials import specify
from tunekit.__main__ import main
from tunekit.commands.console import SearchProgress, Tally
from tunekit.commands.output import CLOCK
from tunekit.commands.results import search_tables
from tunekit.planning.args import GridArgs
from tunekit.planning.presets import GRID_PRESETS
from tunekit.planning.resolve import fingerprint_in, resolve_grid
from tunekit.schema import readable
from tunekit.store.requests import cell_names
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import SearchTrial, TrialState
from tunekit.tasks import TASKS

WIDTHS = (80, 140)
HASH = "8a68e22732ad"
FOLDER = "a #1 [x]"
"""A folder's name with what shells and rich's markup read as their own."""


IN_EACH_WIDTH = """
import sys
from fcntl import ioctl
from struct import pack
from termios import TIOCSWINSZ
for width in {widths}:
    ioctl(1, TIOCSWINSZ, pack("HHHH", 60, width, 0, 0))
    show()
    print({end!r}, flush=True)
"""
END = "-- the end --"


def on_terminal(widths: Sequence[int], code: str, *arguments: object, folder: Path | None = None) -> list[list[str]]:
    """Run ``show()`` of Python code on a terminal of each of ``widths`` columns; return the lines that each shows."""
    reader, writer = pty.openpty()
    code += IN_EACH_WIDTH.format(widths=widths, end=END)
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=writer, stdin=writer, env=environment, cwd=folder)
    os.close(writer)
    shown = b""
    while True:
        try:
            shown += os.read(reader, 65536)
        except OSError:  # the terminal's other side is closed
            break
    assert process.wait() == 0
    *texts, rest = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", shown.decode()).split(f"{END}\n")
    assert (len(texts), rest) == (len(widths), "")
    return [[line.rstrip() for line in text.splitlines()] for text in texts]


@pytest.fixture
def search(tmp_path):
    """A search of two studies that chose and confirmed."""
    store = ResultStore(tmp_path / "search")
    store.root.mkdir()
    ask(store, [])
    describe(store)
    studies = []
    for method in ("lora", "full"):
        params = {"r": 16} if method == "lora" else {}
        specs = [specify(method=method, learning_rate=rate, method_params=params) for rate in (1e-3, 2.34e-4)]
        trials = tuple(a_trial(store, one, number, [0.5, 0.7 + number / 10]) for number, one in enumerate(specs))
        choices = tuple(
            confirm(store, specs[number], number, role, (0.8, 0.82, 0.84), (0.7, 0.71 + number / 10, 0.75))
            for role, number in (("default", 0), ("best", 1), ("1se", 1))
        )
        space = SPACE if method == "lora" else {"learning_rate": SPACE["learning_rate"]}
        studies.append({"method": method, "space": space, "trials": trials, "choices": choices})
    write(store, *studies)
    return store


def a_trial(store, spec, number, curve):
    """A search trial whose parameters are those of its study."""
    params = {"learning_rate": spec.learning_rate, **{k: v for k, v in spec.method_params.items() if k == "r"}}
    spec = replace(spec, seed=1001, score_test=False)
    trial_id = train(store, spec, curve, right=15 + number)
    return SearchTrial(
        number=number, params=params, state=TrialState.COMPLETE, values=(max(curve),), epochs=len(curve), seconds=2.0,
        trial_ids=(trial_id,),
    )  # fmt: skip


@pytest.fixture
def sweep(tmp_path):
    store = ResultStore(tmp_path / "sweep")
    specs = [specify(seed=seed, learning_rate=rate) for rate in (1e-3, 1e-4) for seed in (1, 2)]
    ask(store, specs)
    for place, spec in enumerate(specs):
        add(store, spec, scores=(0.5, 0.6 + place / 100))
    return store


REPORT = """
import sys
from tunekit.__main__ import main
def show():
    assert main(["report", sys.argv[1], "--out", sys.argv[2], "--figures", "svg"]) == 0
"""


@pytest.mark.slow
def test_a_closing_table_s_caption_and_notes_are_as_wide_as_the_terminal(sweep, tmp_path):
    found = on_terminal(WIDTHS, REPORT, sweep.root, FOLDER, folder=tmp_path)
    for width, shown in zip(WIDTHS, found, strict=True):
        assert all(len(line) <= width for line in shown if " in '" not in line)
        [caption] = [line for line in shown if line.startswith("Accuracy (percent")]
        assert len(caption) > max(len(line) for line in shown if line.startswith(("┃", "│")))
        [said] = [line for line in shown if " in '" in line]
        words = shlex.split(said)
        assert f"{FOLDER}/tables," in words
        assert f"{FOLDER}/report.html" in words


SEARCH = """
import sys
from pathlib import Path
from tunekit.commands.results import search_tables
from tunekit.store.result_store import ResultStore
def show():
    search_tables(ResultStore(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_a_search_closes_with_a_block_a_study_that_no_terminal_tears(search):
    for width, shown in zip(WIDTHS, on_terminal(WIDTHS, SEARCH, search.root), strict=True):
        assert_blocks_are_whole(shown, width)


def assert_blocks_are_whole(shown, width):
    assert not [line for line in shown if len(line) > width]
    for method in ("LoRA", "full fine-tuning"):
        begin = shown.index(f"tiny-bert · {method} · Demo")
        block = shown[begin : shown.index("", begin)]
        assert [line.split(":")[0].strip() for line in block[1:3]] == ["default", "best, 1se"]
        assert any(line.split() == ["default", "best,", "1se"] for line in block)
        [tests] = [line for line in block if line.strip().startswith("test, fresh seeds")]
        assert tests.count("±") == 2
        assert len([line for line in block if "against the default, on test: +" in line]) == 1
        below = " ".join(line.strip() for line in block[block.index(tests) :])
        assert re.search(
            r"on test: \+\d\.\d\d \[-\d+\.\d\d, \+\d+\.\d\d\], uncorrected p = 0\.\d+ \(Welch's t over seeds\), ", below
        )
        assert len(block) == (14 if width == 80 else 13)


STATUS = """
import sys
from tunekit.__main__ import main
def show():
    assert main(["status", sys.argv[1]]) == 0
"""
TABLES = """
import sys
from pathlib import Path
from tunekit.commands.results import grid_tables
from tunekit.store.requests import requested_specs
from tunekit.store.result_store import ResultStore
def show():
    store = ResultStore(Path(sys.argv[1]))
    grid_tables(store, requested_specs(store.requests()))
"""


@pytest.fixture
def wide(tmp_path):
    """A sweep of more datasets and seeds than a terminal has room for beside each other."""
    store = ResultStore(tmp_path / "wide")
    datasets = ("demo", "acl_arc", "agnews_7k6", "restaurant", f"reviews-{HASH}")
    specs = [
        specify(dataset=dataset, method=method, method_params={}, seed=seed)
        for dataset in datasets
        for method in ("full", "lora")
        for seed in range(1, 13)
    ]
    ask(store, specs)
    for place, spec in enumerate(specs):
        add(store, spec, scores=(0.5, 0.6 + place / 1000))
    return store


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "names"),
    [
        (STATUS, [f"seed {seed}" for seed in range(1, 13)]),
        (TABLES, ["demo", "acl_arc", "agnews_7k6", "restaurant", f"reviews-{HASH}"]),
    ],
)
def test_a_table_wider_than_the_terminal_goes_on_below(wide, code, names):
    for width, shown in zip(WIDTHS, on_terminal(WIDTHS, code, wide.root), strict=True):
        assert not [line for line in shown if len(line) > width]
        heads = [line for line in shown if line.startswith("┃")]
        columns = [name.strip() for line in heads for name in line.strip("┃").split("┃")[1:]]
        assert columns == names * (len(columns) // len(names))
        assert len(columns) >= len(names)
        if width == 80:
            assert len(heads) > len(columns) // len(names), "no table was wide enough to go on below"


@pytest.mark.slow
def test_a_long_name_of_a_cell_goes_on_below(tmp_path):
    store = ResultStore(tmp_path / "long")
    ask(
        store,
        [
            specify(dataset=f"a-name-of-data-that-is-long-{HASH}", learning_rate=rate)
            for rate in (0.0005, 0.0009569980941620173)
        ],
    )
    [shown] = on_terminal([80], STATUS, store.root)
    assert not [line for line in shown if len(line) > 80]
    assert "learning_rate 9.56998e-4" in "".join(shown)


@pytest.mark.slow
def test_in_a_pipe_a_wide_table_is_one(wide, capsys):
    main(["status", str(wide.root)])
    [head] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("┃")]
    assert head.count("seed") == 12


def test_names_of_the_user_s_own_data_are_shown_without_their_hash():
    assert readable(f"reviews-{HASH}") == "reviews"
    assert readable("agnews_7k6") == "agnews_7k6"
    assert specify(dataset=f"reviews-{HASH}").label.split(" · ")[1] == "reviews"
    [name] = cell_names([specify(dataset=f"reviews-{HASH}")]).values()
    assert name == "tiny-bert · reviews · lora"
    two = cell_names([specify(dataset=f"reviews-{HASH}"), specify(dataset=f"reviews-{HASH[::-1]}")]).values()
    assert len(set(two)) == 2
    assert readable(f"sst-2+classification.accuracy-{HASH}") == readable(f"sst-2+regression-{HASH}") == "sst-2"
    declared = [specify(dataset=f"stays+{task}-{HASH}") for task in ("regression", "multi_label")]
    assert len(set(cell_names(declared).values())) == 2
    assert list(cell_names(declared[:1]).values()) == ["tiny-bert · stays · lora"]


def test_the_name_of_a_cell_has_as_many_digits_as_tell_it_apart():
    def names(*rates):
        return [name.split(", ")[1] for name in cell_names([specify(learning_rate=rate) for rate in rates]).values()]

    assert names(0.0009569980941620173, 5e-4) == ["learning_rate 9.56998e-4", "learning_rate 5e-4"]
    assert names(0.0009569980941620173, 0.0009569980941) == [
        "learning_rate 9.569980941620173e-4",
        "learning_rate 9.569980941e-4",
    ]


def test_the_live_table_of_a_search_shows_names_and_no_column_of_running_trials_at_the_end():
    progress = SearchProgress([])
    progress.tallies = {
        "k": Tally("bert · a [b] · lora", TASKS["classification"].chooses_by, planned=3, ended=1, running=1)
    }

    def shown():
        console = Console(file=io.StringIO(), width=80)
        console.print(progress.view())
        return console.file.getvalue()

    assert "bert · a [b] · lora" in shown()
    assert "running" in shown()
    progress.over = True
    assert "running" not in shown()


def test_printed_paths_can_be_pasted(tmp_path):
    progress = SearchProgress([])
    progress.console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    experiment = tmp_path / FOLDER / "ray"
    progress.look(None, tmp_path / FOLDER, experiment, at_a_time=1)
    lines = dict(line.split(": ", 1) for line in progress.console.file.getvalue().splitlines())
    assert shlex.split(lines["storage"]) == [str(tmp_path / FOLDER)]
    assert shlex.split(lines["tensorboard"]) == ["tensorboard", "--logdir", str(experiment)]


def test_a_call_of_the_api_counts_its_own_seconds(monkeypatch):
    monkeypatch.setattr("tunekit.commands.output.time.monotonic", lambda: 1000.0)
    CLOCK.restart()
    monkeypatch.setattr("tunekit.commands.output.time.monotonic", lambda: 1002.5)
    assert CLOCK.seconds() == 2.5


@pytest.mark.slow
def test_keep_models_on_finished_trials_says_that_it_changes_nothing(capsys, tmp_path):
    words = ["run", "--models", "tiny-bert", "--datasets", "demo", "--methods", "full", "--seeds", "1", "--epochs", "1"]

    sweep = resolve_grid(
        GridArgs(models=("tiny-bert",), datasets=("demo",), methods=("full",), seeds=(1,), epochs=1), GRID_PRESETS
    )
    store = ResultStore(tmp_path / sweep.name)
    ask(store, sweep.specs)
    add(store, sweep.specs[0], fingerprint=fingerprint_in(sweep, sweep.specs[0]))
    assert main([*words, "--storage", str(tmp_path), "--keep-models", "best", "--dry-run"]) == 0
    printed = capsys.readouterr().err
    assert "--keep-models best changes nothing in the 1 trial that completed before" in printed
    assert "tunekit export --train" in printed
    assert main([*words, "--storage", str(tmp_path), "--dry-run"]) == 0
    assert "changes nothing" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://head:8265", "is the address of a dashboard; give the cluster's own, HOST:PORT"),
        ("head", "RAY_ADDRESS takes HOST:PORT"),
        ("tcp://head:1", "RAY_ADDRESS takes HOST:PORT"),
    ],
)
def test_an_address_that_no_cluster_has_is_refused_before_anything_connects(address, says, monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr("socket.create_connection", lambda *rest: pytest.fail("it was tried"))
    for words in (["run", "--preset", "demo"], ["doctor"]):
        main(words)
        printed = capsys.readouterr()
        assert says in printed.err + printed.out


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_too_long_for_sockets_is_refused_with_a_length_that_fits(name, monkeypatch, capsys):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(name, "/tmp/" + "l" * 60)
    assert main(["run", "--preset", "demo"]) == 2
    printed = capsys.readouterr().err
    assert f"{name}=/tmp/ll" in printed
    assert "set RAY_TMPDIR to a folder of at most" in printed


def test_a_notebook_without_ipywidgets_shows_the_last_view_and_no_warning(monkeypatch, capsys):
    monkeypatch.setattr("tunekit.commands.display.find_spec", lambda name: None)
    progress = SearchProgress([])
    progress.console = Console(force_jupyter=True, width=80)
    shown = []
    monkeypatch.setattr(progress.console, "print", lambda *objects, **settings: shown.extend(objects))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with progress:
            progress.note("a note")
    assert str(shown[0]) == "a note"
    assert len(shown) == 2
    assert capsys.readouterr().err == ""


def test_a_search_as_json_has_each_comparison_with_the_default(search, capsys):
    search_tables(search, "json")
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert [row["choice"] for row in table["rows"]] == ["default", "best, 1se"] * 2
    for default, tuned in zip(table["rows"][::2], table["rows"][1::2], strict=True):
        assert default["versus_default"] is None
        compared = tuned["versus_default"]
        said = f"{100 * compared['difference']:+.2f} [{100 * compared['low']:+.2f}, {100 * compared['high']:+.2f}]"
        said += f", uncorrected p = {compared['p']:.3g} ({compared['test']}), {compared['holds_for']}"
        assert tuned["test, less the default"] == said
        assert compared["test"]
