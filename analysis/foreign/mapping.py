"""The meaning of a foreign experiment's keys: given by ``--map``, or known from the names that its kind uses."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from analysis.foreign.trial import Experiment, ForeignTrial
from analysis.foreign.values import finite
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.schema import slug

NAMES = ("model", "dataset", "method")
TEXTS = (*NAMES, "split")
"""The names that may have one text for all trials."""
ROWS = ("trial", "epoch", "status", "error")
"""The names of columns that a table may have on its rows."""
COSTS = ("train_seconds", "peak_memory_bytes", "num_trainable_params", "num_total_params")
OTHERS = ("seed", "epochs", "score_test", "train_loss", "epoch_seconds", *COSTS)
KNOWN = (*NAMES, "split", *ROWS, *OTHERS)
SCORES = ("macro_f1", "accuracy", "micro_f1", "mcc", "weighted_f1", "macro_f1_present", "f1")
METRICS = (*SCORES, "loss")
"""Metrics that are taken by their own names; others need ``--map``."""
SPLITS = ("val", "test")
OF_SPLIT = ("val_", "test_")
OF_CONFIG = (*NAMES, "seed", "epochs", "score_test")
"""The names whose values are in a configuration and never in a result."""
SPLIT_WORDS = {
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val", "test": "test", "train": "train",
    "training": "train",
}  # fmt: skip
_METRIC = re.compile(r"(?:(?:val|test)_)?[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Source:
    """The source of a value: a key of the experiment, or the same text for all trials."""

    key: str
    constant: str | None = None

    def __str__(self) -> str:
        return self.key if self.constant is None else f"{self.constant!r} for all trials"


@dataclass(frozen=True)
class Meaning:
    """The meaning of an experiment's keys."""

    sources: Mapping[str, Source]
    """The sources of those of ``KNOWN`` that have one."""
    scores: Mapping[str, str]
    """The result key of each score by its name with the split, such as ``test_accuracy``; by its plain name where a
    column has the split."""
    not_scores: tuple[str, ...]
    """The result keys that look like scores of a split and have values outside of the range of scores."""
    spent: tuple[str, ...] = ()
    """The columns of scores whose split is in another column, after the rows have been put together."""

    @property
    def used(self) -> frozenset[str]:
        """The keys that are no settings, since they mean something else."""
        return frozenset(
            [*(source.key for source in self.sources.values()), *self.scores.values(), *self.not_scores, *self.spent]
        )


def parse_map(texts: Iterable[str]) -> dict[str, Source]:
    """Return the sources that ``NAME=KEY`` or, for model, dataset, method and split, ``NAME:=TEXT`` name.

    Raises UserError on anything else.
    """
    found: dict[str, Source] = {}
    for text in texts:
        name, equals, key = text.partition("=")
        constant = name.endswith(":")
        name = name.removesuffix(":")
        if not equals or not key:
            raise UserError(f"--map takes NAME=KEY, as in seed=config/seed, or NAME:=TEXT; got {text!r}")
        if name in found:
            raise UserError(f"--map names {name} twice")
        if constant and name not in TEXTS:
            raise UserError(f"--map {text}: only {', '.join(TEXTS)} can be one text for all trials")
        if name not in KNOWN and (name == "metric" or not _METRIC.fullmatch(name)):
            raise UserError(f"--map {text}: a score is named by split and metric, as in test_accuracy or val_f1")
        found[name] = Source("", key) if constant else Source(key)
    for name in found:
        if name not in KNOWN and not name.startswith(OF_SPLIT) and "split" not in found:
            hint = did_you_mean(name, (*KNOWN, *(f"{split}_{one}" for split in SPLITS for one in METRICS)))
            raise UserError(
                f"--map {name}={found[name].key}: there is no {name!r} to map{hint} (there are {', '.join(KNOWN)}, and "
                f"scores as val_NAME and test_NAME; a score without its split takes split=KEY or split:=test)"
            )
    split = found.get("split")
    if split and split.constant is not None and SPLIT_WORDS.get(split.constant) not in SPLITS:
        raise UserError(f"--map split:={split.constant}: the split is val or test")
    return found


def resolve(experiment: Experiment, given: Mapping[str, Source], top: float) -> Meaning:
    """Return the meaning of the keys, from ``given``, then from the kind of the experiment and the names themselves.

    ``top`` is the highest score, 1 or 100. Raises UserError where no trial has a given key, or a value that every trial
    needs has no key.
    """
    params = dict.fromkeys(key for trial in experiment.trials for key in trial.params)
    results = dict.fromkeys(key for trial in experiment.trials for row in trial.rows for key in row)
    sources = _sources(experiment, given, params, results)
    split = sources.get("split")
    word = SPLIT_WORDS[split.constant] if split is not None and split.constant is not None else None
    before = "" if word is None else f"{word}_"
    scores = {
        (name if name.startswith(OF_SPLIT) else f"{before}{name}"): one.key
        for name, one in given.items()
        if name not in KNOWN
    }
    _check_keys(sources, scores, params, results)
    taken = {*scores.values(), *(source.key for source in sources.values())}
    not_scores = []
    for name, key in _scores_by_name(experiment, results, split is not None and word is None).items():
        numbers = [
            one for trial in experiment.trials for row in trial.rows if (one := finite(row.get(key))) is not None
        ]
        if name in scores or key in taken or not numbers:
            continue
        plain = name.removeprefix("val_").removeprefix("test_")
        # A known metric outside of its range is refused later; another key may be no score at all.
        if plain in SCORES or plain.endswith("loss") or -top <= min(numbers) <= max(numbers) <= top:
            scores[name] = key
        else:
            not_scores.append(key)
    if split is not None and all(name.startswith(OF_SPLIT) for name in scores):
        sources.pop("split")  # the scores say their splits themselves
    _check_enough(sources, scores, params, results, experiment.hint)
    return Meaning(sources, scores, tuple(not_scores))


def _sources(
    experiment: Experiment, given: Mapping[str, Source], params: Iterable[str], results: Iterable[str]
) -> dict[str, Source]:
    """Return the sources of ``KNOWN``: those that are given, and those that the experiment has by a known name."""
    found = {name: _plain(name, source) for name, source in given.items() if name in KNOWN}
    for name in KNOWN:
        if name in found or (name in ROWS and not experiment.is_table):
            continue
        where = {*params} if name in OF_CONFIG else {*params, *results}
        key = next((one for one in (name, *experiment.keys.get(name, ())) if one in where), None)
        if key is not None:
            found[name] = Source(key)
    return found


def _check_keys(
    sources: Mapping[str, Source], scores: Mapping[str, str], params: Iterable[str], results: Iterable[str]
) -> None:
    """Raise UserError for a given key that no trial has."""
    for name, key in (*((name, one.key) for name, one in sources.items() if one.constant is None), *scores.items()):
        where = [*params] if name in OF_CONFIG else [*results, *params]
        if key not in where:
            what = "no trial's configuration has" if name in OF_CONFIG else "no trial reported"
            raise UserError(f"{what} {key!r}{among(key, [one for one in where if 'config/' not in one])}")


def _check_enough(
    sources: Mapping[str, Source], scores: Iterable[str], params: Iterable[str], results: Iterable[str], hint: str
) -> None:
    """Raise UserError where a value that every trial needs has no source."""
    missing = [name for name in (*NAMES, "seed") if name not in sources]
    if missing:
        raise UserError(
            f"--map lacks {', '.join(missing)}: give NAME=KEY, or NAME:=TEXT for one text for all trials (keys: "
            f"{', '.join([*params][:40]) or 'none'}){hint}"
        )
    if all(name.endswith("loss") for name in scores):
        keys = [key for key in results if "config/" not in key]
        raise UserError(
            "--map lacks a score: give test_NAME=KEY, val_NAME=KEY or both, as in test_accuracy=eval/accuracy (keys: "
            f"{', '.join(keys[:40])})"
        )


def _plain(name: str, source: Source) -> Source:
    """Return the source of a setting without the ``config/`` that Ray's own frames put before it."""
    return Source(source.key.removeprefix("config/"), source.constant) if name in OF_CONFIG else source


def _scores_by_name(experiment: Experiment, results: Iterable[str], by_column: bool) -> dict[str, str]:
    """Return the result keys that name a score, by the score's name with its split.

    With ``by_column``, the split is in a column, and metrics have their plain names.
    """
    known = {f"{split}_{metric}" for split in SPLITS for metric in METRICS} | (set(METRICS) if by_column else set())
    found: dict[str, str] = {}
    for key in results:
        if key in known:
            found.setdefault(key, key)
            continue
        prefix = next((one for one in experiment.prefixes if key.startswith(one)), None)
        if prefix is None:
            continue
        metric = re.sub(r"[^a-z0-9]+", "_", slug(key.removeprefix(prefix)))
        # In a table a key may be a setting such as eval_steps; elsewhere results are kept apart from settings.
        if metric in METRICS or not (experiment.is_table or metric.endswith(_SPEEDS)):
            found.setdefault(f"{experiment.prefixes[prefix]}{metric}", key)
    return found


_SPEEDS = ("_runtime", "runtime", "_per_second", "_time", "_steps", "_samples", "_batch_size")


def is_setting(key: str, meaning: Meaning, experiment: Experiment, ignored: Sequence[str]) -> bool:
    """Return whether a key of the configuration is a setting: it has no other meaning, and no pattern leaves it out."""
    return key not in meaning.used and not any(fnmatchcase(key, one) for one in (*experiment.ignored, *ignored))


def value_of(trial: ForeignTrial, source: Source) -> object:
    """Return a trial's value for a source, from its configuration or else the last that it reported; None for none."""
    if source.constant is not None:
        return source.constant
    if trial.params.get(source.key) is not None:
        return trial.params[source.key]
    return next((row[source.key] for row in reversed(trial.rows) if row.get(source.key) is not None), None)


def among(key: str, keys: Iterable[str]) -> str:
    """Return the end of a sentence on an unknown ``key``: a key that is like it, and the keys that there are."""
    known = list(keys)
    nested = [one for one in known if one.endswith(f"/{key}")]
    hint = f", did you mean {nested[0]!r}?" if nested else did_you_mean(key, known)
    return f"{hint} (it has {', '.join(known[:40])})"
