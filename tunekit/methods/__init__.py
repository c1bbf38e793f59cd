"""Fine-tuning methods, one file each; every module of this folder is imported, so adding a file registers a method."""

import importlib
import pkgutil

from tunekit.methods.base import METHODS, Method

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["METHODS", "Method"]
