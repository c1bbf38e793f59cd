"""Where numbers come from: commit, source hash, versions, machine; never the whole environment."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tunekit", "torch", "transformers", "adapters", "peft", "ray", "numpy", "scikit-learn", "tokenizers")
ENVIRONMENT = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "HF_HUB_OFFLINE")


@cache
def source_hash() -> str:
    """12 hex of the sha256 over all Python files of the package, for trees without ``.git``."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "tunekit").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _git(*arguments: str) -> str | None:
    """Output of a git command on the source tree; None where there is no git or no checkout of our own."""
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
    """``commit`` and ``dirty`` of the checkout (None without one), and the source tree's hash."""
    changed = _git("status", "--porcelain", "--", "tunekit", "sweeps", "pyproject.toml")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
        "source_hash": source_hash(),
    }


@cache
def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that can move a number; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def provenance() -> dict[str, Any]:
    """All of it, as JSON values."""
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
