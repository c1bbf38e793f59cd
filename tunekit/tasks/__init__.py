"""Tasks, one file each: what a head computes, what training minimises, and how its outputs are scored.

Every module of this folder is imported here, so a new file registers its task. Importing a task loads no torch, no
scikit-learn and no numpy: planning and analysis read tasks too.
"""

import importlib
import pkgutil

from tunekit.tasks.base import LOSS_OPTIONS, TASKS, Constants, Metric, Task, choosing_by, task_of

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["LOSS_OPTIONS", "TASKS", "Constants", "Metric", "Task", "choosing_by", "task_of"]
