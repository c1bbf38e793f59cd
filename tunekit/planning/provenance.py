"""The provenance of numbers: commit, source hash, versions and machine, but never the whole environment."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.storage.files import write_atomic

ROOT = Path(__file__).resolve().parents[2]
STAMP = "tunekit/_source.json"
"""The file that ``write_stamp`` writes. Git must not ignore it, since Ray uploads no ignored file."""
PACKAGES = ("tunekit", "torch", "transformers", "adapters", "peft", "ray", "numpy", "scikit-learn", "tokenizers")
ENVIRONMENT = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "HF_HUB_OFFLINE")


@cache
def source_hash() -> str:
    """Return 12 hex digits of the sha256 over all Python files of the package, for trees without ``.git``."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "tunekit").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _git(*arguments: str) -> str | None:
    """Return the output of a git command on the source tree; None where there is no git or no checkout of our own."""
    if not (ROOT / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()


@cache
def source() -> dict[str, Any]:
    """Return ``commit``, ``dirty`` and ``source_hash`` of the source tree; None for what is not known.

    A tree without git takes the first two from its stamp, if it is still the tree that was stamped.
    """
    found = _checkout() or _stamp()
    return {"commit": found.get("commit"), "dirty": found.get("dirty"), "source_hash": source_hash()}


def write_stamp() -> dict[str, Any]:
    """Write the checkout's ``source()`` into the tree, for copies of it that hold no ``.git``, and return it.

    Raises UserError where this is no git checkout, OSError where it can't be written.
    """
    found = _checkout()
    if not found:
        raise UserError(f"{ROOT} is no git checkout, or git is not here: stamp the tree where its commit is known")
    stamp = {**found, "source_hash": source_hash()}
    write_atomic(ROOT / STAMP, (json.dumps(stamp) + "\n").encode())
    return stamp


def unstamped() -> str | None:
    """Return a line that says how to mend a tree whose trials will name no commit; None where they will name one."""
    if source()["commit"]:
        return None
    what = "differs from its stamp" if (ROOT / STAMP).exists() else "has neither .git nor a stamp"
    return f"the source {what}: trials record its hash, but no commit; run `tunekit stamp` before it is copied"


def _checkout() -> dict[str, Any]:
    """Return ``commit`` and ``dirty``; an empty mapping where this is no checkout."""
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", "tunekit", "sweeps", "pyproject.toml", f":(exclude){STAMP}")
    return {} if commit is None or changed is None else {"commit": commit, "dirty": bool(changed)}


def _stamp() -> dict[str, Any]:
    """Return the content of the stamp; an empty mapping where there is none, or the tree was edited since."""
    try:
        stamp = json.loads((ROOT / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and stamp.get("source_hash") == source_hash() else {}


@cache
def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that can move a number; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def differing(here: Mapping[str, str | None], there: Mapping[str, str | None]) -> list[str]:
    """Return the names of the packages whose versions differ so much that a number could differ.

    Builds of one torch, such as for CPU and CUDA, count as one version, and so do Pythons of one minor version. Ray is
    left out since it changes no number, and tunekit since its source hash says more than its version.
    """

    def relevant(name: str, text: str | None) -> str | None:
        text = text and text.partition("+")[0]
        return text and text.rpartition(".")[0] if name == "python" else text

    names = [name for name in here if name not in ("ray", "tunekit")]
    return [name for name in names if relevant(name, here[name]) != relevant(name, there.get(name))]


def provenance() -> dict[str, Any]:
    """Return source, versions, machine and the variables in ``ENVIRONMENT`` that are set, as JSON values."""
    return {
        **source(),
        "versions": versions(),
        "host": platform.node(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
    }


@cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
