"""Fingerprints: the hashes of code, data and weights that decide whether a stored trial is the planned one or stale."""

import ast
import hashlib
import inspect
import sys
from functools import cache
from typing import Any

from tunekit.data.base import DATASETS, DEFAULT_TASK
from tunekit.methods import METHODS
from tunekit.schema import Fingerprint, TrialSpec
from tunekit.tasks import task_of


def fingerprint_of(spec: TrialSpec, model_revision: str, data_hash: str) -> Fingerprint:
    """Return the spec's fingerprint with the code at hand."""
    kinds = METHODS[spec.method].__mro__[:-1]
    files = [source_of(kind) for kind in kinds if kind.__module__ not in ("abc", "typing")]
    if spec.dataset in DATASETS:
        files.append(source_of(DATASETS[spec.dataset].load))
    task = task_of(spec.dataset)
    if task.name != DEFAULT_TASK:  # the first fingerprints were made before there were tasks
        files.append(source_of(task.loss))
    code = hashlib.sha256("\0".join(files).encode()).hexdigest()[:12]
    return Fingerprint(model=model_revision, data=data_hash, code=code)


MOVED = {
    "tunekit.methods._bottleneck": "tunekit.bottleneck",
    "tunekit.models.catalog": "tunekit.models",
    "tunekit.models.families": "tunekit.shapes",
    "tunekit.models.shapes": "tunekit.shapes",
}
"""Modules that methods import, and where they lay when the first fingerprints were made.

A method's code hash covers its import lines. With this table and the next a module may move, or a name change, without
making stored trials stale.
"""
RENAMED = {"FAMILIES": "NAMING"}
"""Names that methods import, and what they were when the first fingerprints were made."""


@cache
def source_of(item: Any) -> str:
    """Return the source of the file that defines ``item``, in the form that fingerprints are made of.

    Comments, docstrings, layout and ``suggest`` are left out: what a search tries changes which trials there are, never
    a trial's numbers. Modules and names that were moved or renamed are written as they were.
    """
    module = sys.modules[item.__module__]
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            node.module = MOVED.get(node.module, node.module)
        if isinstance(node, ast.alias):
            node.name = RENAMED.get(node.name, node.name)
        if isinstance(node, ast.Name):
            node.id = RENAMED.get(node.id, node.id)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            kept = [n for n in kept if not (isinstance(n, ast.FunctionDef) and n.name == "suggest")]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)
