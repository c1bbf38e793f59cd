"""What a model's files must be before a library sees them: read first, refuse by name.

transformers 4.57 can be led by ``config.json`` to import code (CVE-2026-4372, CVE-2026-5241); see SECURITY in README.
"""

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunekit.errors import UserError

MAX_CONFIG_BYTES = 1_000_000
FORBIDDEN = (
    "_attn_implementation",
    "_attn_implementation_internal",
    "auto_map",
    "trust_remote_code",
    "custom_pipelines",
)
HARMLESS = "_attn_implementation_autoset"


def refuse_kernels() -> None:
    """Raise UserError where the package ``kernels``, through which a config could load code, can be imported."""
    if importlib.util.find_spec("kernels"):
        raise UserError("the package 'kernels' is installed, which lets a config.json load code; pip uninstall kernels")


def checked_config(folder: Path, name: str, supported: Iterable[str]) -> dict[str, Any]:
    """The values of ``folder/config.json``. Raises UserError, naming the key, on one that is not safe or supported."""
    path = folder / "config.json"
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UserError(f"model {name!r}: config.json is larger than {MAX_CONFIG_BYTES} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"model {name!r}: its config.json can't be read ({type(error).__name__})") from error
    if not isinstance(values, dict):
        raise UserError(f"model {name!r}: its config.json is not an object")
    _refuse(values, name)
    if values.get("model_type") not in supported:
        kind = values.get("model_type")
        raise UserError(f"model {name!r}: model_type {kind!r} is not supported; supported: {', '.join(supported)}")
    return {key: value for key, value in values.items() if key not in (HARMLESS, "torch_dtype", "dtype")}


def _refuse(value: object, name: str) -> None:
    """Raise UserError on a forbidden key at any depth."""
    if isinstance(value, list):
        for item in value:
            _refuse(item, name)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        slashed = key == "attn_implementation" and "/" in str(inner)
        autoset = key == HARMLESS and not isinstance(inner, bool)
        if key in FORBIDDEN or slashed or autoset:
            raise UserError(f"model {name!r}: its config.json holds {key!r}, which could load code; it is refused")
        _refuse(inner, name)
