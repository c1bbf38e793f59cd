"""Runs ``tunekit import`` and reads what it wrote."""

from pathlib import Path

from analysis.__main__ import main
from analysis.cells import Cell, cells
from analysis.sweep_records import read_sweeps


def imported(place: Path, *words: str, code: int = 0) -> Path:
    """Import ``place`` into a store beside it and return the store; the command must end with ``code``."""
    store = place.parent / "store"
    assert main(["import", str(place), *words, "--out", str(store)]) == code
    return store


def imported_cells(place: Path, *words: str) -> list[Cell]:
    """Import ``place`` and return the cells of the store."""
    return cells(read_sweeps([imported(place, *words)]))
