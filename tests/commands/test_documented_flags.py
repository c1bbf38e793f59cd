"""Every command of ours in README.md and docs/ has the flags that it is given there; nothing is trained."""

from functools import wraps

import pytest
import tyro

import tunekit.__main__ as tunekit
from analysis.__main__ import COMMANDS, Analyse
from benchmarks.__main__ import Arguments, names
from tests.support.documented import commands
from tunekit.planning.args import GridArgs, SearchArgs


def parse(words: list[str]) -> object:
    """What a command's own parser makes of its words. SystemExit where it does not take them."""
    if words[0] != "-m":
        kind = {"sweeps/main_grid.py": GridArgs, "sweeps/peft_search.py": SearchArgs}[words[0]]
        return tyro.cli(kind, args=words[1:])
    module, *rest = words[1:]
    if module == "analysis":
        kind = COMMANDS.get(rest[0], (Analyse,))[0]
        return tyro.cli(kind, args=rest[1:] if rest[0] in COMMANDS else rest)
    if module == "benchmarks":
        assert rest[0] in names()
        return tyro.cli(Arguments, args=rest)
    return tunekit.main(rest)


OURS = [
    pytest.param(words, id=f"{page}: {' '.join(words)}"[:100])
    for page, words in commands()
    if words[0].startswith("sweeps/") or words[:2] in (["-m", "tunekit"], ["-m", "analysis"], ["-m", "benchmarks"])
]


def test_there_are_commands():
    assert len(OURS) > 60


@pytest.mark.parametrize("words", OURS)
def test_a_documented_command_is_one(words, monkeypatch):
    for name in ("status", "doctor", "verify", "gc", "stamp", "export", "predict"):
        command = getattr(tunekit, name)
        monkeypatch.setattr(tunekit, name, wraps(command)(lambda *args, **kwargs: 0))
    words = words[: words.index("...")] if "..." in words else words
    if "import" in words and "--out" not in words:
        words = [*words, "--out", "mine"]
    assert parse(words) is not None


@pytest.mark.parametrize(
    "words",
    [["sweeps/main_grid.py", "--sedes", "1"], ["-m", "tunekit", "exprot"], ["-m", "analysis", "x", "--outt", "y"]],
)
def test_the_check_can_fail(words, capsys):
    with pytest.raises(SystemExit) as left:
        parse(words)
    assert left.value.code == 2
