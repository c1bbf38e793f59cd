"""The rows of claims: which model and method, and which of its configurations.

A row is ``MODEL`` (full fine-tuning) or ``MODEL/METHOD``. Where a method was trained with several settings, a statement
names those that it means, or asks for the choice on validation, in brackets behind the row:

    roberta/lora[r=8, learning_rate=5e-4] > roberta
    roberta/lora[best on validation] > roberta/adapter[reduction_factor=16, best on validation]

Settings have the names of a trial's spec, and need not be complete. A value with a comma is put in quotation marks. A
file whose ``configuration`` is ``best on validation`` asks for that choice in all of its rows.
"""

import re
from typing import Any, NamedTuple

BEST = "best on validation"
_SETTING = re.compile(r'\s*(?P<name>[^=,"]+?)\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^=,"]+?))\s*')
_ITEM = re.compile(r'(?:[^,"]|"[^"]*")+')


class ClaimRow(NamedTuple):
    """One row of a table, and which of its configurations is meant where there are several."""

    model: str
    method: str
    settings: tuple[tuple[str, str], ...] = ()
    """The settings that the configuration has, as names and texts; they need not be complete."""
    best: bool = False
    """Whether validation chooses among the configurations that have these settings."""

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={_quoted(value)}" for name, value in self.settings)
        return f"{self._name}[{inside}]" if inside else self._name

    def asking_for_the_best(self) -> str:
        """Return the row as it is written in a statement that asks for the choice on validation."""
        inside = ", ".join([*(f"{name}={_quoted(value)}" for name, value in self.settings), BEST])
        return f"{self._name}[{inside}]"

    @property
    def _name(self) -> str:
        return self.model if self.method == "full" else f"{self.model}/{self.method}"


def parse_row(text: str, best: bool = False) -> ClaimRow:
    """Return the row of ``roberta``, which is full fine-tuning, of ``roberta/lora``, or of ``roberta/lora[r=8]``.

    The method comes after the last slash, so a hub id is ``org/name/full``. ``best`` is whether the row asks for the
    choice on validation without saying so. Raises ValueError where the brackets hold anything but settings and
    ``best on validation``.
    """
    name, bracket, inside = text.partition("[")
    if bracket and not inside.endswith("]"):
        raise ValueError("the bracket does not close at its end")
    model, slash, method = name.rpartition("/")
    row = ClaimRow(model, method, best=best) if slash else ClaimRow(name, "full", best=best)
    return row._replace(**_configuration(inside.removesuffix("]"), best)) if bracket else row


def _configuration(inside: str, best: bool) -> dict[str, Any]:
    settings: dict[str, str] = {}
    for item in _ITEM.findall(inside) or [""]:
        match = _SETTING.fullmatch(item)
        if item.strip() == BEST:
            best = True
        elif match is None:
            raise ValueError(f"[{inside}] holds neither settings, as in [r=8, learning_rate=5e-4], nor [{BEST}]")
        elif match["name"] in settings:
            raise ValueError(f"[{inside}] names {match['name']} twice")
        else:
            settings[match["name"]] = match["plain"] if match["quoted"] is None else match["quoted"]
    return {"settings": tuple(sorted(settings.items())), "best": best}


def _quoted(value: str) -> str:
    return f'"{value}"' if "," in value else value
