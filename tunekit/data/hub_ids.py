"""The names of datasets of the Hugging Face hub: ``hf:ORG/NAME[/CONFIG][@REVISION]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tunekit.errors import UserError

HUB = "hf:"
"""The prefix of the name of a dataset of the hub."""
_FORM = re.compile(
    r"hf:(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(/(?P<config>[\w.+-]+))?(@(?P<revision>[\w./-]+))?"
)


@dataclass(frozen=True)
class HubDataset:
    """A dataset of the hub; ``str`` gives the name that it was parsed from."""

    repository: str
    """``ORG/NAME``."""
    config: str | None
    """The name of one of its configurations; None for the only one, or the default."""
    revision: str | None
    """A commit, branch or tag; None for the branch main."""

    @classmethod
    def parse(cls, text: str) -> HubDataset:
        """Return the dataset that ``text`` names. Raises UserError where it has another form."""
        found = _FORM.fullmatch(text)
        if found is None or ".." in text:
            raise UserError(f"{text!r} names no dataset of the hub; the form is hf:ORG/NAME[/CONFIG][@REVISION]")
        return cls(found["id"], found["config"], found["revision"])

    @property
    def name(self) -> str:
        """The name that tables show: the repository's name, and the configuration's."""
        name = self.repository.partition("/")[2]
        return name if self.config is None else f"{name}-{self.config}"

    def __str__(self) -> str:
        config = "" if self.config is None else f"/{self.config}"
        return f"{HUB}{self.repository}{config}" + ("" if self.revision is None else f"@{self.revision}")
