"""What README.md and docs/ show: their commands, in order, and the files that their commands name."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```sh\n(.*?)^```", re.S | re.M)
_FILE = re.compile(r"^<!-- (\S+\.\w+) -->\n```\w+\n(.*?)^```", re.S | re.M)
_PYTHON = ("python", "-m")
NEEDS = "# Needs "
"""The first words of a block of commands that need what a reader may not have: a GPU, a cluster, hours."""


@dataclass(frozen=True)
class Command:
    """A command line of ours on a page."""

    page: str
    program: str
    """tunekit or benchmarks."""
    words: tuple[str, ...]
    """The words after the program."""
    needs: bool
    """Whether its block says that it needs more than a laptop: then it is planned, not trained."""


def commands() -> Iterator[Command]:
    """Yield each command line of tunekit or benchmarks, page by page, in the order in which they stand."""
    for page in PAGES:
        name = "benchmarks" if page.parent.name == "benchmarks" else page.name
        for block in _FENCE.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                found = _ours(shlex.split(line, comments=True))
                if found is not None:
                    yield Command(name, found[0], tuple(found[1:]), block.startswith(NEEDS))


def _ours(words: list[str]) -> list[str] | None:
    """Return program and words of a command line of ours, whatever stands before it; None for other programs."""
    for place, word in enumerate(words):
        if word == "tunekit" and place == sum("=" in before for before in words[:place]):
            return words[place:]
        if tuple(words[place : place + 2]) == _PYTHON and words[place + 2] in ("tunekit", "benchmarks"):
            return words[place + 2 :]
    return None


def files_of(page: Path) -> Mapping[str, str]:
    """Return the files that a page shows, by name: code blocks below a comment such as ``<!-- grid.yaml -->``."""
    return dict(_FILE.findall(page.read_text(encoding="utf-8")))


EXAMPLE = files_of(ROOT / "docs" / "methods.md")["norms.py"]
"""The plug-in of docs/methods.md."""
