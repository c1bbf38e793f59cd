"""The ``tiny-*`` models, for tests: two layers from a fixed seed, with a tokenizer that is trained on the dataset."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken, BertWordPieceTokenizer, ByteLevelBPETokenizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertTokenizerFast, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from tunekit.models.catalog import MODELS
from tunekit.models.families import FAMILIES
from tunekit.seeding import seeded

if TYPE_CHECKING:
    from tunekit.data.base import TextDataset

VOCABULARY = 2_000
BACKBONE_SEED = 20_140_814


def build_tiny(
    name: str, *, num_labels: int, seed: int, tokenizer: PreTrainedTokenizerFast, head_class: str
) -> PreTrainedModel:
    """Return the tiny model ``name`` in evaluation mode.

    Its embeddings and encoder come from a fixed seed, so that all trials share them, and its head from ``seed``.
    """
    kind = FAMILIES[MODELS[name].shape.model_type]
    model_kind = kind.model_class(head_class)
    config = _config_of(name, num_labels, tokenizer.pad_token_id)
    with seeded(seed):
        model: Any = model_kind(config)
    model.load_state_dict(_backbone(name, num_labels, head_class, tokenizer.pad_token_id), strict=False)
    model.tunekit_never_pretrained = frozenset(key for key in model.state_dict() if key.startswith(kind.head))
    encoder: PreTrainedModel = model.eval()
    return encoder


@lru_cache(maxsize=64)
def _backbone(name: str, num_labels: int, head_class: str, pad_token_id: int) -> dict[str, torch.Tensor]:
    """Return the weights of embeddings and encoder by name, drawn once in a process."""
    kind = FAMILIES[MODELS[name].shape.model_type]
    with seeded(BACKBONE_SEED):
        model = kind.model_class(head_class)(_config_of(name, num_labels, pad_token_id))
    return {key: value for key, value in model.state_dict().items() if not key.startswith(kind.head)}


def _config_of(name: str, num_labels: int, pad_token_id: int) -> PretrainedConfig:
    """Return the config of a tiny model."""
    shape = MODELS[name].shape
    kind = FAMILIES[shape.model_type]
    values = {**shape.to_config(), "pad_token_id": pad_token_id}
    config: PretrainedConfig = kind.config_class()(**values, num_labels=num_labels, attn_implementation=kind.attention)
    return config


def train_tokenizer(name: str, data: TextDataset) -> PreTrainedTokenizerFast:
    """Return a tokenizer of at most VOCABULARY entries from the training texts, the same on every machine."""
    train = data.splits["train"]
    texts = [*train["text"], *(pair for pair in train["pair"] if pair is not None)]
    inputs = ["input_ids", "attention_mask"]
    if name != "tiny-roberta":
        types = ["token_type_ids"] if FAMILIES[MODELS[name].shape.model_type].token_types else []
        return _wordpiece(texts, inputs + types)
    trainer = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer.train_from_iterator(
        texts, vocab_size=VOCABULARY, min_frequency=2, special_tokens=specials, show_progress=False
    )
    # Not the library's class for RoBERTa: from version 5 on it frames a text with <s> and </s> by itself.
    return PreTrainedTokenizerFast(
        tokenizer_object=trainer._tokenizer, model_max_length=512, model_input_names=inputs,
        bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>", unk_token="<unk>", pad_token="<pad>",
        mask_token=AddedToken("<mask>", lstrip=True),
    )  # fmt: skip


def _wordpiece(texts: list[str], inputs: list[str]) -> BertTokenizerFast:
    """Return a tokenizer of special tokens, all characters as word starts and continuations, and frequent words.

    The words are counted here, since the library's WordPiece trainer breaks ties by hash order, which differs between
    processes.
    """
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalise = BertWordPieceTokenizer(lowercase=True).normalizer.normalize_str
    split = BertPreTokenizer().pre_tokenize_str
    counts: Counter[str] = Counter(word for text in texts for word, _ in split(normalise(text)))
    letters = sorted({letter for word in counts for letter in word})
    pieces = [*specials, *letters, *(f"##{letter}" for letter in letters)]
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *words][:VOCABULARY])}
    tokenizer = BertWordPieceTokenizer(vocab=vocabulary, lowercase=True)
    return BertTokenizerFast(tokenizer_object=tokenizer._tokenizer, model_max_length=512, model_input_names=inputs)
