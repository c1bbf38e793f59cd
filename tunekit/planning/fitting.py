"""Check whether a model can take a trial's settings, from the model's config.json alone, without torch."""

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.adapter import Adapter
from tunekit.methods.lora import LoRA
from tunekit.methods.lora_plus import LoRAPlus
from tunekit.methods.mam import MixAndMatch
from tunekit.methods.pissa import PiSSA
from tunekit.methods.prefix import Prefix
from tunekit.methods.vera import VeRA
from tunekit.models.catalog import MODELS
from tunekit.models.families import FAMILIES, LAYER_LINEARS, Family
from tunekit.models.loading import ModelRef, config_at_hand
from tunekit.models.shapes import ALL_LINEAR
from tunekit.parsing import did_you_mean
from tunekit.schema import Scalar, TrialSpec

LINEAR_ONLY = (VeRA, PiSSA, LoRAPlus)
"""Methods whose targets are linear modules, and no embeddings."""


def config_of(ref: ModelRef) -> Mapping[str, Any] | None:
    """Return the values of the model's config.json; None where it is not on this machine. Nothing is fetched."""
    return MODELS[ref.name].shape.to_config() if ref.name in MODELS else config_at_hand(ref)


def check_fit(spec: TrialSpec, config: Mapping[str, Any]) -> None:
    """Raise UserError, which names the value, where a model with ``config`` can't take a setting of ``spec``.

    Nothing is checked against a size that ``config`` leaves out.
    """
    family = FAMILIES[config["model_type"]]
    refusal = family.refusal(spec.method, config)
    for problem in [refusal] if refusal else _of_method(spec, family, config):
        raise UserError(f"method {spec.method!r} on {spec.model}: {problem}")


def _of_method(spec: TrialSpec, family: Family, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the method's parameters."""
    kind, params = METHODS[spec.method], spec.method_params
    hidden = _size(family, config, "hidden_size")
    package = getattr(kind, "package", None)
    if package is not None and not _is_installed(package):
        yield f"it needs the package {package}, which is not installed"
    if issubclass(kind, MixAndMatch) and config["model_type"] in kind.refused:
        yield kind.refused[config["model_type"]]
    if "target_modules" in params:
        embeddings = not issubclass(kind, LINEAR_ONLY)
        yield from _of_targets(str(params["target_modules"]), family, config, embeddings=embeddings)
    if issubclass(kind, LoRA | PiSSA) and hidden is not None and int(params["r"]) > hidden:
        yield f"r {params['r']} exceeds hidden size {hidden}"
    if issubclass(kind, Adapter):
        if family.bottlenecks is None or family.bottlenecks not in getattr(kind, "layouts", (family.bottlenecks,)):
            yield f"bottlenecks are not supported in model type {config['model_type']!r}"
        if hidden is not None:
            yield from _of_bottlenecks(params, hidden)
    if issubclass(kind, Prefix):
        yield from _of_prefix(int(params["length"]), family, config)


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _of_bottlenecks(params: Mapping[str, Scalar], hidden: int) -> Iterator[str]:
    """Yield what is wrong with the width of bottlenecks in a model of hidden size ``hidden``."""
    width = hidden // int(params["reduction_factor"])
    if not width:
        yield f"reduction_factor {params['reduction_factor']} exceeds hidden size {hidden}"
    phm_dim = int(params.get("phm_dim", 1))
    if hidden % phm_dim or width % phm_dim:
        yield f"phm_dim {phm_dim} does not divide hidden size {hidden} and width {width}"


def _of_prefix(length: int, family: Family, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a prefix of ``length`` keys."""
    positions = _positions(family, config)
    if family.needed.get("relative_attention"):
        yield "its attention is by relative positions, and a prefix has none"
    if int(version("transformers").partition(".")[0]) >= 5:
        yield "in transformers 5 there are as many keys as tokens; it needs transformers 4"
    if positions is not None and length > positions:
        yield f"length {length} exceeds the model's {positions} positions"


def _of_targets(targets: str, family: Family, config: Mapping[str, Any], *, embeddings: bool) -> Iterator[str]:
    """Yield what is wrong with a list of modules: a name that names none, and a name that occurs twice."""
    if targets == ALL_LINEAR:
        return
    modules = [one for one in _modules(family, config) if embeddings or not one.endswith("_embeddings")]
    names = targets.split(",")
    for name in names:
        own = family.module(name)
        if not any(module == own or module.endswith(f".{own}") for module in modules):
            last = {module.rpartition(".")[2]: None for module in modules}
            known = [*dict.fromkeys(one.rpartition(".")[2] for one in LAYER_LINEARS), *last]
            there = ", ".join(repr(one) for one in last)
            yield f"target_modules: no module {name!r}{did_you_mean(name, known)} (there are {there})"
        if names.count(name) > 1:
            yield f"target_modules names {name!r} twice"
    try:
        family.needs_split(names)
    except ValueError as error:
        yield str(error)


def _modules(family: Family, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the full names of all possible targets: linear modules, row blocks of fused ones, and embeddings."""
    embeddings = f"{family.backbone}.embeddings"
    yield f"{embeddings}.{family.module('word_embeddings')}"
    if not (family.rotary or family.needed.get("relative_attention")):
        yield f"{embeddings}.position_embeddings"
    if family.token_types and config.get("type_vocab_size"):
        yield f"{embeddings}.token_type_embeddings"
    width = config.get("embedding_size")
    if config["model_type"] == "electra" and width is not None and width != config.get("hidden_size"):
        yield f"{embeddings}_project"
    for layer in range(_size(family, config, "num_hidden_layers") or 1):
        own = (*family.layer_linears, *family.row_blocks)
        yield from (f"{family.layers}.{layer}.{family.module(name)}" for name in own)
    yield from family.head_linears


def _positions(family: Family, config: Mapping[str, Any]) -> int | None:
    """Return the most tokens of a text that have a position; None where ``config`` does not tell."""
    positions = _size(family, config, "max_position_embeddings")
    if positions is None or not family.position_offset:
        return positions
    return positions - (config.get("pad_token_id") or 1) - 1


def _size(family: Family, config: Mapping[str, Any], field: str) -> int | None:
    """Return the size of the model that ``Shape`` holds as ``field``; None where ``config`` does not tell."""
    size = config.get(family.config_keys.get(field, field))
    return size if isinstance(size, int) else None
