"""A BERT-type encoder of 4 layers, 256 wide, with seeded random weights and MiniLM's tokenizer: short trials."""

import shutil
from pathlib import Path

from transformers import BertConfig, BertModel

from benchmarks.replays.encoder import TOKENIZER_FILES
from tunekit.models.catalog import MODELS
from tunekit.models.hub import folder_of_minilm
from tunekit.seeding import seeded

SEED = 20_140_814


def write_small(folder: Path) -> None:
    """Write it to ``folder`` as a local model. Raises UserError without MiniLM, whose tokenizer it takes."""
    source = folder_of_minilm(MODELS["minilm"].revision)
    config = BertConfig(
        vocab_size=MODELS["minilm"].shape.vocab_size,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
    )
    with seeded(SEED):
        BertModel(config).save_pretrained(folder, safe_serialization=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(source / name, folder / name)
