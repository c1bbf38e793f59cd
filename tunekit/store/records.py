"""Read the files of one trial strictly.

A file must be complete, of this schema version, at most ``MAX_BYTES`` large and no link. If it is not, DamagedRecord is
raised.
"""

import gzip
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tunekit.errors import UserError
from tunekit.parsing import Scalar, check_names, check_scores, coerced, plain_scalars, strict_json, strictly
from tunekit.schema import (
    SCHEMA_VERSION,
    EpochRecord,
    Fingerprint,
    Status,
    TrialSpec,
    TrialSummary,
    canonical_json,
    readable,
    slug,
)
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place
from tunekit.store.epoch_records import TASK_SCHEMA_VERSION, epoch_record
from tunekit.store.trial_files import COMPRESSED_STEPS_FILE, PREDICTIONS_FILE, STEPS_FILE
from tunekit.tasks.base import Metric

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = Fingerprint(model="unknown", data="unknown", code="unknown", trainer=0)
"""The fingerprint of every imported trial, whose code and data are not known."""


@dataclass(frozen=True, kw_only=True)
class ImportedSpec:
    """The spec of a trial that another program trained and that the command ``import`` has read.

    Raises ValueError, which names the field, on a value of the wrong type.
    """

    model: str
    """The name of the model."""
    dataset: str
    """The name of the dataset."""
    method: str
    """The name of the fine-tuning method."""
    seed: int
    """The random seed."""
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    """Every other setting of the experiment, under the name that the experiment gave it."""
    epochs: int | None = None
    """The number of epochs that the trial was to train; None where its source does not say."""
    score_test: bool = True
    """Whether the test split was to be scored, which a search does not do."""

    def __post_init__(self) -> None:
        check_names(model=self.model, dataset=self.dataset, method=self.method)
        for name, kind in (("seed", "int"), ("epochs", "int | None"), ("score_test", "bool")):
            object.__setattr__(self, name, coerced(name, kind, getattr(self, name)))
        object.__setattr__(self, "settings", plain_scalars("settings", self.settings))

    @property
    def trial_id(self) -> str:
        """The first 12 hex digits of the sha256 of the spec's canonical JSON."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """The name of the trial's folder in the store."""
        name = "-".join(slug(part) for part in (self.model, self.dataset, self.method))
        return f"{name}-s{self.seed}-{self.trial_id}"

    @property
    def label(self) -> str:
        """A line that names the trial for a person."""
        return f"{readable(self.model)} · {readable(self.dataset)} · {self.method} · seed {self.seed}"

    @property
    def cell(self) -> str:
        """The canonical JSON of every field but the seed. Only trials of equal cells may be averaged."""
        return canonical_json({name: value for name, value in asdict(self).items() if name != "seed"})

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ImportedSpec":
        """Return the spec that ``to_dict`` gave. Raises ValueError on a missing or unknown field."""
        return strictly(cls, values)


@dataclass(frozen=True, kw_only=True)
class ImportedEpoch(EpochRecord):
    """One epoch of an imported trial."""

    scores: Mapping[str, float | None] = field(default_factory=dict)
    """Further scores by split and name, such as ``test_spearman``."""

    def values(self) -> dict[str, Any]:
        """Return every value of the epoch by its name, including the scores of every split."""
        own = super().values()
        own.pop("scores")
        return {**own, **self.scores}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, imported: bool = True) -> "ImportedEpoch":
        """Return the record of a stored row. Raises ValueError as EpochRecord does, and where a score is no number."""
        record = super().from_dict(values, imported=imported)
        check_scores("scores", record.scores, optional=False)
        return record


MAX_BYTES = 500_000_000
"""The largest size of a record file."""


class DamagedRecord(ValueError):
    """A stored file is damaged. The message names the file, and the line where one line is at fault."""


def read_epochs(path: Place, imported: bool = False) -> list[EpochRecord]:
    """Return the records in an epochs.jsonl, and an empty list where there is no file. Raises DamagedRecord.

    ``imported`` says whether another program trained the trial.
    """
    if not path.exists():
        return []
    records: list[EpochRecord] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            row = strict_json(line)
            if isinstance(row, dict) and row.get("schema_version") == TASK_SCHEMA_VERSION and not imported:
                records.append(epoch_record(row))
            else:
                values = {k: v for k, v in check_version(row, path).items() if k != "schema_version"}
                records.append((ImportedEpoch if imported else EpochRecord).from_dict(values))
            if records[-1].epoch != number:
                raise ValueError(f"epoch {records[-1].epoch} stands where {number} should")
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedRecord(f"{path}:{number}: {error}") from error
    return records


def read_text(path: Place) -> str:
    """Return the text of a record file.

    Raises DamagedRecord where it can't be read, is larger than ``MAX_BYTES`` or is a link, and OSError where the server
    of an object store does not answer.
    """
    refuse_link(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DamagedRecord(f"{path}: larger than {MAX_BYTES:,} bytes, which no such file should be")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(path, ObjectPath) and isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise  # a server that does not answer does not mean that the object is damaged
        raise DamagedRecord(f"{path}: {error}") from error


def refuse_link(path: Place) -> None:
    """Raise DamagedRecord where ``path`` is a link, since it could lead out of the store."""
    if path.is_symlink():
        raise DamagedRecord(
            f"{path} is a link, and links in a store are not followed; put the file or folder itself there"
        )


def load_record(path: Place) -> dict[str, Any]:
    """Return the object in a JSON record file. Raises DamagedRecord if it is damaged or of another schema version."""
    try:
        return check_version(strict_json(read_text(path)), path)
    except DamagedRecord:
        raise
    except ValueError as error:
        raise DamagedRecord(f"{path}: {error}") from error


def spec_of(cell: Mapping[str, Any], seed: int) -> TrialSpec | ImportedSpec:
    """Return the spec of one seed of a request's cell. Raises ValueError or TypeError where the cell is no spec."""
    values = {name: value for name, value in cell.items() if name not in ("seeds", "imported")}
    return (ImportedSpec if cell.get("imported") is True else TrialSpec).from_dict({**values, "seed": seed})


def check_version(content: Any, path: Place) -> dict[str, Any]:
    """Return ``content``. Raises DamagedRecord where it is not an object of this schema version."""
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise DamagedRecord(f"{path}: not a record of schema version {SCHEMA_VERSION}")
    return content


def read_steps(folder: Place, columns: Mapping[str, type]) -> "pd.DataFrame | None":
    """Return ``columns``, with their types, of a trial's optimizer steps; None where the trial keeps no steps.

    A released trial keeps them compressed. Raises DamagedRecord, which names the file.
    """
    import pandas as pd

    for path in (folder / STEPS_FILE, folder / COMPRESSED_STEPS_FILE):
        if path.exists():
            try:
                if path.stat().st_size > MAX_BYTES:
                    raise ValueError(f"larger than {MAX_BYTES:,} bytes, which no such file should be")
                content = path.read_bytes()
                text = content if path.name == STEPS_FILE else gzip.decompress(content)
                return pd.read_csv(BytesIO(text), usecols=list(columns), dtype=dict(columns))
            except (OSError, EOFError, zlib.error, ValueError) as error:
                raise DamagedRecord(f"{path}: {error}") from error
    return None


def read_predictions(folder: Place, **options: Any) -> "pd.DataFrame":
    """Return a trial's predictions.parquet; ``options`` are those of pandas' ``read_parquet``.

    Raises OSError, and ValueError where the file is damaged.
    """
    import pandas as pd

    return pd.read_parquet(BytesIO((folder / PREDICTIONS_FILE).read_bytes()), **options)


@dataclass(frozen=True)
class StoredTrial:
    """What the folder of one trial holds."""

    folder: Place
    """The folder of the trial."""
    spec: TrialSpec | ImportedSpec
    """The settings of the trial."""
    fingerprint: Fingerprint
    """The versions of the model, data and code that trained it."""
    epochs: list[EpochRecord]
    """One record for each epoch, from epoch 1 without a gap."""
    summary: TrialSummary | None
    """How the trial ended; None where it still runs or was interrupted."""


@dataclass(frozen=True)
class CompletedTrial(StoredTrial):
    """A trial of tunekit's own, not an imported one, that has trained all its epochs."""

    spec: TrialSpec
    summary: TrialSummary

    @classmethod
    def of(cls, trial: StoredTrial) -> "CompletedTrial | None":
        """Return ``trial`` as a completed one; None where it is imported or has not completed."""
        spec, summary = trial.spec, trial.summary
        if not isinstance(spec, TrialSpec) or summary is None or summary.status is not Status.COMPLETED:
            return None
        return cls(trial.folder, spec, trial.fingerprint, trial.epochs, summary)


def running_best(records: Sequence[EpochRecord], metric: Metric) -> list[float]:
    """Return, for each epoch, the best validation score in ``metric`` up to that epoch.

    Raises UserError where the trial has no validation part.
    """
    values = [record.score(f"val_{metric.name}") for record in records]
    if None in values:
        raise UserError("a search needs a validation part; give --val-fraction")
    return list(accumulate((value for value in values if value is not None), lambda *two: metric.best(two)))
