"""A trained model as files that ``transformers``, ``peft`` or ``adapters`` load, safetensors only; and back.

Which format follows from what the method did to the model: modules of ``peft``, bottlenecks, or nothing but other
values. ``parameters_of`` is used in both directions, so what is written is what is read.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from tunekit.engine.checkpoint import trainable
from tunekit.engine.kept_weights import read_tensors
from tunekit.errors import UserError
from tunekit.methods._bottleneck import LIBRARY_VERSION, NAME, to_adapters
from tunekit.models.families import FAMILIES

WHOLE, PEFT, ADAPTERS = "whole", "peft", "adapters"
_PEFT_PREFIX = "base_model.model."


def kind_of(model: PreTrainedModel) -> str:
    """The format of a model that its method has changed."""
    if hasattr(model, "peft_config"):
        return PEFT
    return ADAPTERS if hasattr(model, "tunekit_bottlenecks") else WHOLE


def head_modules(model: PreTrainedModel) -> list[str]:
    """Names of the modules after the last encoder layer, which every method trains."""
    return [prefix.removesuffix(".") for prefix in FAMILIES[model.config.model_type].head]


def merge(model: PreTrainedModel, within: Sequence[str] = ("",)) -> list[str]:
    """Fold ``peft``'s updates into the weights, in place, of modules whose names begin with one of ``within``.

    Returns the modules' names.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    merged = [
        name
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer) and name.startswith(tuple(within))
    ]
    for name in merged:
        module = model.get_submodule(name)
        module.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module.get_base_layer())
    return merged


def merge_all(model: PreTrainedModel) -> None:
    """Make ``model`` the library's own, in place. Raises UserError where its method can't be folded into weights."""
    if kind_of(model) == ADAPTERS:
        raise UserError("adapters have activations of their own and can't be merged; export without --merged")
    if kind_of(model) == PEFT:
        merge(model)
        del model.peft_config


def parameters_of(model: PreTrainedModel) -> dict[str, dict[str, nn.Parameter]]:
    """What is trained, as the format's files hold it: file, name in it, parameter. ``peft``'s updates of the head must
    have been merged. Raises UserError where the format does not hold all that is trained.
    """
    trained = trainable(model)
    heads = tuple(f"{name}." for name in head_modules(model))
    head = {name: parameter for name, parameter in trained.items() if name.startswith(heads)}
    if kind_of(model) == PEFT:
        inner = {**_updates(model), **head}
        files = {"adapter_model.safetensors": {_PEFT_PREFIX + name: one for name, one in inner.items()}}
    else:
        bottlenecks = {name: one for name, one in trained.items() if name not in head}
        files = {"adapter.safetensors": to_adapters(bottlenecks), "model_head.safetensors": head}
    held = {id(parameter) for tensors in files.values() for parameter in tensors.values()}
    missing = [name for name, parameter in trained.items() if id(parameter) not in held]
    if missing:
        raise UserError(f"the format of {kind_of(model)} does not hold {missing[0]}, which was trained; try --merged")
    return files


def _updates(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """``peft``'s own parameters by their names in its files."""
    from peft.utils import get_peft_model_state_dict

    return get_peft_model_state_dict(model, dict(model.named_parameters()), save_embedding_layers=False)


def write(model: PreTrainedModel, folder: Path, base: str | None, revision: str | None) -> str:
    """Write ``model``'s configuration and weights to ``folder`` and return the format's name.

    ``model.config`` has its label names; ``base`` is the pretrained model's id on the hub, None where it has none.
    Raises UserError as ``parameters_of``, OSError.
    """
    kind = kind_of(model)
    if kind == WHOLE:
        _refuse_own_parameters(model)
        model.config.name_or_path = ""
        model.save_pretrained(folder, safe_serialization=True, max_shard_size="100GB")
        return kind
    if kind == PEFT:
        _write_peft_config(model, folder, base, revision)
    else:
        _write_adapters_configs(model, folder, base)
    for file, tensors in parameters_of(model).items():
        save_file({name: one.detach().contiguous() for name, one in tensors.items()}, folder / file, {"format": "pt"})
    return kind


def _refuse_own_parameters(model: PreTrainedModel) -> None:
    """Raise UserError where ``model`` has parameters that the library's class would leave out on loading."""
    with torch.device("meta"):
        library = {name for name, _ in type(model)(model.config).named_parameters()}
    own = [name for name, _ in model.named_parameters() if name not in library]
    if own:
        raise UserError(f"no library's format holds {own[0]}, which this method adds; such a model can't be exported")


def _write_peft_config(model: PreTrainedModel, folder: Path, base: str | None, revision: str | None) -> None:
    from peft import TaskType

    heads = head_modules(model)
    config = deepcopy(model.peft_config["default"])
    merged = merge(model, heads)
    config.task_type, config.inference_mode, config.modules_to_save = TaskType.SEQ_CLS, True, heads
    config.base_model_name_or_path, config.revision = base, revision if base else None
    config.exclude_modules = merged or None
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    config.save_pretrained(str(folder))


def _write_adapters_configs(model: PreTrainedModel, folder: Path, base: str | None) -> None:
    design, reduction_factor = model.tunekit_bottlenecks
    shared = {
        "hidden_size": model.config.hidden_size,
        "model_class": type(model).__name__,
        "model_name": base or "",
        "model_type": model.config.model_type,
        "version": LIBRARY_VERSION,
    }
    config = {**shared, "name": NAME, "config": design.library_config(reduction_factor)}
    head = {
        **shared,
        "config": None,
        "name": None,
        "label2id": model.config.label2id,
        "num_labels": model.config.num_labels,
    }
    for file, content in (("adapter_config.json", config), ("head_config.json", head)):
        (folder / file).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(model: PreTrainedModel, folder: Path) -> None:
    """Put the tensors that ``write`` left in ``folder`` into ``model``, which the same method has changed.

    Raises UserError where they are not exactly those that ``model`` trains.
    """
    if kind_of(model) == PEFT:
        merge(model, head_modules(model))
    for file, parameters in parameters_of(model).items():
        fill(parameters, read_tensors(folder / file)[0], str(folder / file))


def fill(parameters: dict[str, nn.Parameter], tensors: dict[str, Any], where: str) -> None:
    """Copy ``tensors`` into ``parameters``. Raises UserError where names or shapes are not the same."""
    wrong = [n for n, p in parameters.items() if n not in tensors or tensors[n].shape != p.shape]
    wrong += sorted(tensors.keys() - parameters.keys())
    if wrong:
        raise UserError(f"{where}: its tensors are not those of this model and method ({wrong[0]})")
    for name, parameter in parameters.items():
        parameter.data.copy_(tensors[name])
