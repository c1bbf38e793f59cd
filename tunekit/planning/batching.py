"""How trials of a model type and a method are batched, known before anything is built.

Most trials train without padding and in packs. A model type or a method that can't says why (``ModelType.padded``,
``Method.padded``, ``Method.single``), and commands and logs show that in a line.
"""

from collections.abc import Mapping, Sequence

from tunekit.methods import METHODS
from tunekit.models.families import FAMILIES
from tunekit.models.loading import ModelRef, model_type_of
from tunekit.planning.model_checks import model_notes
from tunekit.schema import TrialSpec


def why_padded(model_type: str | None, method: str) -> str | None:
    """Return why trials of a model type and a method need padded batches, None where they don't.

    It is None, too, where the model type is not known yet.
    """
    if model_type and (reason := FAMILIES[model_type].padded):
        return f"{model_type}: {reason}"
    reason = getattr(METHODS[method], "padded", None)
    return reason and f"{method}: {reason}"


def why_single(model_type: str | None, method: str) -> str | None:
    """Return why trials of a model type and a method can't train in packs; None where they can."""
    reason = getattr(METHODS[method], "single", None)
    return why_padded(model_type, method) or (reason and f"{method}: {reason}")


def shared_in_packs(spec: TrialSpec) -> tuple[object, ...]:
    """Return the settings that the specs of one pack have in common."""
    alike = tuple(spec.method_params[name] for name in getattr(METHODS[spec.method], "alike_in_packs", ()))
    return (
        spec.model, spec.dataset, spec.method, spec.precision, spec.batch_size, spec.max_length, spec.train_limit,
        spec.val_fraction, spec.data_seed, alike,
    )  # fmt: skip


def largest_pack(specs: Sequence[TrialSpec], models: Mapping[str, ModelRef]) -> list[TrialSpec]:
    """Return the largest group of ``specs`` that can be one pack, the first of equally large ones.

    ``models`` are by name. Where no two specs can be one pack, the first spec is returned alone.
    """
    types = {name: model_type_of(ref) for name, ref in models.items()}
    groups: dict[tuple[object, ...], list[TrialSpec]] = {}
    for spec in specs:
        if why_single(types[spec.model], spec.method) is None:
            groups.setdefault(shared_in_packs(spec), []).append(spec)
    return max(groups.values(), key=len, default=list(specs[:1]))


def restrictions(model_type: str | None, method: str) -> list[str]:
    """Return a line if trials of these two need padded batches or can't train in packs; an empty list otherwise."""
    if reason := why_padded(model_type, method):
        return [f"batches are padded and trials single, not in packs ({reason})"]
    reason = why_single(model_type, method)
    return [f"trials are single, not in packs ({reason})"] if reason else []


def host_batches(model_type: str, method: str) -> str | None:
    """Return a line if a GPU does not make the batches of trials of these two itself; None where it does."""
    if FAMILIES[model_type].on_device or why_padded(model_type, method):
        return None
    return f"the host makes the GPU's batches and dropout masks, which is slower ({model_type} has no kernels yet)"


def described(specs: Sequence[TrialSpec], models: Mapping[str, ModelRef]) -> list[str]:
    """Return the ``restrictions`` of all ``specs``, each once, and notes on their models; ``models`` are by name."""
    types = {name: model_type_of(ref) for name, ref in models.items()}
    pairs = dict.fromkeys((types[spec.model], spec.method) for spec in specs)
    lines = [line for pair in pairs for line in restrictions(*pair)]
    return list(dict.fromkeys([*lines, *model_notes(specs, models)]))
