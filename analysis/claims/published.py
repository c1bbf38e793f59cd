"""The register of published numbers: the study's Tables 1 to 4, and other papers' numbers for the same cells.

Scores are decimals in percent, with the digits that are in print (``published.yaml``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

from analysis.claims.measured import Lookup, Measured
from analysis.claims.row import ClaimRow
from analysis.statistics.this_set import Sample
from tunekit.parsing import read_yaml


@dataclass(frozen=True)
class PublishedScore:
    """One printed score; ``mean`` and ``std`` are in percent, as printed."""

    table: int | None
    """The number of the study's table; None for a score published elsewhere."""
    model: str
    method: str
    dataset: str
    metric: str
    mean: Decimal
    std: Decimal | None
    n: int | None
    """The number of runs behind the mean; None where it is not known."""
    items: int | None
    """The number of test items of a run; None where it is not known."""
    source: str

    @property
    def text(self) -> str:
        """The score as printed: ``77.41 ± 2.81``, or the mean alone."""
        return f"{self.mean}" if self.std is None else f"{self.mean} ± {self.std}"


@dataclass(frozen=True)
class PublishedRow:
    """A row of a printed table and the label it has there; ``scores`` are in the order of the table's datasets."""

    model: str
    method: str
    label: str
    scores: tuple[PublishedScore, ...]


@dataclass(frozen=True)
class PublishedTable:
    """A printed table: one row a model or method, one column a dataset, in print order."""

    number: int
    caption: str
    metric: str
    datasets: tuple[str, ...]
    labels: tuple[str, ...]
    """The names of the datasets in print."""
    rows: tuple[PublishedRow, ...]

    def bold(self) -> tuple[tuple[bool, ...], ...]:
        """Return which cells are bold, a tuple a row: the highest mean of each column, ties together."""
        best = [
            max(scores) for scores in zip(*([score.mean for score in row.scores] for row in self.rows), strict=True)
        ]
        return tuple(tuple(s.mean == top for s, top in zip(row.scores, best, strict=True)) for row in self.rows)


def tables() -> list[PublishedTable]:
    """Return the study's Tables 1 to 4, rows and columns in print order."""
    content = _content()
    return [_table(printed, content) for printed in content["tables"]]


def register() -> list[PublishedScore]:
    """Return the 36 scores of the study's Tables 1 to 4, in print order; full RoBERTa is in two tables each."""
    return [score for table in tables() for row in table.rows for score in row.scores]


def elsewhere() -> list[PublishedScore]:
    """Return the scores that other papers print for full fine-tuning of the same models.

    The ``source`` of each says where it is printed and what differs.
    """
    scores = []
    for entry in _content()["elsewhere"]:
        source = ", ".join(entry[key] for key in ("source", "note") if key in entry)
        for metric, text in entry["scores"].items():
            mean, std = _parse(text)
            cell = (entry["model"], "full", entry["dataset"], metric)
            scores.append(PublishedScore(None, *cell, mean, std, None, None, source))
    return scores


def published_lookup(scores: Iterable[PublishedScore]) -> Lookup:
    """Return a lookup of a claim's rows among ``scores``, which gives samples in [0, 1] without raw values.

    Scores without std or n are left out. A row that names settings gets no sample, since printed tables name none.
    Raises ValueError where one cell is printed with two different values.
    """
    samples: dict[tuple[str, str, str, str], Sample] = {}
    for score in scores:
        if score.std is None or score.n is None:
            continue
        sample = Sample(float(score.mean / 100), float(score.std / 100), score.n)
        cell = (score.model, score.method, score.dataset, score.metric)
        if samples.setdefault(cell, sample) != sample:
            raise ValueError(f"{' '.join(cell)} is published with two values, one of them {score.text}")

    def lookup(row: ClaimRow, dataset: str, metric: str) -> Measured:
        if row.settings:
            return Measured(reason=f"{row}: the printed tables name no settings")
        sample = samples.get((row.model, row.method, dataset, metric))
        return Measured() if sample is None else Measured(sample=sample, configuration="as printed", split="test")

    return lookup


@cache
def _content() -> Any:
    return read_yaml(resources.files("analysis.claims") / "published.yaml", "published.yaml")


def _parse(text: str) -> tuple[Decimal, Decimal | None]:
    """Return the mean and std of ``77.41 ± 2.81`` or ``77.41``."""
    mean, _, std = text.partition(" ± ")
    return Decimal(mean), Decimal(std) if std else None


def _table(printed: dict[str, Any], content: dict[str, Any]) -> PublishedTable:
    number, metric, datasets = printed["number"], printed["metric"], printed["datasets"]
    known = content["datasets"]
    source = f"{content['source']}, Table {number}"
    rows = []
    for row in printed["rows"]:
        model, method = row["model"], row["method"]
        scores = tuple(
            PublishedScore(
                number, model, method, dataset, metric, *_parse(text), content["seeds"], known[dataset]["items"], source
            )
            for dataset, text in zip(datasets, row["scores"], strict=True)
        )
        rows.append(PublishedRow(model, method, row["label"], scores))
    labels = tuple(known[dataset]["label"] for dataset in datasets)
    return PublishedTable(number, printed["caption"], metric, tuple(datasets), labels, tuple(rows))
