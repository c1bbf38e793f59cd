"""What a command wrote to standard error: notes, which are JSON lines where no terminal reads them, and refusals."""

import json
from typing import Any


def refusals(err: str) -> list[str]:
    """The lines that are no JSON: what the command refused, or an interruption."""
    return [line for line in err.splitlines() if not line.startswith("{")]


def events(err: str) -> list[dict[str, Any]]:
    """The JSON lines."""
    return [json.loads(line) for line in err.splitlines() if line.startswith("{")]


def notes(err: str) -> str:
    """The text of all notes."""
    return "\n".join(event["text"] for event in events(err) if event["event"] == "note")
