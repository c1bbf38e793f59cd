"""How trials of a model type and a method are batched, known before anything is built.

Most train without padding and in packs. Where a model type or a method can't, it says why (``ModelType.padded``,
``Method.padded``, ``Method.single``), and commands and logs say so in a line.
"""

from collections.abc import Mapping, Sequence

from tunekit.methods import METHODS
from tunekit.models.families import FAMILIES
from tunekit.models.loading import ModelRef, model_type_of
from tunekit.schema import TrialSpec


def why_padded(model_type: str | None, method: str) -> str | None:
    """What keeps such trials from training without padding; None where nothing does, or the type is not known yet."""
    if model_type and (reason := FAMILIES[model_type].padded):
        return f"{model_type}: {reason}"
    reason = getattr(METHODS[method], "padded", None)
    return reason and f"{method}: {reason}"


def why_single(model_type: str | None, method: str) -> str | None:
    """What keeps such trials from training in packs; None where nothing does."""
    reason = getattr(METHODS[method], "single", None)
    return why_padded(model_type, method) or (reason and f"{method}: {reason}")


def restrictions(model_type: str | None, method: str) -> list[str]:
    """A line where such trials are padded and single, or single; empty where they are neither."""
    if reason := why_padded(model_type, method):
        return [f"batches are padded and trials single, not in packs ({reason})"]
    reason = why_single(model_type, method)
    return [f"trials are single, not in packs ({reason})"] if reason else []


def described(specs: Sequence[TrialSpec], models: Mapping[str, ModelRef]) -> list[str]:
    """The lines of all ``specs``, each once; ``models`` are by spec name."""
    types = {name: model_type_of(ref) for name, ref in models.items()}
    pairs = dict.fromkeys((types[spec.model], spec.method) for spec in specs)
    return list(dict.fromkeys(line for pair in pairs for line in restrictions(*pair)))
