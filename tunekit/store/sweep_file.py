"""Read the requests in a sweep's sweep.json strictly. A text that was checked before is not checked again.

The cache holds the sha256 of the text that was checked last, in the file cache/sweep.sha256.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.parsing import coerced, strict_json
from tunekit.schema import SCHEMA_VERSION
from tunekit.storage.files import write_atomic
from tunekit.storage.paths import Place
from tunekit.store.records import check_version, read_text, spec_of

CHECK_VERSION = 1
"""The version of the check. It is raised where the check becomes stricter, so that every text is checked again."""
MARK = "sweep.sha256"
"""The name of the file in the cache."""


def read_requests(path: Place, cache: Path | None) -> list[dict[str, Any]]:
    """Return all requests in the sweep.json at ``path``, the oldest first, and none where there is no file.

    Each request, with each of its cells, is checked, unless ``cache`` says that this very text was. ``cache`` is the
    folder of the sweep's cache; with None there is no cache. Raises UserError where the file is damaged, and OSError
    where the cache can't be written.
    """
    if not path.exists():
        return []
    try:
        text = read_text(path)
        mark = hashlib.sha256(f"{SCHEMA_VERSION}.{CHECK_VERSION}:{text}".encode()).hexdigest()
        if cache is not None and _read_mark(cache) == mark:
            requests: list[dict[str, Any]] = json.loads(text)["requests"]
            return requests
        requests = [checked_request(one) for one in check_version(strict_json(text), path)["requests"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); restore it, or move it away to start a new list of requests"
        ) from error
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        write_atomic(cache / MARK, mark.encode())
    return requests


def checked_request(request: Any) -> dict[str, Any]:
    """Return ``request`` unchanged. Raises ValueError or TypeError where it is not a request as in sweep.json."""
    if not isinstance(request, dict) or not isinstance(request.get("cells", []), list):
        raise ValueError("a request is an object with a list of cells")
    for cell in request.get("cells", []):
        seeds = cell.get("seeds") if isinstance(cell, dict) else None
        if not isinstance(seeds, list):
            raise ValueError("a request's cell is an object with a list of seeds")
        spec_of(cell, 0)
        for seed in seeds:
            coerced("seed", "int", seed)
    metrics = request.get("metric_names", {})
    if not isinstance(metrics, dict) or not all(isinstance(name, str) for name in metrics.values()):
        raise ValueError("metric_names maps metrics to names")
    return request


def _read_mark(cache: Path) -> str | None:
    """Return the cached mark of the text that was checked last; None where there is none."""
    try:
        return (cache / MARK).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
