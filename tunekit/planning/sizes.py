"""The sizes of datasets and the shapes of models, by which planning estimates before anything is read or built."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tunekit.data.base import DATASETS, TextDataset
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef
from tunekit.models.shapes import PLAIN, NoClosedForm, Shape
from tunekit.planning.fitting import config_of
from tunekit.planning.resolve import ResolvedSweep
from tunekit.planning.work import Texts
from tunekit.schema import TrialSpec

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0)
"""The shares of a dataset's rows that are at most as long as each of its ``lengths``."""
LENGTHS = {
    "acl_arc": (9, 27, 33, 37, 42, 47, 53, 60, 69, 86, 114, 146, 152, 278, 290),
    "agnews": (18, 35, 41, 44, 47, 50, 54, 57, 62, 69, 80, 123, 141, 200, 262),
    "agnews_7k6": (18, 35, 41, 44, 47, 50, 54, 57, 62, 69, 80, 123, 141, 200, 262),
    "demo": (9, 15, 16, 17, 18, 19, 19, 20, 21, 22, 23, 25, 25, 25, 26),
    "restaurant": (7, 14, 17, 20, 22, 25, 27, 31, 35, 42, 49, 66, 80, 92, 92),
}
"""The tokens of registered datasets' training rows at ``SHARES``, by the tokenizer of MiniLM, which is BERT's. AG News
has the lengths of its part ``agnews_7k6``."""
TYPICAL = "acl_arc"
"""The dataset whose spread of lengths is assumed for a dataset that declares only its mean length."""
TOKENS_PER_WORD, SPECIAL_TOKENS = 1.3, 2
"""The tokens of an English word by BERT's tokenizer (the registered datasets have 1.1 to 1.4), and the special tokens
of a text."""
UNKNOWN = MODELS["roberta"].shape
"""The shape that is assumed for a model whose config.json is not on this machine."""
PARTS = ("val", "test")


@dataclass(frozen=True)
class DatasetSize:
    """The size of a dataset, as far as planning knows it."""

    rows: dict[str, int]
    """The number of rows of each split."""
    lengths: tuple[float, ...]
    """The tokens of its rows at ``SHARES``, from the shortest row to the longest."""
    num_labels: int

    def of_rows(self, count: int, max_length: int) -> npt.NDArray[np.int64]:
        """Return the rising lengths (count,), in tokens, of ``count`` typical rows, cut to ``max_length``.

        As many rows as train has include its longest row. The longest of fewer rows is as long as is to be expected.
        """
        shares = (np.arange(count) + 0.5) / max(1, count)
        tokens = np.interp(shares, SHARES, self.lengths)
        if count >= self.rows["train"]:
            tokens[-1:] = self.lengths[-1]
        return np.minimum(np.rint(tokens), max_length).astype(np.int64)

    def seen_by(self, spec: TrialSpec) -> dict[str, int]:
        """Return the number of rows of each split that a trial of ``spec`` trains on, and scores after each epoch."""
        rows = dict(self.rows)
        if spec.val_fraction:
            rows["val"] = round(spec.val_fraction * rows["train"])
            rows["train"] -= rows["val"]
        rows["train"] = min(rows["train"], spec.train_limit or rows["train"])
        return {part: count for part, count in rows.items() if part != "test" or spec.score_test}


def texts_of(lengths: npt.NDArray[np.int64]) -> Texts:
    """Return the sequences, tokens and pairs of sequences of ``lengths`` (N,)."""
    return Texts(len(lengths), int(lengths.sum()), int((lengths**2).sum()))


def size_of(data: TextDataset) -> DatasetSize:
    """Return the size of data that was read. A word counts as ``TOKENS_PER_WORD`` tokens."""
    words = [
        len(f"{text} {pair or ''}".split())
        for text, pair in zip(data.splits["train"]["text"], data.splits["train"]["pair"], strict=True)
    ]
    tokens = np.quantile(words, SHARES) * TOKENS_PER_WORD + SPECIAL_TOKENS
    rows = {part: len(frame) for part, frame in data.splits.items()}
    return DatasetSize(rows, tuple(float(one) for one in tokens), len(data.label_names))


def declared_size(name: str) -> DatasetSize:
    """Return the size of a registered dataset, from what it declares. Raises UserError where there is none."""
    info = DATASETS[name]
    lengths: Sequence[float] = LENGTHS.get(name, ())
    if not lengths:
        mean = declared_size(TYPICAL).of_rows(1000, 10**6).mean()
        lengths = [info.mean_tokens * one / mean for one in LENGTHS[TYPICAL]]
    return DatasetSize(dict(info.num_rows), tuple(lengths), len(info.label_names))


def dataset_sizes(sweep: ResolvedSweep) -> dict[str, DatasetSize]:
    """Return the size of each dataset of ``sweep`` by name: the declared one, or that of the user's own data."""
    return {
        name: size_of(sweep.own_data[name]) if name in sweep.own_data else declared_size(name)
        for name in dict.fromkeys(spec.dataset for spec in sweep.specs)
    }


def shape_of(model: ModelRef) -> Shape:
    """Return the model's shape, by its config.json where it is on this machine; else ``UNKNOWN``.

    Settings that change no size, such as another activation, are passed over.
    """
    config = config_of(model)
    if config is None:
        return UNKNOWN
    try:
        return Shape.from_config({**config, **{name: plain for name, plain in PLAIN.items() if name in config}})
    except NoClosedForm:
        return UNKNOWN


def shapes_of(sweep: ResolvedSweep) -> dict[str, Shape]:
    """Return the shape of each model of ``sweep`` by its name."""
    return {name: shape_of(model) for name, model in sweep.models.items()}
