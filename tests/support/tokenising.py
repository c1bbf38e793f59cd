"""What one of several processes does that tokenise the same texts. It imports no transformers, which takes seconds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tunekit.data import tokens

WORDS = {"[UNK]": 0, "the": 1, "soup": 2, "was": 3, "good": 4, "bad": 5}
TEXTS = ["the soup was good", "the soup was bad", "good soup"]


class Words:
    """A tokenizer of ``WORDS`` that answers as those of transformers do."""

    model_max_length = 8
    sep_token, truncation_side, split_special_tokens = "[UNK]", "right", False
    model_input_names = ("input_ids",)

    def __init__(self) -> None:
        self.backend_tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
        self.backend_tokenizer.pre_tokenizer = Whitespace()

    def __call__(self, texts: list[str], pairs: None, max_length: int | None = None, **_: object) -> dict[str, Any]:
        return {"input_ids": [one.ids[:max_length] for one in self.backend_tokenizer.encode_batch(texts)]}


def tokenise_texts(folder: Path) -> tuple[int, int]:
    """Return a sum over the tokens of one split, and how many splits this process made."""
    made: list[Path] = []
    write = tokens.write_atomic
    tokens.write_atomic = lambda path, content: made.append(path) or write(path, content)
    frame = pd.DataFrame({"text": TEXTS * 400, "pair": pd.Series([None] * 400 * len(TEXTS), dtype="object")})
    splits = {name: frame[begin:] for begin, name in enumerate(("train", "val", "test"))}
    found = tokens.tokenise(SimpleNamespace(splits=splits, pair_as="pair"), Words(), 8, folder)
    tokens.write_atomic = write
    return int(found["test"].ids.sum()), len(made)
