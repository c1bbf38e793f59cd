"""Compare fine-tuning methods of language encoders. A notebook or a script needs only ``import tunekit as tk``.

Names are loaded when they are first used, so that the import itself loads no torch, Ray, transformers or matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunekit.api import load, plan, run, run_search, train
    from tunekit.data.base import DATASETS
    from tunekit.data.frame import dataset
    from tunekit.data.hub_catalog import HUB_DATASETS, SUITES
    from tunekit.data.sources import DataSource
    from tunekit.data.summary import summarise
    from tunekit.errors import UserError
    from tunekit.methods import METHODS
    from tunekit.models.catalog import MODELS
    from tunekit.planning.blocks import Block
    from tunekit.schema import TrialSpec

__all__ = [
    "DATASETS", "HUB_DATASETS", "METHODS", "MODELS", "SUITES", "Block", "DataSource", "TrialSpec", "UserError",
    "dataset", "load", "plan", "run", "run_search", "summarise", "train",
]  # fmt: skip

_MODULES = {
    "Block": "tunekit.planning.blocks",
    "DATASETS": "tunekit.data.base",
    "DataSource": "tunekit.data.sources",
    "HUB_DATASETS": "tunekit.data.hub_catalog",
    "METHODS": "tunekit.methods",
    "MODELS": "tunekit.models.catalog",
    "SUITES": "tunekit.data.hub_catalog",
    "TrialSpec": "tunekit.schema",
    "UserError": "tunekit.errors",
    "dataset": "tunekit.data.frame",
    "load": "tunekit.api",
    "plan": "tunekit.api",
    "run": "tunekit.api",
    "run_search": "tunekit.api",
    "summarise": "tunekit.data.summary",
    "train": "tunekit.api",
}
"""The module that defines each public name."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'tunekit' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
