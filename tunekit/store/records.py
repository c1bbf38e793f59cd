"""A store's record files, read strictly: whole, of this version, of sane size, and no links."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tunekit.errors import UserError
from tunekit.parsing import Scalar, check_names, coerced, plain_scalars, strict_json, strictly
from tunekit.schema import SCHEMA_VERSION, EpochRecord, Fingerprint, TrialSpec, TrialSummary, canonical_json, slug
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = Fingerprint(model="unknown", data="unknown", code="unknown", trainer=0)
"""The fingerprint of an imported trial."""


@dataclass(frozen=True, kw_only=True)
class ImportedSpec:
    """The names and settings that an imported experiment recorded of a trial; it stands where a TrialSpec would.

    Raises ValueError, naming the field, on a value of the wrong type.
    """

    model: str
    dataset: str
    method: str
    seed: int
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    """Everything else that the experiment set, by its own names."""
    epochs: int
    """Epochs its longest finished trial reported."""
    score_test: bool = True
    """Whether its scores are those of a test split."""

    def __post_init__(self) -> None:
        check_names(model=self.model, dataset=self.dataset, method=self.method)
        for name, kind in (("seed", "int"), ("epochs", "int"), ("score_test", "bool")):
            object.__setattr__(self, name, coerced(name, kind, getattr(self, name)))
        object.__setattr__(self, "settings", plain_scalars("settings", self.settings))

    @property
    def trial_id(self) -> str:
        """12 hex digits of the sha256 of the canonical JSON."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """Name of the trial's folder in the store."""
        name = "-".join(slug(part) for part in (self.model, self.dataset, self.method))
        return f"{name}-s{self.seed}-{self.trial_id}"

    @property
    def label(self) -> str:
        """The trial for a person to read."""
        return f"{self.model} · {self.dataset} · {self.method} · seed {self.seed}"

    @property
    def cell(self) -> str:
        """Canonical JSON of every field but the seed: trials with equal cells may be averaged, no others."""
        return canonical_json({name: value for name, value in asdict(self).items() if name != "seed"})

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ImportedSpec":
        """The spec of ``to_dict``. Raises ValueError on a missing or unknown field."""
        return strictly(cls, values)


MAX_BYTES = 500_000_000
"""Of one record file."""


SPEC = "spec.json"
"""The file that makes a folder a trial's folder."""


class DamagedRecord(ValueError):
    """A stored file can't be read as what it should be; the message names file and line."""


def read_epochs(path: Place, imported: bool = False) -> list[EpochRecord]:
    """The rows of an epochs.jsonl, none where there is no file. Raises DamagedRecord with the line number."""
    if not path.exists():
        return []
    records: list[EpochRecord] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            row = _versioned(strict_json(line), path)
            values = {k: v for k, v in row.items() if k != "schema_version"}
            records.append(EpochRecord.from_dict(values, imported=imported))
            if records[-1].epoch != number:
                raise ValueError(f"epoch {records[-1].epoch} stands where {number} should")
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedRecord(f"{path}:{number}: {error}") from error
    return records


def read_text(path: Place) -> str:
    """A record's text. Raises DamagedRecord where it can't be read, is too large, or is a link; OSError where a server
    can't be asked.
    """
    refuse_link(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DamagedRecord(f"{path}: larger than {MAX_BYTES:,} bytes, which no such file should be")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(path, ObjectPath) and isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise  # a server that does not answer says nothing of the object
        raise DamagedRecord(f"{path}: {error}") from error


def refuse_link(path: Place) -> None:
    """Raise DamagedRecord where ``path`` is a link, for it could lead out of the store."""
    if path.is_symlink():
        raise DamagedRecord(f"{path} is a link, and links in a store are not followed; put what it stands for there")


def load_record(path: Place) -> dict[str, Any]:
    """The object of a record file. Raises DamagedRecord where it is none of this schema version."""
    try:
        return _versioned(strict_json(read_text(path)), path)
    except DamagedRecord:
        raise
    except ValueError as error:
        raise DamagedRecord(f"{path}: {error}") from error


def checked_request(request: Any) -> dict[str, Any]:
    """``request`` if its cells are specs with lists of seeds. Raises ValueError or TypeError where one is not."""
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


def spec_of(cell: Mapping[str, Any], seed: int) -> TrialSpec | ImportedSpec:
    """The trial of one seed of a request's cell. Raises ValueError or TypeError where it is none."""
    values = {name: value for name, value in cell.items() if name not in ("seeds", "imported")}
    return (ImportedSpec if cell.get("imported") is True else TrialSpec).from_dict({**values, "seed": seed})


def _versioned(content: Any, path: Place) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise DamagedRecord(f"{path}: not a record of schema version {SCHEMA_VERSION}")
    return content


def read_predictions(folder: Place, **options: Any) -> "pd.DataFrame":
    """A trial's predictions.parquet; ``options`` are those of pandas' ``read_parquet``.

    Raises OSError, and ValueError where it is damaged.
    """
    import pandas as pd

    return pd.read_parquet(BytesIO((folder / "predictions.parquet").read_bytes()), **options)


@dataclass(frozen=True)
class StoredTrial:
    """One trial's folder, read."""

    folder: Place
    spec: TrialSpec | ImportedSpec
    fingerprint: Fingerprint
    epochs: list[EpochRecord]
    summary: TrialSummary | None
    """None for a trial that was interrupted or still runs."""


def running_best(records: Sequence[EpochRecord], metric: str) -> list[float]:
    """The best validation ``metric`` so far, after each epoch. Raises UserError where there is no validation part."""
    values = [getattr(record, f"val_{metric}") for record in records]
    if None in values:
        raise UserError("a search needs a validation part; give --val-fraction")
    return list(accumulate(values, max))
