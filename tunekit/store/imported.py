"""Trials of other people's experiments: what is known of them, and no more."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tunekit.parsing import Scalar, check_names, coerced, plain_scalars, strictly
from tunekit.schema import Fingerprint, canonical_json, slug

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
