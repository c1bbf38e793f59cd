"""The interface of a fine-tuning method: a small frozen value that changes a model in place."""

import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, get_type_hints

from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.registry import Registry
from tunekit.schema import Scalar

if TYPE_CHECKING:
    from optuna.trial import BaseTrial
    from torch import nn
    from transformers import PreTrainedModel


class Method(Protocol):
    """A dataclass whose fields are the method's hyperparameters, JSON scalars with defaults.

    ``prepare`` adds the method's own weights to a sequence-classification model, in place, and freezes exactly the
    weights that the method does not train. New weights come from torch's global generator, which the caller seeds. The
    engine trains the head under every method, whatever ``prepare`` does to it.

    A method may also say, by class variables, that it can't train without padding or in packs: ``padded`` or ``single``
    is then the reason, in a few words. ``alike_in_packs`` names the hyperparameters that change more than the sizes and
    values of trained weights, such as frozen weights, which a pack shares. Only trials with equal values of them can be
    one pack. A method may have ``rate_factor(self, name: str) -> float``, which returns the factor of the learning rate
    of the trained parameter ``name``, such as LoRA+'s ratio for matrices B.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    display_name: ClassVar[str]
    learning_rate: ClassVar[float]
    """The default peak learning rate."""

    @staticmethod
    def suggest(trial: "BaseTrial") -> dict[str, Scalar]:
        """Return the values that ``trial`` suggests for fields of the method and of the spec, by name.

        Powers of two are suggested by their exponent, as ``2 ** trial.suggest_int("log2_r", 0, 7)``: samplers see an
        order in whole numbers, but none in categories.
        """

    def prepare(self, model: "PreTrainedModel") -> None:
        """Change ``model`` in place."""


METHODS: Registry[type[Method]] = Registry("method")


def complete_params(method: str, given: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return all hyperparameters of ``method``: those ``given``, in their fields' types, and the others' defaults.

    Raises UserError on a name that the method does not have or a value that it can't take.
    """
    kind = METHODS[method]
    hints = get_type_hints(kind)
    names = [item.name for item in fields(kind)]
    for name in given:
        if name not in names:
            has = f"it has {', '.join(names)}" if names else "it has none"
            raise UserError(f"method {method!r} has no parameter {name!r}{did_you_mean(name, names)} ({has})")
    values = {}
    for name, value in given.items():
        try:
            values[name] = _as(hints[name], value)
        except (ValueError, OverflowError) as error:
            raise UserError(f"method {method!r}: {name} takes {hints[name].__name__}, got {value!r}") from error
    try:
        return asdict(kind(**values))
    except ValueError as error:
        raise UserError(f"method {method!r}: {error}") from error


KINDS = (str, int, float, bool)
"""The types that a hyperparameter may have."""
_WRITTEN = {
    int: re.compile(r"[-+]?[0-9]+"),
    float: re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
    bool: re.compile(r"true|false"),
}
"""The form of a value written as text, on the command line or in quotes, for each type except str."""


def _as(kind: type, value: Any) -> Scalar:
    """Return ``value``, which has the type ``kind`` or is its text, as ``kind``. Lists of names lose their spaces.

    Raises ValueError where it is neither, and OverflowError for infinity as a whole number.
    """
    if isinstance(value, str):
        if kind is str:
            return ",".join(part.strip() for part in value.split(","))
        if not _WRITTEN[kind].fullmatch(value):
            raise ValueError(f"not a {kind.__name__}")
        return value == "true" if kind is bool else kind(value)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, int | float) or kind is str:
        raise ValueError(f"not a {kind.__name__}")
    if kind(value) != value:
        raise ValueError(f"not a {kind.__name__}")
    return kind(value)


def freeze(model: "nn.Module") -> None:
    """Take every parameter of ``model`` out of training."""
    for parameter in model.parameters():
        parameter.requires_grad = False


def count_parameters(model: "nn.Module") -> tuple[int, int]:
    """Return the numbers of trainable and of all scalars in the parameters of ``model``. Shared ones count once."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
