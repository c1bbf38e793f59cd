"""The checks that a model's files pass before a library reads them. A dangerous key is refused by its name.

transformers 4.57 can be led by ``config.json`` to import code (CVE-2026-4372, CVE-2026-5241); see SECURITY.md.
"""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.parsing import strict_json

MAX_CONFIG_BYTES = 1_000_000
FORBIDDEN = (
    "_attn_implementation",
    "_attn_implementation_internal",
    "auto_map",
    "trust_remote_code",
    "custom_pipelines",
    "quantization_config",
)
ELSEWHERE = ("tokenizer_file", "vocab_file", "merges_file", "fast_tokenizer_files")
HARMLESS = "_attn_implementation_autoset"


def refuse_kernels() -> None:
    """Raise UserError where the package ``kernels``, through which a config could load code, can be imported."""
    if importlib.util.find_spec("kernels"):
        raise UserError("the package 'kernels' is installed, which lets a config.json load code; pip uninstall kernels")


def checked_config(folder: Path, name: str, supported: Iterable[str]) -> dict[str, Any]:
    """Return the values of ``folder/config.json``.

    Raises UserError, which names the key, where the file is not safe or the model type is none of ``supported``.
    """
    values = read_object(folder / "config.json", name)
    _refuse(values, name, "config.json")
    kind, names = values.get("model_type"), tuple(supported)
    if kind not in names:
        raise UserError(f"model {name!r}: model_type {kind!r} is not supported; supported: {', '.join(names)}")
    return {key: value for key, value in values.items() if key not in (HARMLESS, "torch_dtype", "dtype")}


def tokenizer_config(folder: Path, name: str) -> dict[str, Any]:
    """Return the values of ``folder/tokenizer_config.json``; an empty dict where there is no such file.

    Raises UserError, which names the key, where the file names code, or other files than those in ``folder``.
    """
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    values = read_object(path, name)
    _refuse(values, name, path.name)
    for key in ELSEWHERE:
        if values.get(key) is not None:
            raise UserError(f"model {name!r}: its {path.name} holds {key!r}, which could name another file; remove it")
    return values


def read_object(path: Path, name: str) -> dict[str, Any]:
    """Return the object in a small JSON file of a model. Raises UserError where it can't be read."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UserError(f"model {name!r}: {path.name} is larger than {MAX_CONFIG_BYTES} bytes")
        values = strict_json(path.read_text(encoding="utf-8"), allow_nan=True)
    except (OSError, ValueError) as error:
        raise UserError(f"model {name!r}: its {path.name} can't be read ({type(error).__name__})") from error
    if not isinstance(values, dict):
        raise UserError(f"model {name!r}: its {path.name} is not an object")
    return values


def _refuse(value: object, name: str, file: str) -> None:
    """Raise UserError on a forbidden key at any depth."""
    if isinstance(value, list):
        for item in value:
            _refuse(item, name, file)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        slashed = key == "attn_implementation" and "/" in str(inner)
        autoset = key == HARMLESS and not isinstance(inner, bool)
        if key in FORBIDDEN or slashed or autoset:
            raise UserError(f"model {name!r}: its {file} holds {key!r}, which could load code; it is refused")
        _refuse(inner, name, file)
