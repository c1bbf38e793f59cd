"""Every command of ours in README.md and docs/ has the flags that it is given there; nothing is trained."""

import shlex
from functools import wraps

import pytest
import tyro

from benchmarks.__main__ import Arguments, names
from tests.conftest import ROOT
from tests.support.documented import Command, commands
from tunekit.commands.command_line import COMMANDS, main

OURS = [pytest.param(one, id=f"{one.page}: {' '.join(one.words)}"[:100]) for one in commands()]


@pytest.fixture(autouse=True)
def _parsed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command take its flags and do nothing."""
    for name, command in COMMANDS.items():
        monkeypatch.setitem(COMMANDS, name, wraps(command)(lambda *args, **kwargs: 0))


def accepted(one: Command) -> bool:
    """Whether the program takes the command's words."""
    if one.program == "tunekit":
        return main(one.words) == 0
    assert one.words[0] in names()
    return tyro.cli(Arguments, args=one.words) is not None


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_there_are_commands_of_each_kind():
    assert len(OURS) > 80
    assert {one.values[0].words[0] for one in OURS if one.values[0].program == "tunekit"} == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("one", OURS)
def test_a_documented_command_is_one(one):
    assert accepted(one)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_in_a_command_s_help_are_commands(name):
    help_text = str(COMMANDS[name].__doc__).partition("Args:")[0]
    examples = [" ".join(part.split()) for part in help_text.split("\n\n") if part.strip().startswith("tunekit ")]
    assert examples
    for example in examples:
        assert main(shlex.split(example)[1:]) == 0, example


@pytest.mark.parametrize("line", ["run --sedes 1", "exprot ray_results/demo", "report x --outt y"])
def test_the_check_can_fail(line):
    assert not accepted(Command("README.md", "tunekit", tuple(line.split()), needs=False))
