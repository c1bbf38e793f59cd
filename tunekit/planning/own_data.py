"""Find the datasets of a sweep's blocks, and read those that are the user's own."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from tunekit.data.base import DATASETS, TextDataset
from tunekit.data.hub_catalog import HUB_DATASETS, described, unknown_dataset
from tunekit.data.hub_ids import HUB
from tunekit.data.sources import DataSource, read_source
from tunekit.errors import UserError
from tunekit.planning.args import DataColumns
from tunekit.planning.blocks import Block
from tunekit.tasks import TASKS, choosing_by


def is_own(data: str | DataSource | TextDataset) -> bool:
    """Return whether an entry of a block's datasets is the user's own data, and not the name of a registered one."""
    if not isinstance(data, str):
        return True
    return data not in (*DATASETS, *HUB_DATASETS) and (
        data.startswith(HUB) or Path(data).exists() or bool(Path(data).suffix) or "/" in data
    )


def with_columns(blocks: Sequence[Block], flags: DataColumns) -> list[Block]:
    """Return ``blocks`` with the columns that the flags give for the user's own files.

    Raises UserError where a flag is given and the blocks have no such file.
    """
    given = {item.name: value for item in fields(DataColumns) if (value := getattr(flags, item.name)) != item.default}
    if not given:
        return list(blocks)
    if not any(is_own(data) and not isinstance(data, TextDataset) for block in blocks for data in block.datasets):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(f"{names}: for files of your own, and this sweep has none (--datasets names them)")
    return [replace(block, datasets=tuple(_with(data, given) for data in block.datasets)) for block in blocks]


def _with(data: str | DataSource | TextDataset, given: dict[str, Any]) -> str | DataSource | TextDataset:
    """Return an entry of a block's datasets with the values of the flags that were ``given``."""
    if isinstance(data, TextDataset) or not is_own(data):
        return data
    source = DataSource(data) if isinstance(data, str) else data
    columns = source.columns()
    text, pair = given.get("text_column", columns.text), given.get("pair_column", columns.pair)
    fields_of = {"label_column": "label", "group_column": "group"}
    if len(given.get("label_column", ())) == 1:
        given = {**given, "label_column": given["label_column"][0]}
    others = {fields_of.get(name, name): given[name] for name in given if name not in ("text_column", "pair_column")}
    return replace(source, text=text if pair is None else (text, pair), **others)


@dataclass(frozen=True)
class FoundData:
    """The datasets of a sweep."""

    own: dict[str, TextDataset]
    """The user's own datasets by their names in the specs."""
    names: dict[str | DataSource, str]
    """The names in the specs by the entries of ``blocks``."""
    blocks: list[Block]
    """The blocks, in which datasets of the hub have their commit, and a TextDataset is replaced by its name."""


def find_data(blocks: Sequence[Block]) -> FoundData:
    """Return the datasets of ``blocks``, the user's own ones read. Raises UserError on anything unknown or wrong."""
    values = [data for block in blocks for data in block.datasets if isinstance(data, TextDataset)]
    own = {data.name: data for data in values}
    names: dict[str | DataSource, str] = {name: name for name in own}

    @cache
    def entry_of(data: str | DataSource) -> str | DataSource:
        entry = data
        if isinstance(data, DataSource) or is_own(data) or data in HUB_DATASETS:
            asked = _source_of(data)
            found, read = read_source(asked)
            own[found.name] = described(found, read)
            entry = data if read == asked and data not in HUB_DATASETS else read
            names[data] = names[entry] = found.name
        elif data not in own:
            if data not in DATASETS:
                raise unknown_dataset(data)
            names[data] = data
        return entry

    found = [
        replace(
            block,
            datasets=tuple(data.name if isinstance(data, TextDataset) else entry_of(data) for data in block.datasets),
        )
        for block in blocks
    ]
    return FoundData(own, names, found)


def _source_of(data: str | DataSource) -> DataSource:
    """Return where an entry that is read comes from, its primary metric checked.

    Raises UserError where it names a registered dataset and columns, or a name may mean two things.
    """
    if isinstance(data, str) and data in HUB_DATASETS:
        if Path(data).exists():
            raise UserError(f"{data!r} is a dataset's name, and a file or folder here; give ./{data} for the latter")
        return HUB_DATASETS[data].source
    asked = DataSource(data) if isinstance(data, str) else data
    if asked.path in (*DATASETS, *HUB_DATASETS):
        raise UserError(f"dataset {asked.path!r} is registered and has columns of its own; give its name alone")
    if asked.primary_metric is None:
        return asked
    task = TASKS[asked.task]
    choosing_by(task, asked.primary_metric)  # raises UserError on a metric that the task does not have
    return replace(asked, primary_metric=None) if asked.primary_metric == task.primary else asked
