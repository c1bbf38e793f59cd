"""Refuse a folder that holds no sweep. Nothing heavy is imported here, so a mistyped folder is refused at once."""

from pathlib import Path

from tunekit.errors import UserError
from tunekit.storage.paths import Place, location

SWEEP_FILE, SEARCH_FILE = "sweep.json", "search.json"
"""The file that every sweep has in its folder from its start on, and the file that only a search has beside it."""


def existing_sweep(text: str) -> Place:
    """Return the place of the sweep that ``text`` names.

    Raises UserError where the place is a folder of this machine with neither sweep.json nor trials. An object store is
    not asked here, since the code that reads the sweep asks it.
    """
    root = location(text)
    if isinstance(root, Path) and not (root / SWEEP_FILE).exists() and not (root / "trials").exists():
        raise no_sweep(root)
    return root


def no_sweep(root: Place, missing: str = SWEEP_FILE) -> UserError:
    """Return the error that ``root`` holds no sweep, since ``missing`` is not in it."""
    return UserError(f"{root} holds no sweep (no {missing}); give the folder of one, as in ray_results/demo")
