"""Every command of ours in README.md and docs/ has the flags that it is given there; nothing is trained."""

import shlex
from functools import wraps

import pytest
import tyro

from analysis.__main__ import main as analysis
from benchmarks.__main__ import Arguments, names
from tests.support.documented import commands
from tunekit.commands import command_line

SCRIPTS = {"sweeps/main_grid.py": "run", "sweeps/peft_search.py": "search"}


def parse(words: list[str]) -> object:
    """What a command's own parser makes of its words. SystemExit where it does not take them."""
    if words[0] in SCRIPTS:
        return command_line.main([SCRIPTS[words[0]], *words[1:]])
    module, *rest = words[1:]
    if module == "benchmarks":
        assert rest[0] in names()
        return tyro.cli(Arguments, args=rest)
    return {"analysis": analysis, "tunekit": command_line.main}[module](rest)


@pytest.fixture
def _only_parsed(monkeypatch):
    for name, command in command_line.COMMANDS.items():
        monkeypatch.setitem(command_line.COMMANDS, name, wraps(command)(lambda *args, **kwargs: 0))


OURS = [
    pytest.param(words, id=f"{page}: {' '.join(words)}"[:100])
    for page, words in commands()
    if words[0].startswith("sweeps/") or words[:2] in (["-m", "tunekit"], ["-m", "analysis"], ["-m", "benchmarks"])
]


def test_there_are_commands():
    assert len(OURS) > 60


@pytest.mark.usefixtures("_only_parsed")
@pytest.mark.parametrize("words", OURS)
def test_a_documented_command_is_one(words):
    words = words[: words.index("...")] if "..." in words else words
    if "import" in words and "--out" not in words:
        words = [*words, "--out", "mine"]
    assert parse(words) is not None


@pytest.mark.usefixtures("_only_parsed")
@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_the_examples_in_a_command_s_help_are_commands(name, capsys):
    help_text = command_line.COMMANDS[name].__doc__.partition("Args:")[0]
    examples = [" ".join(part.split()) for part in help_text.split("\n\n") if part.strip().startswith("tunekit ")]
    assert examples
    for example in examples:
        assert command_line.main(shlex.split(example)[1:]) == 0, example


@pytest.mark.parametrize(
    "words",
    [["sweeps/main_grid.py", "--sedes", "1"], ["-m", "tunekit", "exprot"], ["-m", "analysis", "x", "--outt", "y"]],
)
@pytest.mark.usefixtures("_only_parsed")
def test_the_check_can_fail(words, capsys):
    with pytest.raises(SystemExit) as left:
        parse(words)
    assert left.value.code == 2
