"""The numbers of a report as CSV files: ``runs.csv`` with a row a trial, ``epochs.csv`` with a row an epoch.

``tunekit import`` reads both without a map.
"""

from collections.abc import Mapping

import pandas as pd

from analysis.sweep_records import SweepRecords
from analysis.tables.render import escape_csv
from analysis.tidy import tidy_epochs, tidy_trials


def data_files(records: SweepRecords) -> Mapping[str, str]:
    """Return the texts of ``runs.csv`` and ``epochs.csv`` by name.

    Each setting, score and cost has a column; scores are in [0, 1], and ``split`` is the split whose scores tables
    show. A column that a trial has no value for is empty.
    """
    trials, epochs = tidy_trials(records), tidy_epochs(records)
    tested = trials.filter(like="test_").notna().any(axis=1)
    validated = trials.filter(like="val_").notna().any(axis=1)
    split = pd.Series("", index=trials.index).mask(validated, "val").mask(tested, "test")
    trials.insert(list(trials.columns).index("seed") + 1, "split", split)
    place = pd.Index(records.trials["path"]).get_indexer(records.epochs["path"])
    for number, name in enumerate(("split", "status")):
        column = trials[name].take(place).reset_index(drop=True)
        epochs.insert(list(epochs.columns).index("seed") + 1 + number, name, column)
    return {"runs.csv": _csv(trials), "epochs.csv": _csv(epochs)}


def _csv(frame: pd.DataFrame) -> str:
    texts = [name for name, kind in frame.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    plain = frame.astype(dict.fromkeys(texts, object))
    for name in texts:
        plain[name] = [escape_csv(value) if isinstance(value, str) else value for value in plain[name]]
    return str(plain.rename(columns=escape_csv).to_csv(index=False, lineterminator="\n"))
