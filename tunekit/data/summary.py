"""The summary of a dataset as it was understood, for the user to see before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, pstdev
from typing import Any

from tunekit.data.base import SPLITS, TextDataset
from tunekit.data.labels import MISSING, warnings
from tunekit.parsing import how_many
from tunekit.tasks.bio import entities, types_of

MOST_CLASSES = 30
"""The most classes that a text names; JSON has all."""
LOST_CHARACTER = "\ufffd"


@dataclass(frozen=True, kw_only=True, repr=False)
class DataSummary:
    """Counts of a dataset. Two rows have the same input where text and pair are equal."""

    name: str
    """The name for display."""
    rows: dict[str, int]
    """The number of rows of each split."""
    classes: dict[str, dict[str, int]]
    """The number of rows of each class, by split and the name of the class; empty where labels are numbers."""
    longest_text: dict[str, Any]
    """``characters``, ``split`` and ``row`` (from 1) of the longest text; a pair counts with its text."""
    duplicated: dict[str, int]
    """The number of rows of each split whose input came before in the split."""
    contradictory: dict[str, int]
    """The number of ``inputs`` with more than one label, over all splits, and of the ``rows`` that have them."""
    leaked: dict[str, int]
    """The number of rows of val and test whose input train has too, and of those of test that val has."""
    absent_classes: dict[str, list[str]]
    """The classes that val or test lacks."""
    highest_macro_f1: dict[str, float]
    """The macro-F1 of a perfect model on each split that lacks a class, in [0, 1]: a class without rows counts 0."""
    left_out: dict[str, int]
    """The number of rows that were left out, by the kind of their defect."""
    notes: list[str]
    """Lines on how the data was read and split."""
    warnings: list[str]
    """Lines on what is doubtful about the data."""
    targets: dict[str, dict[str, float]] = field(default_factory=dict)
    """``least``, ``greatest``, ``mean`` and ``std`` (over n) of each split's numbers; empty where there are classes."""

    several: bool = False
    """Whether a row may have several labels, each of which is counted like a class."""
    of_words: bool = False
    """Whether words have tags. ``classes`` then counts the entities of each type instead of the rows of each class."""

    def to_dict(self) -> dict[str, Any]:
        """Return the summary for programs, without fields that only other tasks have."""
        of_some_tasks = ("targets", "several", "of_words")
        return {name: value for name, value in asdict(self).items() if value or name not in of_some_tasks}

    def lines(self) -> list[str]:
        """Return the summary for people."""
        rows = ", ".join(f"{count} {split}" for split, count in self.rows.items())
        if self.targets:
            lines = [f"{rows} rows, each with a number", *self.notes, *self._numbers()]
        elif self.of_words:
            lines = [f"{rows} rows, {how_many(len(self._names()), 'type')} of entities in the tags of their words"]
            lines += [*self.notes, f"entities of each type ({', '.join(self.rows)}): {self._classes()}"]
        else:
            word, words = ("label", "labels") if self.several else ("class", "classes")
            lines = [f"{rows} rows, {len(self._names())} {words}"]
            lines += [*self.notes, f"rows of each {word} ({', '.join(self.rows)}): {self._classes()}"]
        longest = self.longest_text
        lines.append(f"longest text: {longest['characters']:,} characters ({longest['split']}, row {longest['row']})")
        if self.left_out:
            counts = ", ".join(f"{number} {kind}" for kind, number in self.left_out.items())
            lines.append(f"left out: {how_many(sum(self.left_out.values()), 'row')} ({counts})")
        found = self._repeated()
        clean = "no text occurs twice, in a split or in two"
        return [*lines, *(found or [clean]), *(f"warning: {line}" for line in self.warnings)]

    def _repeated(self) -> list[str]:
        """Return a line on each way in which texts are repeated or have several labels, where it occurs."""
        lines = []
        for about, counts in (
            ("rows that repeat an earlier row of their split", self.duplicated),
            ("rows whose text another split has too", self.leaked),
        ):
            shown = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
            lines += [f"{about}: {shown}"] if shown else []
        if self.contradictory["inputs"]:
            texts = how_many(self.contradictory["inputs"], "text")
            lines.append(f"rows whose text also has another label: {self.contradictory['rows']} (of {texts})")
        return lines

    def _numbers(self) -> list[str]:
        """Return a line for each split on its targets."""
        return [
            f"targets of {split}: {own['least']:g} to {own['greatest']:g}, mean {own['mean']:.4g}, std {own['std']:.4g}"
            for split, own in self.targets.items()
        ]

    def _names(self) -> list[str]:
        return list(next(iter(self.classes.values())))

    def _classes(self) -> str:
        """Return the classes with their rows in each split."""
        names = self._names()
        shown = [
            f"{name} {'/'.join(str(counts[name]) for counts in self.classes.values())}" for name in names[:MOST_CLASSES]
        ]
        return ", ".join([*shown, *([f"and {len(names) - MOST_CLASSES} more"] if len(names) > MOST_CLASSES else [])])

    def __str__(self) -> str:
        return "\n".join(f"{self.name}: {line}" for line in self.lines())

    __repr__ = __str__


def summarise(data: TextDataset) -> DataSummary:
    """Return the summary of ``data``."""
    splits = {split: data.splits[split] for split in SPLITS if split in data.splits}
    inputs = {split: list(zip(frame["text"], frame["pair"], strict=True)) for split, frame in splits.items()}
    labels = {split: frame["label"].tolist() for split, frame in splits.items()}
    known = {split: set(own) for split, own in inputs.items()}
    is_number = {split: frame["label"].dtype.kind == "f" for split, frame in splits.items()}
    targets = {split: _spread(own) for split, own in labels.items() if is_number[split]}
    several = any(isinstance(label, tuple) for own in labels.values() for label in own)
    of_words = any(isinstance(label, str) for own in labels.values() for label in own)
    names = dict(enumerate(data.label_names)) if not of_words else {kind: kind for kind in types_of(data.label_names)}
    count = _label_counts if several else _entity_counts if of_words else Counter
    counts: dict[str, Counter[Any]] = {split: count(own) for split, own in labels.items()}
    classes = (
        {} if targets else {split: {name: counts[split][label] for label, name in names.items()} for split in splits}
    )
    absent = {split: [name for name, count in own.items() if not count] for split, own in classes.items()}
    absent = {split: names for split, names in absent.items() if names}
    highest = {split: 1 - len(own) / len(data.label_names) for split, own in absent.items() if not of_words}
    leaked = {
        f"{split}_in_{other}": sum(one in known[other] for one in inputs[split])
        for split, other in (("val", "train"), ("test", "train"), ("test", "val"))
        if split in splits and other in splits
    }
    return DataSummary(
        name=data.display_name,
        rows={split: len(own) for split, own in inputs.items()},
        classes=classes,
        longest_text=_longest(inputs),
        duplicated={split: len(own) - len(known[split]) for split, own in inputs.items()},
        contradictory=_contradictory(inputs, labels),
        leaked=leaked,
        absent_classes=absent,
        highest_macro_f1=highest,
        left_out=dict(data.left_out),
        notes=[*data.reading_notes, *([data.split_note] if data.split_note else [])],
        warnings=[*_absent_warnings(absent, highest), *_class_warnings(classes), *_text_warnings(inputs)],
        of_words=of_words,
        targets=targets,
        several=several,
    )


def _label_counts(labels: Sequence[tuple[int, ...]]) -> Counter[int]:
    """Return the number of rows that have each label, by the label's index."""
    return Counter(place for row in labels for place, has in enumerate(row) if has)


def _entity_counts(labels: Sequence[str]) -> Counter[str]:
    """Return the number of entities of each type in the tags of all rows."""
    return Counter(one.type for tags in labels for one in entities(tags.split(" ")))


def _spread(numbers: Sequence[float]) -> dict[str, float]:
    """Return the least and the greatest of ``numbers``, their mean, and their standard deviation over n."""
    return {"least": min(numbers), "greatest": max(numbers), "mean": fmean(numbers), "std": pstdev(numbers)}


Inputs = Mapping[str, list[tuple[str, str | None]]]


def _longest(inputs: Inputs) -> dict[str, Any]:
    """Return the length and the place of the longest text, its pair included."""
    length, split, row = max(
        (
            (len(text) + len(pair or ""), split, row)
            for split, own in inputs.items()
            for row, (text, pair) in enumerate(own)
        ),
        key=lambda found: found[0],
    )
    return {"characters": length, "split": split, "row": row + 1}


def _contradictory(inputs: Inputs, labels: Mapping[str, list[int]]) -> dict[str, int]:
    """Return the number of ``inputs`` with several labels, and the number of ``rows`` with such an input."""
    found: dict[tuple[str, str | None], Counter[int]] = {}
    for split, own in inputs.items():
        for one, label in zip(own, labels[split], strict=True):
            found.setdefault(one, Counter())[label] += 1
    several = [labels for labels in found.values() if len(labels) > 1]
    return {"inputs": len(several), "rows": sum(labels.total() for labels in several)}


def _absent_warnings(absent: Mapping[str, list[str]], highest: Mapping[str, float]) -> list[str]:
    lines = []
    for split, names in absent.items():
        listed = ", ".join(map(repr, names[:MOST_CLASSES]))
        if split in highest:
            most = f"macro-F1 on {split} is at most {100 * highest[split]:.2f}, that of a perfect model"
            lines.append(f"{split} lacks {'class' if len(names) == 1 else 'classes'} {listed}: {most}")
        else:
            lines.append(f"{split} has no entity of type {listed}")
    return lines


def _class_warnings(classes: Mapping[str, dict[str, int]]) -> list[str]:
    total = Counter[str]()
    for own in classes.values():
        total.update(own)
    return warnings(dict(total))


def _text_warnings(inputs: Inputs) -> list[str]:
    """Return lines on texts that may stand for a missing one, that lost characters, or that begin with a space."""
    texts = [text for own in inputs.values() for one in own for text in one if text is not None]
    marks = Counter(text.strip() for text in texts if text.strip() in MISSING)
    lines = [
        f"the text {mark!r} ({how_many(number, 'row')}) may stand for a missing one" for mark, number in marks.items()
    ]
    lost = sum(LOST_CHARACTER in text for text in texts)
    if lost:
        lines.append(f"texts with U+FFFD, which stands for a character that was lost in an encoding: {lost}")
    spaced = sum(text[0].isspace() for text in texts)
    if 2 * spaced > len(texts):
        lines.append(f"texts that begin with a space: {spaced} of {len(texts)}")
    return lines
