"""A model's weights in its folder: files, names, types and shapes of tensors, read without torch.

The form of a safetensors file is 8 bytes with the length of the header, the header in JSON, then the tensors.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.parsing import strict_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"[A-Za-z0-9][\w.-]*\.safetensors")
"""The form of a shard's name in an index: a file of the same folder."""
MAX_HEADER_BYTES = 100_000_000
MAX_INDEX_BYTES = 10_000_000
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8,
    "I64": 8, "F64": 8,
}  # fmt: skip
"""The types of numbers that are read, and their bytes."""
EXPONENTS = {"F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F80_0000), "F64": ("<u8", 0x7FF << 52)}
"""The types of fractions: how numpy reads their bits, and the bits of the exponent, which are all 1 in NaN and
infinity alone."""
NUMBERS_AT_A_TIME = 2**20
"""The numbers that are checked in one step, few enough to keep memory low."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a safetensors file."""

    file: Path
    dtype: str
    """One of ``ITEM_BYTES``."""
    shape: tuple[int, ...]
    start: int
    """The number of its first byte in the file."""


def weight_files(folder: Path, name: str) -> list[Path]:
    """Return the files of the weights: ``model.safetensors``, or else the shards that its index names.

    Raises UserError where there is neither, or a shard is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return _shards(folder, name)
    pickled = any(folder.glob("*.bin"))
    why = "only pickled .bin weights, which are not loaded; convert them to safetensors" if pickled else "no weights"
    raise UserError(f"model {name!r}: {folder.name} has no {WEIGHTS} ({why})")


def shard_names(folder: Path, name: str) -> list[str]:
    """Return the names of the shards that the index in ``folder`` names, sorted. Raises UserError."""
    return sorted(set(_weight_map(folder, name).values()))


def _weight_map(folder: Path, name: str) -> dict[str, str]:
    """Return the shard that holds each tensor, by the tensor's name in the index. Raises UserError on a wrong index."""
    path = folder / INDEX
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise UserError(f"model {name!r}: {INDEX} is larger than {MAX_INDEX_BYTES} bytes")
        content = strict_json(path.read_text(encoding="utf-8"))
        found = content["weight_map"]
        named = {str(tensor): str(file) for tensor, file in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"model {name!r}: its {INDEX} can't be read ({type(error).__name__})") from error
    for file in named.values():
        if not SHARD.fullmatch(file):
            raise UserError(f"model {name!r}: its {INDEX} names {file!r}, which is no shard in the model's own folder")
    if not named:
        raise UserError(f"model {name!r}: its {INDEX} names no tensor")
    return named


def _shards(folder: Path, name: str) -> list[Path]:
    """Return the shards of the index. Raises UserError where the index and the shards disagree."""
    named = _weight_map(folder, name)
    files = sorted(set(named.values()))
    if missing := [file for file in files if not (folder / file).is_file()]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"model {name!r}: its {INDEX} names {missing[0]}{more}, which {folder.name} does not hold")
    if strange := sorted({path.name for path in folder.glob("model-*-of-*.safetensors")} - set(files)):
        raise UserError(f"model {name!r}: its {INDEX} does not name the shard {strange[0]}")
    for file in files:
        held = set(_header(folder / file, name))
        expected = {tensor for tensor, of in named.items() if of == file}
        if lost := sorted(expected ^ held):
            where = "lacks" if lost[0] in expected else "holds"
            raise UserError(f"model {name!r}: {file} {where} {lost[0]}, and its {INDEX} says otherwise")
    return [folder / file for file in files]


def stored_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of the weights in ``folder`` by name. Raises UserError where a file is damaged."""
    return {key: one for file in weight_files(folder, name) for key, one in _header(file, name).items()}


def _header(file: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of one file. Raises UserError where it is no whole safetensors file."""
    status = file.stat()
    try:
        return _read_header(file, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        text = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"model {name!r}: its weights can't be read ({file.name}: {text})") from error


@cache
def _read_header(file: Path, size: int, changed: int) -> dict[str, Tensor]:
    """Return the tensors of ``file``, by name. ``size`` and ``changed`` identify a version, which is read once."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise ValueError("it is no safetensors file, or cut short")
        content = strict_json(opened.read(length).decode())
    found, end = {}, 0
    for key, values in content.items():
        if key == "__metadata__":
            continue
        dtype, shape, (first, last) = values["dtype"], tuple(values["shape"]), values["data_offsets"]
        if dtype not in ITEM_BYTES:
            raise ValueError(f"{key} has the type {dtype}, which is not read")
        if not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError(f"{key} has the shape {shape}")
        if not 0 <= first <= last or last - first != prod(shape) * ITEM_BYTES[dtype]:
            raise ValueError(f"{key} lies at bytes that do not fit its shape")
        found[key] = Tensor(file, dtype, shape, 8 + length + first)
        end = max(end, 8 + length + last)
    if end > size:
        raise ValueError(f"it is cut short: {size} of {end} bytes")
    return found


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity; None where all numbers are finite."""
    return next((name for name, one in tensors.items() if not _is_finite(one)), None)


def _is_finite(tensor: Tensor) -> bool:
    return all(not (bits & mask == mask).any() for bits, mask in _parts(tensor))


def _parts(tensor: Tensor) -> Iterator[tuple[Any, int]]:
    """Yield the bits of a tensor of fractions, some numbers at a time, and the bits of the exponent."""
    import numpy as np

    count = prod(tensor.shape)
    if tensor.dtype not in EXPONENTS or not count:
        return
    kind, mask = EXPONENTS[tensor.dtype]
    bits = np.memmap(tensor.file, kind, "r", tensor.start, (count,))
    for first in range(0, count, NUMBERS_AT_A_TIME):
        yield bits[first : first + NUMBERS_AT_A_TIME], mask
