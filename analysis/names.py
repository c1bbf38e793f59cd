"""The names of models, methods, metrics and settings in tables and figures, and the form of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from tunekit.parsing import CONTROL, how_many, number
from tunekit.schema import EpochRecord, Scalar
from tunekit.tasks import Metric

NAMES = {  # of stores whose requests have no display names
    "bert": "BERT",
    "roberta": "RoBERTa",
    "scibert": "SciBERT",
    "minilm": "MiniLM",
    "full": "full fine-tuning",
    "adapter": "Adapter",
    "pfeiffer": "Pfeiffer adapter",
    "lora": "LoRA",
}
SHORT = {"learning_rate": "lr", "batch_size": "batch", "lora_alpha": "alpha"}
PER_CLASS = "per_class_f1"
"""The name of the metric of tables with a column a class, or a type of entity."""
PRIMARY = "primary"
"""The name for the primary metric of each dataset, which may differ between datasets."""
METRIC_NAMES = {
    PRIMARY: "primary metric",
    "mcc": "MCC",
    "weighted_f1": "weighted F1",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "macro_f1_present": "macro-F1 over the classes that occur",
}
LABELS = {item.name: str(item.metadata["label"]) for item in fields(EpochRecord)}
SPLITS = {"test": "test", "val": "validation", "train": "train"}


def plain(name: object) -> str:
    """Return ``name`` as text without control characters, which could steer a terminal."""
    return CONTROL.sub(" ", str(name))


def listed(texts: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, or ``a, b and c``; there is at least one text."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def bounds_text(low: float, high: float, form: str = ".2f") -> str:
    """Return an interval as all pages write it, its bounds in ``form``: ``[-7.53, 2.70]``."""
    return f"[{low:{form}}, {high:{form}}]"


def interval_text(measure: Metric, low: float, high: float, sign: str = "") -> str:
    """Return an interval in the unit of ``measure``. ``sign`` is ``+`` for the interval of a difference."""
    return f"[{', '.join(measure.numbers(low, high, sign=sign))}]"


def estimate_text(measure: Metric, value: float, low: float, high: float, sign: str = "") -> str:
    """Return a value with its interval in the unit of ``measure``: ``-2.41 [-7.53, +2.70]`` with the sign ``+``."""
    shown, *ends = measure.numbers(value, low, high, sign=sign)
    return f"{shown} [{', '.join(ends)}]"


def metric_name(metric: str) -> str:
    """Return the name of a metric without its split, such as ``macro-F1``."""
    if metric.startswith("f1:"):
        return f"F1 of class {metric[3:]}"
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def not_ended(count: int) -> str:
    """Return a clause that ``count`` trials have not ended."""
    return f"{how_many(count, 'trial')} that {'was asked for has' if count == 1 else 'were asked for have'} not ended"


def left_out(count: int) -> str:
    """Return a clause that ``count`` things are left out or doubtful."""
    return f"{how_many(count, 'thing')} {'is' if count == 1 else 'are'} left out or doubtful"


def rounded(value: Scalar) -> str:
    """Return a value that a search drew, to three digits: ``4.14e-4``."""
    return number(float(f"{value:.3g}")) if isinstance(value, float) else number(value)


def varying(groups: Mapping[tuple[str, ...], Sequence[Mapping[str, Scalar]]]) -> tuple[str, ...]:
    """Return the settings that differ within a group. A group is the cells of one model, dataset and method."""
    names: dict[str, None] = {}
    for settings in groups.values():
        for name in dict.fromkeys(key for one in settings for key in one):
            if len({(type(one.get(name)), one.get(name)) for one in settings}) > 1:
                names[name] = None
    return tuple(names)


def setting_texts(several: Sequence[Mapping[str, Scalar]], names: Sequence[str]) -> list[str]:
    """Return, for each of ``several``, a text of its settings among ``names``: ``lr 1e-4, r 8``; empty for none.

    Numbers have six digits, or all of their digits where different settings would otherwise have one text.
    """
    texts = [setting_text(settings, names) for settings in several]
    if len(set(texts)) == len(texts):
        return texts
    exact = [setting_text(settings, names, exact=True) for settings in several]
    meant: dict[str, set[str]] = {}
    for text, whole in zip(texts, exact, strict=True):
        meant.setdefault(text, set()).add(whole)
    return [whole if len(meant[text]) > 1 else text for text, whole in zip(texts, exact, strict=True)]


def setting_name(name: str) -> str:
    """Return the short name of a setting, as tables and texts have it: ``lr`` for ``learning_rate``."""
    return SHORT.get(name, name.replace("_", " "))


def setting_text(settings: Mapping[str, Scalar], names: Sequence[str], *, exact: bool = False) -> str:
    """Return a text of the settings among ``names``: ``lr 1e-4, r 8``; empty where there are none."""
    shown = [name for name in names if settings.get(name) is not None]
    return ", ".join(f"{setting_name(name)} {number(settings[name], exact=exact)}" for name in shown)


def numbered(names: Sequence[str]) -> list[str]:
    """Return ``names``, with ``-2``, ``-3``, ... behind a name that occurs again."""
    taken: set[str] = set()
    result = []
    for name in names:
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate)
        result.append(candidate)
    return result
