"""Datasets of the Hugging Face hub by short names, with their columns, test part and licence, and suites of them.

An entry is data of the hub like any other (``tunekit.data.sources``), except that users need not name its columns. It
is fetched when a sweep is planned, and the sweep records its commit and the hash of its content.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tunekit.data.base import DATASETS, TextDataset
from tunekit.data.hub_ids import HubDataset
from tunekit.data.sources import DataSource
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.registry import Registry


@dataclass(frozen=True, kw_only=True)
class HubEntry:
    """A dataset of the hub that has a short name here."""

    source: DataSource
    """Its place and its columns. The path names a commit, or a branch that is looked up in each plan."""
    licence: str
    """The licence as the dataset's card states it."""
    remark: str = ""
    """A remark in tables on the test part, such as the reason for its split; empty where there is none."""

    @property
    def homepage(self) -> str:
        """The address of the dataset's card."""
        return f"https://huggingface.co/datasets/{HubDataset.parse(self.source.path).repository}"


HUB_DATASETS: Registry[HubEntry] = Registry("dataset of the hub")
SUITES: Registry[tuple[str, ...]] = Registry("suite")
"""The names of the datasets of each suite, in the order of its tables."""


def entry_of(source: DataSource) -> HubEntry | None:
    """Return the entry that ``source`` reads, at any revision; None where it is not an entry."""
    same = [HUB_DATASETS[name] for name in HUB_DATASETS]
    return next((one for one in same if _at_any_revision(one.source) == _at_any_revision(source)), None)


def described(data: TextDataset, source: DataSource) -> TextDataset:
    """Return ``data``, which was read from ``source``, with the licence and the remark of its entry, if it has one."""
    entry = entry_of(source)
    if entry is None:
        return data
    note = "; ".join(filter(None, [data.note, entry.remark]))
    return replace(data, note=note, licence=entry.licence)


def _at_any_revision(source: DataSource) -> DataSource:
    return replace(source, path=source.path.partition("@")[0])


def unknown_dataset(name: str) -> UserError:
    """Return the error that there is no dataset called ``name``, with the likely name and all names."""
    if name in SUITES:
        return UserError(f"{name!r} is a suite of datasets; give --suite {name}, or its datasets {_listed(name)}")
    known = [*DATASETS, *HUB_DATASETS]
    suites = "; ".join(f"{suite} ({_listed(suite)})" for suite in SUITES)
    return UserError(
        f"unknown dataset {name!r}{did_you_mean(name, known) or '.'} Registered datasets: {', '.join(known)}. "
        f"Suites, for --suite: {suites}"
    )


def _listed(suite: str) -> str:
    return " ".join(SUITES[suite])
