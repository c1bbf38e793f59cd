"""Encoders with seeded random weights and MiniLM's tokenizer: one for short trials, and one of BERT-base's shape."""

import shutil
from pathlib import Path

from transformers import BertConfig, BertModel

from benchmarks.replays.encoder import TOKENIZER_FILES
from tunekit.models.catalog import MODELS
from tunekit.models.hub import folder_of_minilm
from tunekit.seeding import seeded

SEED = 20_140_814
SMALL = BertConfig(
    vocab_size=MODELS["minilm"].shape.vocab_size,
    hidden_size=256,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=1024,
)
"""Four layers, 256 wide."""
BASE = BertConfig()
"""BERT-base's shape."""


def write_encoder(folder: Path, config: BertConfig, minilm: str = "minilm") -> None:
    """Write an encoder of ``config`` to ``folder``, as a local model.

    Its tokenizer is that of ``minilm``: the registered name, or a folder with MiniLM's files. Raises UserError where
    they are not there.
    """
    source = folder_of_minilm(MODELS["minilm"].revision) if minilm == "minilm" else Path(minilm)
    with seeded(SEED):
        BertModel(config).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copyfile(source / name, folder / name)
