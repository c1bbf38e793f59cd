"""Reading back what trackers wrote."""

import json
import struct
from importlib.util import find_spec
from pathlib import Path

import pytest


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        find_spec(package) is None, reason=f'{package} is not installed (pip install ".[tracking]")'
    )


def logged(run: Path) -> list[dict]:
    """The history of a W&B run's file: LevelDB's log format, behind a header of 7 bytes, of W&B's own messages."""
    from wandb.proto import wandb_internal_pb2

    content, at, message, rows = run.read_bytes(), 7, b"", []
    assert content.startswith(b":W&B")
    while at + 7 <= len(content):
        if (left := 32_768 - at % 32_768) < 7:  # a block ends
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        message += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found = wandb_internal_pb2.Record.FromString(message)
            message = b""
            if found.WhichOneof("record_type") == "history":
                items = found.history.item
                rows.append({one.key or "/".join(one.nested_key): json.loads(one.value_json) for one in items})
    return rows
