"""Put what the fault tests measured into docs/reliability.md, between its markers.

``python -m tests.support.fault_table`` does it.
"""

import json

from tests.conftest import ROOT
from tests.faults.conftest import FIGURES

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
COLUMNS = (
    "kills",
    "faults",
    "damages",
    "tracebacks",
    "missing",
    "duplicate",
    "differing",
    "finished redone",
    "epochs redone",
    "reason not said",
    "driver grew, KiB a trial",
)
EMPTY = "-"


def table() -> str:
    """One row a fault, from the figures at hand."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FIGURES.glob("*.json"))]
    lines = [f"| fault | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [f"| {row['fault']} | {' | '.join(str(row.get(name, EMPTY)) for name in COLUMNS)} |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Rewrite the page's table."""
    head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
