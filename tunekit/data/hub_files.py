"""The Parquet files of a dataset of the Hugging Face hub: found and fetched once at a commit, then read from the cache.

The library ``datasets`` finds which files belong to which split of which configuration. For that it is shown a folder
with the repository's README and empty files of the repository's names. No script of a repository is run.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tunekit.data.arrow import choose_splits, joined, rows_of_splits
from tunekit.data.hub_ids import HubDataset
from tunekit.data.text_files import MAX_BYTES
from tunekit.errors import UserError, first_line
from tunekit.parsing import did_you_mean, strict_json
from tunekit.storage.files import write_atomic
from tunekit.storage.paths import cache_dir

if TYPE_CHECKING:
    import pyarrow as pa

    from tunekit.data.rows import FileRows
    from tunekit.data.user import Columns

SECONDS = 10
"""The seconds that the hub may take to answer."""
CONVERTED = "refs/convert/parquet"
"""The branch on which the hub keeps its own conversion of a dataset to Parquet."""
README = "README.md"
MOST_FILES = 10_000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONFIGS_OF_CARD = re.compile(r"^['\"]?configs['\"]?:.*?(?=^[A-Za-z_-]{3}|\Z)", re.MULTILINE | re.DOTALL)
"""The part of a README's head that assigns files to splits and configurations."""
_CONFIGS = re.compile(r"(?:available configs|Available): \[(.*?)\]")
_OF_CONVERSION = re.compile(r"([^/]+)/[^/]+/[0-9]{4}\.parquet")


@dataclass(frozen=True)
class Listing:
    """The files of one configuration at a commit of a repository. The cache keeps it once all files were fetched."""

    config: str
    files: dict[str, list[str]]
    """The Parquet files of each split, by the split's name in the repository, in the order of their rows."""
    features: dict[str, Any] | None
    """The columns with their kinds, as the README has them."""


def read_hub(
    hub: HubDataset, columns: Columns, test_split: str | None = None
) -> tuple[HubDataset, dict[str, FileRows], tuple[str, ...]]:
    """Return ``hub`` with the commit that was read, the rows of each split, and notes on what is left out.

    ``test_split`` is the name of the test split where it is not called test. A commit that was read before is read from
    the cache without a network. Raises UserError where the dataset can't be had, or is not kept as Parquet files.
    """
    commit, listing, from_cache = _cached(hub) or _fetched(hub)
    pinned = replace(hub, revision=commit, config=None if listing.config == "default" else listing.config)
    chosen, notes = choose_splits(listing.files, str(hub), test_split)
    tables = {}
    for split, name in chosen.items():
        parts = [_table(_file(hub, commit, file), f"{pinned}, {file}", columns) for file in listing.files[name]]
        tables[split] = _with_features(joined(parts, f"{pinned}, {name}"), listing.features)
    rows, more = rows_of_splits(tables, columns, str(pinned))
    where = "in the cache (the hub was not reached)" if from_cache else "on the hub"
    said = () if hub.revision == commit else (f"{hub.revision or 'main'} is commit {commit[:12]} {where}",)
    return pinned, rows, (*said, *notes, *more)


def _cached(hub: HubDataset) -> tuple[str, Listing, bool] | None:
    """Return the commit and the listing of a dataset that was fetched before, and True.

    Returns None where it was not fetched, or where its branch may have moved since and the hub may be asked.
    """
    from huggingface_hub import constants

    if hub.revision is None or not _COMMIT.fullmatch(hub.revision):
        if not constants.HF_HUB_OFFLINE:
            return None
        commit = _stored(_branch_file(hub))
        if not isinstance(commit, str):
            raise UserError(_unreachable(hub, "HF_HUB_OFFLINE is set"))
    else:
        commit = hub.revision
    listing = _stored(_listing_file(hub, commit))
    if listing is None:
        if constants.HF_HUB_OFFLINE:
            raise UserError(_unreachable(hub, "HF_HUB_OFFLINE is set"))
        return None
    return commit, Listing(**listing), True


def _fetched(hub: HubDataset) -> tuple[str, Listing, bool]:
    """Fetch the files of ``hub`` into the cache. Return the commit, the listing, and whether they were there before.

    Where the hub can't be asked about a branch, the commit is the one that was read last. Raises UserError.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().dataset_info(
            hub.repository, revision=hub.revision or "main", timeout=SECONDS, files_metadata=True
        )
    except RevisionNotFoundError as error:
        raise UserError(f"{hub}: the hub has no revision {hub.revision!r} of {hub.repository}") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{hub}: the hub has no dataset {hub.repository}, or only for those who log in") from error
    except (OSError, *HfHubHTTPError.__bases__) as error:  # type: ignore[misc]
        commit = _stored(_branch_file(hub))
        listing = _stored(_listing_file(hub, commit)) if isinstance(commit, str) else None
        if listing is None:
            raise UserError(_unreachable(hub, first_line(error))) from error
        return str(commit), Listing(**listing), True
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    commit = str(info.sha)
    script = f"{hub.repository.partition('/')[2]}.py"
    if script in sizes:
        raise UserError(f"{hub}: it is read by the script {script}, and no script is run; try @{CONVERTED}")
    listing = _listed(hub, commit, list(sizes))
    needed = [file for files in listing.files.values() for file in files]
    if sum(sizes[file] for file in needed) > MAX_BYTES:
        raise UserError(f"{hub}: its files are larger than {MAX_BYTES} bytes together")
    for file in needed:
        _file(hub, commit, file)
    _store(_listing_file(hub, commit), vars(listing))
    _store(_branch_file(hub), commit)
    return commit, listing, False


def _listed(hub: HubDataset, commit: str, names: Sequence[str]) -> Listing:
    """Return the files of the configuration of ``hub``. Raises UserError where it has none, or none in Parquet."""
    strange = [name for name in names if name.startswith("/") or "\\" in name or ".." in name.split("/")]
    if strange or len(names) > MOST_FILES:
        raise UserError(
            f"{hub}: it has {len(names)} files, such as {(strange or list(names))[0][:60]!r}; it is not read"
        )
    card = _file(hub, commit, README).read_text(encoding="utf-8", errors="replace") if README in names else ""
    if any("://" in part for part in _CONFIGS_OF_CARD.findall(card)):
        raise UserError(f"{hub}: its {README} names data files in another place, which is not read")
    tables = [name for name in names if name.endswith(".parquet")]
    converted = [found for name in tables if (found := _OF_CONVERSION.fullmatch(name))]
    if tables and not card and len(converted) == len(tables):
        # In the hub's own conversion a folder is a configuration, which ``datasets`` can't know of a plain folder.
        config = _only(hub, list(dict.fromkeys(found[1] for found in converted)))
        shown = [found[0] for found in converted if found[1] == config]
        return replace(_grouped(hub, None, shown, card), config=config)
    return _grouped(hub, hub.config, names, card)


def _only(hub: HubDataset, configs: Sequence[str]) -> str:
    """Return the configuration that ``hub`` names, or the only one. Raises UserError where there is no such one."""
    config = configs[0] if hub.config is None and len(configs) == 1 else hub.config
    if config is None or config not in configs:
        hint = "" if hub.config is None else did_you_mean(hub.config, configs)
        problem = "name one of its configurations" if hub.config is None else f"no configuration {hub.config!r}{hint}"
        form = f"hf:{hub.repository}/CONFIG"
        raise UserError(f"{hub}: {problem}, as {form} (there are: {', '.join(configs)})")
    return config


def _grouped(hub: HubDataset, config: str | None, names: Sequence[str], card: str) -> Listing:
    """Return the listing of ``config`` over the files ``names``, by the rules of ``datasets``. Raises UserError."""
    import datasets
    from yaml import YAMLError

    datasets.utils.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="tunekit-") as folder:
        root = Path(folder).resolve() / "files"
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(card if name == README else "", encoding="utf-8")
        try:
            builder = datasets.load_dataset_builder(str(root), name=config, cache_dir=str(root.parent / "cache"))
            files = {
                str(split): [Path(str(file)).relative_to(root).as_posix() for file in part]
                for split, part in (builder.config.data_files or {}).items()
            }
        except (ValueError, OSError, KeyError, TypeError, AttributeError, YAMLError) as error:
            if known := _CONFIGS.search(str(error)):
                _only(hub, re.findall(r"'([^']*)'", known[1]))
            where = "" if hub.revision == CONVERTED else f"; try @{CONVERTED}"
            raise UserError(f"{hub}: its data files can't be told apart ({first_line(error)[:200]}){where}") from error
    others = sorted({Path(file).suffix for part in files.values() for file in part} - {".parquet"})
    if others or not files:
        raise UserError(f"{hub}: its data is kept as {', '.join(others)}, and only Parquet is read; try @{CONVERTED}")
    features = builder.info.features
    return Listing(str(builder.config.name), files, None if features is None else features.to_dict())


def _table(path: Path, source: str, columns: Columns) -> pa.Table:
    """Return the columns of a Parquet file, or no rows where it lacks one.

    Raises UserError where the file is broken or too large.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(place) for place in range(file.metadata.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > MAX_BYTES:
                raise UserError(f"{source}: larger than {MAX_BYTES} bytes once unpacked")
            whole = set(columns.used()) <= set(file.schema_arrow.names)
            # Where a column is missing, the empty table's columns let the message name those that exist.
            return file.read(columns=columns.used()) if whole else file.schema_arrow.empty_table()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{source}: broken Parquet ({type(error).__name__})") from error


def _with_features(table: pa.Table, features: dict[str, Any] | None) -> pa.Table:
    """Return ``table`` with the kinds of columns in the README, where the files themselves name none."""
    if features is None or b"huggingface" in (table.schema.metadata or {}):
        return table
    described = json.dumps({"info": {"features": features}}).encode()
    return table.replace_schema_metadata({**(table.schema.metadata or {}), b"huggingface": described})


def _file(hub: HubDataset, commit: str, name: str) -> Path:
    """Return a file of the repository, from the cache if it is there. Raises UserError where it can't be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    try:
        return Path(hf_hub_download(hub.repository, name, repo_type="dataset", revision=commit))
    except (OSError, *HfHubHTTPError.__bases__) as error:  # type: ignore[misc]
        # From version 1 on the client's errors are no OSErrors; the hub's own are derived from them.
        raise UserError(_unreachable(hub, f"{name}: {first_line(error)}")) from error


def _unreachable(hub: HubDataset, why: str) -> str:
    return (
        f"{hub}: it is not in the cache, and the hub can't be reached ({why}); plan once where the hub can be reached, "
        "or give its Parquet files as a folder"
    )


def _folder(hub: HubDataset) -> Path:
    return cache_dir() / "hub_datasets" / hub.repository.replace("/", "--")


def _listing_file(hub: HubDataset, commit: str) -> Path:
    return _folder(hub) / commit / f"{hub.config or '_'}.json"


def _branch_file(hub: HubDataset) -> Path:
    return _folder(hub) / "branches" / f"{quote(hub.revision or 'main', safe='')}.json"


def _stored(path: Path) -> Any:
    """Return the content of a JSON file of the cache; None where it is missing or damaged."""
    try:
        return strict_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _store(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(value).encode())
