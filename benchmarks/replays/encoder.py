"""A tiny encoder that has something to fine-tune: MiniLM's word vectors in 64 dimensions under a seeded layer.

A random encoder of this size (``tiny-bert``) learns next to nothing through LoRA within nine epochs of 1,024 texts.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from tunekit.models.catalog import MODELS
from tunekit.models.hub import folder_of_minilm
from tunekit.seeding import seeded

WIDTH = 64
LAYERS = 1
LAYER_SEED = 20_140_814
EVEN_STD = 0.02
"""Of positions, queries and keys: so small that the first token attends to all tokens alike, a mean of the text."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
WORD_VECTORS = "embeddings.word_embeddings.weight"


def write_encoder(folder: Path) -> None:
    """Write the encoder to ``folder`` as safetensors with MiniLM's tokenizer. Raises UserError without MiniLM."""
    source = folder_of_minilm(MODELS["minilm"].revision)
    vectors = load_file(source / "model.safetensors")[WORD_VECTORS]  # (V, 384)
    left, scale, _ = torch.linalg.svd(vectors - vectors.mean(dim=0), full_matrices=False)
    words = left[:, :WIDTH] * scale[:WIDTH]  # (V, WIDTH), the principal components
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=128,
        # Values keep their size through the layer, which they would not at BERT's 0.02.
        initializer_range=WIDTH**-0.5,
    )
    with seeded(LAYER_SEED), torch.no_grad():
        model: Any = BertModel(config, add_pooling_layer=False)
        model.embeddings.word_embeddings.weight.copy_(words / words.std())
        model.embeddings.position_embeddings.weight.normal_(std=EVEN_STD)
        model.embeddings.token_type_embeddings.weight.zero_()
        for layer in model.encoder.layer:
            layer.attention.self.query.weight.normal_(std=EVEN_STD)
            layer.attention.self.key.weight.normal_(std=EVEN_STD)
    model.save_pretrained(folder, safe_serialization=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(source / name, folder / name)
