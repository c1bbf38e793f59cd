"""Small model folders as people have them: each with its weights, its config.json and a tokenizer of one kind."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tunekit.models.families import FAMILIES
from tunekit.models.weights import WEIGHTS

TEXTS = [
    *(f"the quick brown fox jumps over the lazy dog number {number}, good or bad" for number in range(60)),
    *["Great phone, Good Polish polish Caf\u00e9 \u00c5ngstr\u00f6m NA\u00cfVE na\u00efve"] * 8,
]
"""What the vocabularies are made of."""
SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA_SPECIALS = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
SIZES: Mapping[str, Any] = {
    "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 48,
}  # fmt: skip


def wordpiece(
    normalizer: normalizers.Normalizer | None, specials: Mapping[str, str] = SPECIALS, size: int = 160
) -> Tokenizer:
    """Return a tokenizer of BERT's kind with the pieces of TEXTS."""
    made = Tokenizer(models.WordPiece(unk_token=specials["unk"]))
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(specials.values())))
    ends = [(specials[key], made.token_to_id(specials[key])) for key in ("sep", "cls")]
    made.post_processor = processors.BertProcessing(*ends)
    made.decoder = decoders.WordPiece()
    return made


def byte_level(*, add_prefix_space: bool = False) -> Tokenizer:
    """Return a tokenizer of RoBERTa's kind: byte-level BPE, two separators between the texts of a pair."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=list(ROBERTA_SPECIALS.values()), initial_alphabet=sorted(alphabet)
        ),
    )
    ends = [(ROBERTA_SPECIALS[key], made.token_to_id(ROBERTA_SPECIALS[key])) for key in ("sep", "cls")]
    made.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=add_prefix_space)
    made.decoder = decoders.ByteLevel()
    return made


def unigram(specials: Mapping[str, str] = ROBERTA_SPECIALS) -> Tokenizer:
    """Return a tokenizer of sentencepiece's kind: unigram pieces, with spaces as part of them."""
    words = sorted({word for text in TEXTS for word in text.replace(",", " ,").split()})
    letters = sorted({letter for text in TEXTS for letter in text if letter != " "})
    pieces = [(token, 0.0) for token in specials.values()]
    pieces += [(f"\u2581{word}", -2.0 - number / 100) for number, word in enumerate(words)]
    pieces += [(piece, -9.0) for piece in ["\u2581", *letters] if piece not in {name for name, _ in pieces}]
    made = Tokenizer(models.Unigram(pieces, unk_id=list(specials).index("unk"), byte_fallback=False))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    cls, sep = specials["cls"], specials["sep"]
    made.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(token, made.token_to_id(token)) for token in (cls, sep)],
    )
    made.decoder = decoders.Metaspace()
    return made


def named(specials: Mapping[str, str]) -> dict[str, str]:
    """Return the special tokens as tokenizer_config.json names them."""
    return {f"{key}_token": token for key, token in specials.items()}


def write_model(
    folder: Path,
    tokenizer: Tokenizer,
    settings: Mapping[str, Any] | None = None,
    *,
    model_type: str = "bert",
    rows: int | None = None,
    num_labels: int = 2,
    max_shard_size: str = "5GB",
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a classifier with ``tokenizer`` and return the folder.

    ``settings`` are tokenizer_config.json, which is left out without them. ``rows`` is the number of embeddings (that
    of the tokens by default), ``config`` has further values of the model's config.
    """
    family = FAMILIES[model_type]
    sizes = {family.config_keys.get(key, key): value for key, value in SIZES.items()}
    more = {"position_buckets": 8, **family.needed, **family.usual} if model_type == "deberta-v2" else {}
    pad = tokenizer.token_to_id("[PAD]") or tokenizer.token_to_id("<pad>") or 0
    values = {**sizes, **more, "vocab_size": rows or tokenizer.get_vocab_size(), "pad_token_id": pad, **(config or {})}
    torch.manual_seed(0)
    model = family.model_class("ForSequenceClassification")(family.config_class()(**values, num_labels=num_labels))
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(dict(settings)))
    return folder


def change_json(path: Path, **values: object) -> None:
    """Set keys of a JSON object in a file; a key that is given None is set to null."""
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Have ``change`` change the tensors of the weights in place."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
