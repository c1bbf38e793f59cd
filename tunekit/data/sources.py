"""The source of a user's own data: its place, the columns that make a dataset, and its form in a config file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tunekit.data.base import DEFAULT_TASK
from tunekit.data.delimited import Quotes
from tunekit.data.hub_ids import HUB, HubDataset
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean

if TYPE_CHECKING:
    from tunekit.data.base import TextDataset
    from tunekit.data.user import Columns


@dataclass(frozen=True)
class DataSource:
    """A user's own data: its place, and the columns from which a dataset is made.

    Raises UserError where a value is of another type.
    """

    path: str
    """A file, a folder, or ``hf:ORG/NAME[/CONFIG][@REVISION]`` for a dataset of the Hugging Face hub."""
    _: KW_ONLY
    text: str | tuple[str, str] = "text"
    """The column of the text; two columns for a text and a second one that the model reads after it."""
    label: str | tuple[str, ...] = "label"
    """The column of the label; several columns of 0 and 1 for a task with several labels a text."""
    group: str | None = None
    """A column whose equal values must not be split between train and test."""
    separator: str | None = None
    """The character between the fields of CSV files; None to find it by the header."""
    quotes: Quotes = "auto"
    """How CSV files use quotes: a value of ``--quotes``."""
    skip_bad_rows: bool = False
    """Whether rows that can't be used are left out and counted, instead of refusing the data."""
    task: str = DEFAULT_TASK
    """The task that the labels are read for: classification, regression (a number), multi_label (several labels) or
    token_classification (a tag for each word)."""
    label_separator: str | None = None
    """The text between the labels of a row where one column holds several of them."""
    primary_metric: str | None = None
    """The score by which epochs and configurations are chosen (default: the task's own)."""
    test_split: str | None = None
    """The split that is the test part of a dataset of the hub, or of a folder that ``save_to_disk`` wrote, where it is
    not called test. Validation is then drawn from train, unless there is a validation split."""
    name: str | None = None
    """The dataset's name in tables (default: the name of the file, folder or dataset of the hub)."""

    def __post_init__(self) -> None:
        for name in ("text", "label"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        texts = self.text if isinstance(self.text, tuple) else (self.text,)
        if not isinstance(self.path, str) or not self.path:
            raise UserError(f"the path of a dataset is a text, got {self.path!r}")
        if len(texts) not in (1, 2) or not all(isinstance(name, str) and name for name in texts):
            raise UserError(f"{self.path}: text names one column, or two for pairs, got {self.text!r}")
        if not self.labels or not all(isinstance(name, str) and name for name in self.labels):
            raise UserError(f"{self.path}: label is a text, got {self.label!r}")
        for name in ("task", "group", "separator", "label_separator", "primary_metric", "test_split", "name"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value) and (name == "task" or value is not None):
                raise UserError(f"{self.path}: {name} is a text, got {value!r}")
        if self.quotes not in get_args(Quotes):
            raise UserError(f"{self.path}: quotes is one of {', '.join(get_args(Quotes))}, got {self.quotes!r}")
        if not isinstance(self.skip_bad_rows, bool):
            raise UserError(f"{self.path}: skip_bad_rows is true or false, got {self.skip_bad_rows!r}")

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns of the label."""
        return self.label if isinstance(self.label, tuple) else (self.label,)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> DataSource:
        """Return the source that a config file holds. Raises UserError on an unknown key or a value of another type."""
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                pair = "; text: [A, B] names the columns of a pair" if key == "pair" else did_you_mean(key, known)
                raise UserError(f"a dataset has no key {key!r}{pair} (there are {', '.join(known)})")
        if "path" not in values:
            raise UserError("a dataset has no path; give a file, a folder or hf:ORG/NAME")
        return cls(**values)

    def to_value(self) -> str | dict[str, Any]:
        """Return the source as a config file holds it: its path, or a mapping where other fields are not defaults."""
        changed = {
            item.name: list(value) if isinstance(value, tuple) else value
            for item in fields(self)
            if (value := getattr(self, item.name)) != item.default
        }
        return self.path if list(changed) == ["path"] else changed

    def columns(self) -> Columns:
        """Return the columns as the readers take them."""
        from tunekit.data.user import Columns

        text, *pair = self.text if isinstance(self.text, tuple) else (self.text,)
        return Columns(text, pair[0] if pair else None, self.labels, self.group, self.label_separator)


def read_source(source: DataSource) -> tuple[TextDataset, DataSource]:
    """Return the dataset at ``source``, and the source with the commit of the hub that was read.

    Raises UserError, in one line, for everything that can't be had or trained on.
    """
    from tunekit.data.user import dataset_of_rows, read_user_dataset

    columns, path = source.columns(), Path(source.path)
    columns.check()
    hub = HubDataset.parse(source.path) if source.path.startswith(HUB) else None
    if hub is None and not is_saved(path):
        if source.test_split is not None:
            raise UserError(f"{source.path}: a test split is named for datasets of the hub and folders of datasets")
        data = read_user_dataset(
            path,
            text_column=columns.text,
            pair_column=columns.pair,
            label_column=columns.labels,
            group_column=columns.group,
            separator=source.separator,
            quotes=source.quotes,
            skip_bad_rows=source.skip_bad_rows,
            task=source.task,
            label_separator=source.label_separator,
            name=source.name,
            primary_metric=source.primary_metric,
        )
        return data, source
    if source.separator is not None:
        raise UserError(f"{source.path}: --separator is for CSV and TSV files")
    if hub is None:
        from tunekit.data.saved_folder import read_saved

        rows, notes = read_saved(path, columns, source.test_split)
        name = path.resolve().name
    else:
        from tunekit.data.hub_files import read_hub

        hub, rows, notes = read_hub(hub, columns, source.test_split)
        source, name = replace(source, path=str(hub)), hub.name
    if source.test_split is not None and "test" not in rows:
        raise UserError(f"{source.path}: none of the rows of its split {source.test_split} has a label to test on")
    data = dataset_of_rows(
        rows,
        columns,
        source.path,
        source.name or name,
        skip_bad_rows=source.skip_bad_rows,
        way_out="give more rows",
        task=source.task,
        primary_metric=source.primary_metric,
        draw_val=source.test_split is not None,
    )
    return replace(data, reading_notes=(*notes, *data.reading_notes), note=_note(source, "val" not in rows)), source


def _note(source: DataSource, val_is_drawn: bool) -> str:
    """Return the note of tables on a dataset whose test part was named; empty where none was."""
    if source.test_split is None:
        return ""
    drawn = ", and the validation part is drawn from its training split" if val_is_drawn else ""
    return f"the test part is the split {source.test_split}{drawn}"


def is_saved(path: Path) -> bool:
    """Return whether ``path`` is a folder that ``save_to_disk`` of the library ``datasets`` wrote."""
    return any((path / file).is_file() for file in ("dataset_dict.json", "state.json"))
