"""A model's tokenizer: the class that its files name, an outline of it for a plan, and its loading.

The tokens are always those of transformers' ``AutoTokenizer``; else the model is refused by name. Importing this module
loads no transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.errors import UserError, first_line
from tunekit.models.families import FAMILIES
from tunekit.models.hub import ADDED_TOKENS, SENTENCEPIECE, TOKENIZER
from tunekit.models.safety import read_object, tokenizer_config
from tunekit.parsing import strict_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FAST_CLASSES = frozenset(
    {
        "AlbertTokenizer", "BartTokenizer", "BertTokenizer", "BigBirdTokenizer", "CamembertTokenizer",
        "DebertaTokenizer", "DebertaV2Tokenizer", "DistilBertTokenizer", "ElectraTokenizer", "GPT2Tokenizer",
        "HerbertTokenizer", "MPNetTokenizer", "MobileBertTokenizer", "PreTrainedTokenizer", "RobertaTokenizer",
        "T5Tokenizer", "XLMRobertaTokenizer", "XLNetTokenizer",
    }
)  # fmt: skip
"""The classes that a model's files may name, with or without ``Fast``. Each has a fast tokenizer, which runs no code
of the model and reads no pickle."""
OF_VERSION_5 = "TokenizersBackend"
"""The name of ``PreTrainedTokenizerFast`` in transformers 5, which earlier versions don't know."""
NORMALISED = frozenset({"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer"})
"""Classes that set options of the normalizer, and that transformers 4 can't load where there is none."""
WITH_TYPES = frozenset({"BertTokenizer", "ElectraTokenizer"})
"""Classes with which every version of transformers gives the model the token types that tokenizer.json makes."""
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The keys under which a model's files name special tokens, apart from ``additional_special_tokens``."""


@dataclass(frozen=True)
class Outline:
    """The facts on a tokenizer that are known before transformers is loaded."""

    max_length: int | None
    """The longest text in tokens that tokenizer_config.json allows; None where it names no limit."""
    tokens: Mapping[str, int] | None
    """The ids of all tokens; None for a sentencepiece model, which is not read before it is loaded."""
    type_ids: tuple[int, int] | None
    """The largest token type id of a text and of a pair; None where only the loaded tokenizer tells."""


def named_class(folder: Path, name: str, config: Mapping[str, Any]) -> str:
    """Return the class that the files in ``folder`` name, without ``Fast``; else the class of the model's type.

    Raises UserError where it is none of ``FAST_CLASSES``, or transformers here does not know it.
    """
    found = tokenizer_config(folder, name).get("tokenizer_class") or config.get("tokenizer_class")
    kind = FAMILIES[config["model_type"]].own_tokenizer if found is None else str(found).removesuffix("Fast")
    if kind == OF_VERSION_5 and knows_version_5():
        return kind
    if kind not in FAST_CLASSES:
        more = "; name PreTrainedTokenizerFast instead" if kind == OF_VERSION_5 else ""
        raise UserError(f"model {name!r}: its tokenizer is a {found}, which can't be loaded here{more}")
    return kind


def outline(folder: Path, name: str, config: Mapping[str, Any]) -> Outline:
    """Return the outline of the tokenizer in ``folder``. Raises UserError where its files can't be loaded."""
    kind, values = named_class(folder, name, config), tokenizer_config(folder, name)
    length = values.get("model_max_length")
    longest = int(length) if isinstance(length, int | float) and length < 1e9 else None
    whole = folder / TOKENIZER
    if whole.is_file():
        backend = _read_backend(whole, name, kind)
        tokens = dict(backend.get_vocab(with_added_tokens=True))
        return Outline(longest, _with_named(tokens, folder, name), _type_ids(backend, kind, values))
    check_sentencepiece(folder, name)
    listed = _listed(folder, name)
    return Outline(longest, listed and _with_named(listed, folder, name), None)


def _read_backend(path: Path, name: str, kind: str) -> Any:
    """Return the ``tokenizers.Tokenizer`` of a tokenizer.json, without its settings of cutting and padding.

    Raises UserError where it can't be read, or where it lacks what ``kind`` changes before it is used.
    """
    from tokenizers import Tokenizer

    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise UserError(f"model {name!r}: its {path.name} can't be read ({first_line(error)})") from error
    if backend.normalizer is None and kind in NORMALISED and not knows_version_5():
        raise UserError(
            f"model {name!r}: its {path.name} has no normalizer, which a {kind} must have; name "
            "PreTrainedTokenizerFast in tokenizer_config.json"
        )
    backend.no_truncation()
    backend.no_padding()
    return backend


def _type_ids(backend: Any, kind: str, values: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the largest token type id of a text and of a pair; None where only the loaded tokenizer tells."""
    typed = kind in WITH_TYPES or (kind == "PreTrainedTokenizer" and not knows_version_5())
    if not typed or "model_input_names" in values:
        return None
    text, pair = backend.encode("a"), backend.encode("a", "b")
    return max(text.type_ids, default=0), max(pair.type_ids, default=0)


def knows_version_5() -> bool:
    """Return whether transformers here is of version 5 or newer."""
    return int(version("transformers").partition(".")[0]) >= 5


def check_sentencepiece(folder: Path, name: str) -> None:
    """Raise UserError where the tokenizer is a sentencepiece model and the package that reads it is missing."""
    if (folder / SENTENCEPIECE).is_file() and not ((folder / TOKENIZER).is_file() or find_spec("sentencepiece")):
        raise UserError(f"model {name!r}: its tokenizer is {SENTENCEPIECE}; pip install sentencepiece")


def _listed(folder: Path, name: str) -> dict[str, int] | None:
    """Return the ids of the tokens in vocab.txt or vocab.json; None where there is neither."""
    path = next((folder / file for file in ("vocab.txt", "vocab.json") if (folder / file).is_file()), None)
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return {str(token): int(number) for token, number in strict_json(text).items()}
        lines = text.removesuffix("\n").split("\n")
        return {token: number for number, token in enumerate(lines)}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"model {name!r}: its {path.name} can't be read ({first_line(error)})") from error


def _with_named(tokens: dict[str, int], folder: Path, name: str) -> dict[str, int]:
    """Return ``tokens``, followed by the tokens that only the files beside them name, as the library adds them."""
    for token in _named(folder, name):
        tokens.setdefault(token, max(tokens.values(), default=-1) + 1)
    return tokens


def _named(folder: Path, name: str) -> Iterator[str]:
    """Yield the tokens that the files beside the vocabulary name."""
    values = tokenizer_config(folder, name)
    listed = values.get("added_tokens_decoder")
    sources = [values]
    if isinstance(listed, dict):
        yield from (_content(one) for one in listed.values())
    else:
        if (folder / ADDED_TOKENS).is_file():
            yield from read_object(folder / ADDED_TOKENS, name)
        if (folder / "special_tokens_map.json").is_file():
            sources.append(read_object(folder / "special_tokens_map.json", name))
    for source in sources:
        more = source.get("additional_special_tokens")
        found = [source.get(key) for key in NAMED] + (more if isinstance(more, list) else [])
        yield from (_content(one) for one in found if one)


def _content(token: Any) -> str:
    return str(token.get("content") if isinstance(token, dict) else token)


def tokenise_words_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    """Let ``tokenizer`` take a text as a list of words, each of which has the tokens that it has after a space.

    Otherwise a byte-level tokenizer, such as RoBERTa's, would give a word the tokens that it has within another word.
    """
    from tokenizers import Tokenizer

    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    before = backend["pre_tokenizer"] or {}
    parts = [one for one in (before, *before.get("pretokenizers", ())) if one.get("type") == "ByteLevel"]
    if parts:
        for part in parts:
            part["add_prefix_space"] = True
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(backend))
        # The library reads it, too, before it takes lists of words, and stores it.
        tokenizer.add_prefix_space = tokenizer.init_kwargs["add_prefix_space"] = True


def open_tokenizer(folder: Path, name: str, config: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """Return the fast tokenizer that ``AutoTokenizer`` loads from ``folder``. Raises UserError where it loads none."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    kind = named_class(folder, name, config)
    check_sentencepiece(folder, name)
    values = FAMILIES[config["model_type"]].config_class().from_dict(dict(config))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, config=values, local_files_only=True)
    except Exception as error:  # what the files hold decides which; the tokenizers library raises plain Exception
        raise UserError(
            f"model {name!r}: its tokenizer can't be loaded as {kind} ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"model {name!r}: its tokenizer can't be loaded as a fast {kind}")
    return tokenizer
