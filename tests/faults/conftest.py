"""Figures of the fault tests, kept for the table in docs/reliability.md."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import ROOT
from tests.support.drivers import BEGUN, kill

FIGURES = ROOT / ".faults"
MOST = ("epochs redone", "driver grew, KiB a trial")
"""Columns of which the most counts, not the sum."""


@pytest.fixture(autouse=True)
def _no_driver_is_left() -> Iterator[None]:
    yield
    while BEGUN:
        if (driver := BEGUN.pop()).poll() is None:
            kill(driver.pid)


@pytest.fixture
def figures() -> Callable[..., None]:
    """Keep what a test measured: its fault as a row's name, then its columns; tests of one fault add up."""

    def keep(fault: str, **values: float) -> None:
        FIGURES.mkdir(exist_ok=True)
        path = FIGURES / f"{fault.replace(' ', '-').replace('/', '-')}.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for name, value in values.items():
            values[name] = max(known.get(name, 0), value) if name in MOST else known.get(name, 0) + value
        path.write_text(json.dumps({"fault": fault, **values}) + "\n", encoding="utf-8")

    return keep
