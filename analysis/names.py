"""How tables and figures call things: models, methods, metrics, settings and numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from tunekit.schema import EpochRecord, Scalar

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
METRIC_NAMES = {
    "mcc": "MCC",
    "weighted_f1": "weighted F1",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "macro_f1_present": "macro-F1 over the classes that occur",
}
LABELS = {item.name: str(item.metadata["label"]) for item in fields(EpochRecord)}
SPLITS = {"test": "test", "val": "validation", "train": "train"}


def metric_name(metric: str) -> str:
    """Return the name of a metric without its split, such as ``macro-F1``."""
    if metric.startswith("f1:"):
        return f"F1 of class {metric[3:]}"
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def number(value: Scalar | None) -> str:
    """Return the value of a setting as a person writes it: ``5e-4``, ``32``, ``0.1``."""
    if isinstance(value, float) and value != 0 and abs(value) < 1e-3:
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def rounded(value: Scalar) -> str:
    """Return a value that a search drew, to three digits: ``4.14e-4``."""
    return number(float(f"{value:.3g}")) if isinstance(value, float) else number(value)


def varying(groups: Mapping[tuple[str, ...], Sequence[Mapping[str, Scalar]]]) -> tuple[str, ...]:
    """Return the settings that differ inside a group; the cells of a model, a dataset and a method are such a group."""
    names: dict[str, None] = {}
    for settings in groups.values():
        for name in dict.fromkeys(key for one in settings for key in one):
            if len({(type(one.get(name)), one.get(name)) for one in settings}) > 1:
                names[name] = None
    return tuple(names)


def setting_text(settings: Mapping[str, Scalar], names: Sequence[str]) -> str:
    """Return those of ``names`` that are set as text: ``lr 1e-4, r 8``; empty where there are none."""
    shown = [name for name in names if settings.get(name) is not None]
    return ", ".join(f"{SHORT.get(name, name.replace('_', ' '))} {number(settings[name])}" for name in shown)


def numbered(names: Sequence[str]) -> list[str]:
    """Return ``names``, with ``-2``, ``-3``, ... behind a name that stands there again."""
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
