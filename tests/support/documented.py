"""What README.md and docs/ show: their commands and the plug-in of docs/methods.md."""

import re
import shlex
from collections.abc import Iterator

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = re.search(
    r"<!-- ln_tuning.py -->\n```python\n(.*?)```", (ROOT / "docs" / "methods.md").read_text(encoding="utf-8"), re.S
).group(1)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Page, and words of each command line that calls our Python, whatever stands before it."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if "python" in words:
                    yield page.name, words[words.index("python") + 1 :]
