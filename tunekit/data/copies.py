"""Datasets loaded and checked: registered ones, and a sweep's own copies, a parquet file and a JSON file each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.data.base import DATASETS, PINNED, SPLITS, TextDataset, content_hash, make_dataset, make_frame
from tunekit.errors import UserError
from tunekit.storage.files import sha256_of, write_atomic
from tunekit.storage.paths import Place

if TYPE_CHECKING:
    from pandas import DataFrame


OWN_LICENCE = "the user's own data"
"""The licence in the description of a user's own dataset."""


def load_dataset(name: str, folder: Place | None = None) -> TextDataset:
    """Return a registered dataset, or a user's own that ``save_dataset`` left in ``folder``. Its hash is verified.

    Raises UserError for an unknown name, a file that can't be had, or content other than declared.
    """
    if name not in DATASETS and folder is not None and Path(name).name == name and (folder / f"{name}.json").is_file():
        return _read_copy(name, folder)
    info = DATASETS[name]
    splits = info.load()
    num_rows = {split: len(frame) for split, frame in splits.items()}
    if num_rows != info.num_rows:
        raise UserError(f"dataset {name!r} has rows {num_rows}, declared {info.num_rows}: its source or loader changed")
    if not info.content_hash.startswith(PINNED):
        _verify(f"dataset {name!r}", splits, info.label_names, info.content_hash, "its loader changed; undo that")
    return make_dataset(
        name,
        splits,
        display_name=info.display_name,
        label_names=info.label_names,
        content_hash=info.content_hash,
        pair_as=info.pair_as,
    )


def _verify(what: str, splits: dict[str, DataFrame], label_names: Sequence[str], expected: str, way_out: str) -> None:
    """Raise UserError where the rows' hash is not ``expected``."""
    found = content_hash(splits, label_names)
    if found != expected:
        raise UserError(f"{what} has content hash {found}, expected {expected}: {way_out}")


def save_dataset(data: TextDataset, folder: Place, *, with_text: bool = False) -> None:
    """Write ``<name>-<hash>.parquet`` and ``.json`` to ``folder``, unless a valid pair of these files is there.

    Pass the whole dataset, not one that ``limit_and_carve`` cut. Rows hold split, row, label, group and
    ``text_sha256`` (of ``text``, or of ``text``, a newline and ``pair``). ``with_text`` adds the texts themselves,
    which only a user's own data needs, since ``load_dataset`` reads it back from these files.
    """
    stem = data.name if data.name.endswith(f"-{data.content_hash}") else f"{data.name}-{data.content_hash}"
    parquet, sidecar = folder / f"{stem}.parquet", folder / f"{stem}.json"
    record = {
        "name": data.name,
        "display_name": data.display_name,
        "label_names": list(data.label_names),
        "pair_as": data.pair_as,
        "content_hash": data.content_hash,
        "licence": DATASETS[data.name].licence if data.name in DATASETS else data.licence or OWN_LICENCE,
        "with_text": with_text,
        # Only where it is not empty, so that files that were written before are still equal.
        **({"left_out": data.left_out} if data.left_out else {}),
        **({"note": data.note} if data.note else {}),
    }
    if _is_saved(record, parquet, sidecar):
        return
    folder.mkdir(parents=True, exist_ok=True)
    content = _parquet_bytes(data, with_text)
    write_atomic(parquet, content)
    # The JSON file comes last: it says that the Parquet file beside it is whole.
    record["parquet_sha256"] = hashlib.sha256(content).hexdigest()
    write_atomic(sidecar, json.dumps(record, indent=1).encode())


def _is_saved(record: dict[str, Any], parquet: Place, sidecar: Place) -> bool:
    """Return whether both files exist, whole, with the content that would be written."""
    try:
        saved = json.loads(sidecar.read_bytes())
        return bool(saved == record | {"parquet_sha256": sha256_of(parquet)})
    except (OSError, ValueError):
        return False


def _parquet_bytes(data: TextDataset, with_text: bool) -> bytes:
    """Return the bytes of one Parquet file with all splits."""
    import pandas as pd

    rows = pd.concat([frame.assign(split=s, row=frame.index) for s, frame in data.splits.items()], ignore_index=True)
    whole = (t if p is None else f"{t}\n{p}" for t, p in zip(rows["text"], rows["pair"], strict=True))
    rows["text_sha256"] = [hashlib.sha256(text.encode()).hexdigest() for text in whole]
    columns = ["split", "row", "label", "text_sha256", "group", *(("text", "pair") if with_text else ())]
    return rows[columns].to_parquet(engine="pyarrow", index=False)


def _read_copy(name: str, folder: Place) -> TextDataset:
    """Return a user's dataset from its two files in ``folder``. Raises UserError where they are damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"{name}.parquet"
    way_out = "remove both files and pass the data's own path again"
    try:
        record = json.loads((folder / f"{name}.json").read_bytes())
        label_names = tuple(map(str, record["label_names"]))
        expected, display_name, pair_as = record["content_hash"], record["display_name"], record["pair_as"]
        left_out = {str(kind): int(number) for kind, number in record.get("left_out", {}).items()}
        note, licence = str(record.get("note", "")), str(record.get("licence", OWN_LICENCE))
        columns = ["split", "text", "pair", "label", "group"]
        table = pq.read_table(pa.BufferReader(path.read_bytes()), columns=columns).to_pydict()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path} or the .json beside it ({type(error).__name__}): {way_out}") from error
    splits = {}
    for split in (s for s in SPLITS if s in table["split"]):
        rows = [row for row, s in enumerate(table["split"]) if s == split]
        texts, labels, pairs, groups = ([table[c][row] for row in rows] for c in ("text", "label", "pair", "group"))
        labels = [tuple(label) if isinstance(label, list) else label for label in labels]
        splits[split] = make_frame(texts, labels, pairs, groups)
    if not name.endswith(f"-{expected}"):
        raise UserError(f"{path} has another hash ({expected}) in the .json beside it than in its name: {way_out}")
    _verify(str(path), splits, label_names, expected, way_out)
    return make_dataset(
        name,
        splits,
        display_name=display_name,
        label_names=label_names,
        content_hash=expected,
        pair_as=pair_as,
        left_out=left_out,
        note=note,
        licence="" if licence == OWN_LICENCE else licence,
    )
