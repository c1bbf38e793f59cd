"""Figures of the fault tests, kept for the table in docs/reliability.md."""

import json
from collections.abc import Callable

import pytest

from tests.conftest import ROOT

FIGURES = ROOT / ".faults"


@pytest.fixture
def figures() -> Callable[..., None]:
    """Keep what a test measured: its fault as a row's name, then its columns."""

    def keep(fault: str, **values: int) -> None:
        FIGURES.mkdir(exist_ok=True)
        path = FIGURES / f"{fault.replace(' ', '-').replace('/', '-')}.json"
        path.write_text(json.dumps({"fault": fault, **values}) + "\n", encoding="utf-8")

    return keep
