"""Check, before a model is trained, that its tokenizer, weights and config.json fit each other.

Everything here reads files that are on this machine and fetches nothing. Neither torch nor transformers is imported, so
a plan can refuse a model at once. ``tunekit.models.loading`` makes the same checks when it loads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.models.families import FAMILIES, Family
from tunekit.models.safety import checked_config
from tunekit.models.shapes import Shape
from tunekit.models.tokenizer import outline
from tunekit.models.weights import Tensor, first_not_finite, stored_tensors
from tunekit.parsing import how_many


@dataclass(frozen=True)
class Checked:
    """A model whose files fit each other, and the limits that its trials must keep."""

    max_length: int
    """The longest text in tokens, special tokens included."""
    type_ids: tuple[int, int] | None
    """The largest token type id that the tokenizer gives to a text and to a pair; None where only the loaded tokenizer
    tells."""
    num_types: int
    """The number of token types that have an embedding; 0 for a model that takes none."""
    notes: tuple[str, ...]
    """Lines for people on each unexpected treatment of this model."""


def check_model(folder: Path, name: str) -> Checked:
    """Return the facts on the model in ``folder``. Messages call it ``name``.

    Raises UserError where its tokenizer can't be loaded, its weights are not whole, hold NaN or infinity or have other
    shapes than config.json says, or where a token has no embedding.
    """
    config = checked_config(folder, name, FAMILIES)
    family = FAMILIES[config["model_type"]]
    tokenizer, tensors = outline(folder, name, config), stored_tensors(folder, name)
    shape = _shape_of(config, family, name)
    if shape is not None:
        _check_shapes(_in_backbone(tensors, family), shape, config, name)
    words = _in_backbone(tensors, family).get(_word_embeddings(family))
    if tokenizer.tokens is not None and words and words.shape:
        check_vocabulary(tokenizer.tokens, words.shape[0], name)
    if bad := first_not_finite(tensors):
        raise UserError(f"model {name!r}: {bad} of its weights holds NaN or infinity")
    positions = longest_by_positions(config, name)
    longest = positions if tokenizer.max_length is None else min(positions, tokenizer.max_length)
    num_types = _whole(config, "type_vocab_size", 2, name) if family.token_types else 0
    return Checked(longest, tokenizer.type_ids, num_types, tuple(_notes(tensors, family, shape, name)))


def check_vocabulary(tokens: Mapping[str, int], num_rows: int, name: str) -> None:
    """Raise UserError where a token has no embedding: its id in ``tokens`` is not below ``num_rows``."""
    outside = sorted((number, token) for token, number in tokens.items() if not 0 <= number < num_rows)
    if outside:
        shown = ", ".join(repr(token) for _, token in outside[:3]) + (", ..." if len(outside) > 3 else "")
        raise UserError(
            f"model {name!r}: its tokenizer has {max(len(tokens), outside[-1][0] + 1)} tokens, its weights have "
            f"{num_rows} embeddings; no embedding has {shown}. Add rows with resize_token_embeddings and save the "
            f"model again, or take the tokenizer that it was trained with"
        )


def longest_by_positions(config: Mapping[str, Any], name: str) -> int:
    """Return the most tokens of a text that have positions. RoBERTa's positions begin after the padding token's id."""
    positions = _whole(config, "max_position_embeddings", 512, name)
    if not FAMILIES[config["model_type"]].position_offset:
        return positions
    return positions - _whole(config, "pad_token_id", 1, name) - 1


def _whole(config: Mapping[str, Any], key: str, default: int, name: str) -> int:
    """Return a whole number from config.json, or ``default`` where it is missing. Raises UserError on anything else."""
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(f"model {name!r}: its config.json says {key} {value!r}, which is no whole number from 0 on")
    return value


def _notes(tensors: Collection[str], family: Family, shape: Shape | None, name: str) -> Iterator[str]:
    """Yield a line for each part of the weights that is left out."""
    if head := [key for key in tensors if key.startswith(family.drawn)]:
        yield f"model {name}: the head in its weights ({head[0]}, ...) is left out; heads are drawn from the seed"
    if shape is None:
        return
    layers = {key.partition(f"{family.layer_list}.")[2].partition(".")[0] for key in tensors} - {""}
    if len(layers) > shape.num_hidden_layers:
        yield (
            f"model {name}: its weights have {how_many(len(layers), 'layer')}, of which its config.json takes the "
            f"first {shape.num_hidden_layers}"
        )


def _in_backbone(tensors: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Return the tensors by their names in the backbone. A file's names may begin with the backbone's name, or not."""
    prefix = f"{family.backbone}."
    if not any(name.startswith(prefix) for name in tensors):
        return dict(tensors)
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


SIZES = (
    "vocab_size", "max_position_embeddings", "type_vocab_size", "num_hidden_layers", "hidden_size",
    "num_attention_heads", "intermediate_size", "embedding_size",
)  # fmt: skip
"""The fields of ``Shape`` that the shapes of weights depend on."""


def _shape_of(config: Mapping[str, Any], family: Family, name: str) -> Shape | None:
    """Return the sizes that config.json gives; None where it leaves out one of them."""
    sizes: dict[str, Any] = {"model_type": config["model_type"]}
    for size in SIZES:
        key = family.config_keys.get(size, size)
        if key in config:
            sizes[size] = _whole(config, key, 0, name)
        elif size == "type_vocab_size":
            sizes[size] = 0
        elif size != "embedding_size":
            return None
    return Shape(**sizes)


def _check_shapes(tensors: Mapping[str, Tensor], shape: Shape, config: Mapping[str, Any], name: str) -> None:
    """Raise UserError where the embeddings or a linear module of the encoder are missing, or have other shapes."""
    expected = dict(_expected(shape, config))
    if missing := [key for key in expected if key not in tensors]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"model {name!r}: its weights lack {missing[0]}{more} of the encoder")
    for key, sides in expected.items():
        if tensors[key].shape != sides:
            found, wanted = (" x ".join(map(str, each)) for each in (tensors[key].shape, sides))
            raise UserError(f"model {name!r}: {key} is {found} in its weights, and {wanted} by its config.json")
    if (padding := _whole(config, "pad_token_id", 0, name)) >= shape.vocab_size:
        raise UserError(f"model {name!r}: its config.json says pad_token_id {padding}, which is no token's id")


def _word_embeddings(family: Family) -> str:
    """Return the name of the embeddings of tokens in the backbone."""
    return f"embeddings.{family.module('word_embeddings')}.weight"


def _expected(shape: Shape, config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield names in the backbone and shapes of the embeddings and of the encoder's linear modules."""
    family, width = FAMILIES[shape.model_type], shape.embedding_size or shape.hidden_size
    yield _word_embeddings(family), (shape.vocab_size, width)
    if not family.rotary and config.get("position_biased_input", True):
        yield "embeddings.position_embeddings.weight", (shape.max_position_embeddings, width)
    if family.token_types and shape.type_vocab_size:
        yield "embeddings.token_type_embeddings.weight", (shape.type_vocab_size, width)
    for name, inside, out in shape.linears(num_labels=2):
        if name.startswith(f"{family.layers}."):
            key = name.removeprefix(f"{family.backbone}.")
            yield f"{key}.weight", (out, inside)
            if not family.biases:
                yield f"{key}.bias", (out,)
