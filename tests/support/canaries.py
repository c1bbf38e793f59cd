"""Secrets that are looked for in the files of a folder."""

import base64
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq


def spellings(secret: str) -> list[bytes]:
    """The secret as text, and as hex and base64 would hold it at any offset."""
    raw = secret.encode()
    in_base64 = [base64.b64encode(b"x" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    return [raw, raw.hex().encode(), *in_base64]


def holding(folder: Path, wanted: Iterable[str]) -> list[str]:
    """Files below ``folder`` that hold one of the secrets, parquet unpacked."""
    needles = [spelled for secret in wanted for spelled in spellings(secret)]
    found = []
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.ParquetFile(path).read().to_pydict()).encode()
        if any(needle in content for needle in needles):
            found.append(str(path.relative_to(folder)))
    return found
