"""Tags of words in the BIO scheme (Ramshaw and Marcus, 1995), and the entities that they mark.

A word that begins an entity of type X has the tag ``B-X``, a further one ``I-X``, and a word of no entity ``O``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

OUTSIDE = "O"
"""The tag of a word that belongs to no entity. It is the first of a dataset's label names."""


class Entity(NamedTuple):
    """An entity of one text."""

    type: str
    begin: int
    """The number of its first word, from 0."""
    end: int
    """The number of the first word after it."""


def is_tag(word: str) -> bool:
    """Return whether ``word`` is a tag: ``O``, or ``B-`` or ``I-`` and a type."""
    return word == OUTSIDE or (word[:2] in ("B-", "I-") and len(word) > 2)


def type_of(tag: str) -> str | None:
    """Return the type of entity that ``tag`` names; None for ``O``."""
    return None if tag == OUTSIDE else tag[2:]


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """Yield the entities of a text whose words have ``tags``, in order.

    As ``seqeval`` reads tags by default: a tag ``I-X`` after a word that belongs to no entity of type X begins one.
    """
    begin, current = 0, None
    for place, tag in enumerate([*tags, OUTSIDE]):
        kind = type_of(tag)
        if kind == current and not tag.startswith("B-"):
            continue
        if current is not None:
            yield Entity(current, begin, place)
        begin, current = place, kind


def tag_names(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags that a head computes where ``tags`` occur: ``O`` first, then by type, ``B-`` before ``I-``."""
    found = {tag for tag in tags if tag != OUTSIDE}
    return (OUTSIDE, *sorted(found, key=lambda tag: (tag[2:], tag)))


def types_of(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the types of entities that ``tags`` name, each once, in their order."""
    return tuple(dict.fromkeys(tag[2:] for tag in tags if tag != OUTSIDE))
