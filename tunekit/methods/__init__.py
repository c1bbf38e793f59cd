"""Fine-tuning methods, one file each.

Every module of this folder whose name does not begin with ``_`` is imported here, so a new file registers its method.
"""

import importlib
import pkgutil

from tunekit.methods.base import METHODS, Method

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):
        importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["METHODS", "Method"]
