"""The file formats of an exported model, which ``transformers``, ``peft`` and ``adapters`` load.

Weights are safetensors.
The format follows from what the method has done to the model: it has added modules of ``peft``, or bottlenecks, or it
has only changed the values of parameters. ``parameters_of`` serves both writing and reading, so the two can't differ.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from tunekit.engine.checkpoint import trainable
from tunekit.engine.fused_linear import fuse_blocks, has_blocks
from tunekit.engine.kept_weights import read_tensors
from tunekit.errors import UserError
from tunekit.methods._bottleneck import LIBRARY_VERSION, NAME, to_adapters
from tunekit.models.families import FAMILIES

WHOLE, PEFT, ADAPTERS = "whole", "peft", "adapters"
"""The names of the formats: a whole model, an update of peft, an adapter of adapters."""
_PEFT_PREFIX = "base_model.model."
"""The prefix of all names in peft's files."""


def kind_of(model: PreTrainedModel) -> str:
    """Return the format of a model that a method has changed."""
    if hasattr(model, "peft_config"):
        return PEFT
    return ADAPTERS if hasattr(model, "tunekit_adapter_config") else WHOLE


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules after the last encoder layer, which every method trains.

    A head for tokens lacks some modules of the family's head for sequences, such as BERT's pooler.
    """
    there = {name for name, _ in model.named_modules()}
    names = [prefix.removesuffix(".") for prefix in FAMILIES[model.config.model_type].head]
    return [name for name in names if name in there]


def merge(model: PreTrainedModel, within: Sequence[str] = ("",)) -> list[str]:
    """Merge the updates of ``peft`` into the weights, in place, and return the names of the merged modules.

    Only modules whose names begin with one of ``within`` are merged.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    merged = [
        name
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer) and name.startswith(tuple(within))
    ]
    for name in merged:
        module: Any = model.get_submodule(name)
        module.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module.get_base_layer())
    return merged


def merge_all(model: PreTrainedModel) -> None:
    """Turn ``model`` into a model of the library, in place, by merging its updates into the weights.

    Raises UserError for adapters, which can't be merged.
    """
    if kind_of(model) == ADAPTERS:
        raise UserError("adapters have activations of their own and can't be merged; export without --merged")
    if kind_of(model) == PEFT:
        fuse_blocks(model)
        merge(model)
        del model.peft_config


def parameters_of(model: PreTrainedModel) -> dict[str, dict[str, nn.Parameter]]:
    """Return the trained parameters by file and by their name in that file.

    Updates of ``peft`` in the head must have been merged before. Raises UserError where the format of the model does
    not hold a parameter that was trained.
    """
    trained = trainable(model)
    heads = tuple(f"{name}." for name in head_modules(model))
    head = {name: parameter for name, parameter in trained.items() if name.startswith(heads)}
    files: dict[str, dict[str, nn.Parameter]]
    if kind_of(model) == PEFT:
        inner = {**_updates(model), **head}
        files = {"adapter_model.safetensors": {_PEFT_PREFIX + name: one for name, one in inner.items()}}
    else:
        bottlenecks = {name: one for name, one in trained.items() if name not in head}
        adapter = cast(dict[str, nn.Parameter], to_adapters(bottlenecks))  # the same parameters under other names
        files = {"adapter.safetensors": adapter, "model_head.safetensors": head}
    held = {id(parameter) for tensors in files.values() for parameter in tensors.values()}
    missing = [name for name, parameter in trained.items() if id(parameter) not in held]
    if missing:
        raise UserError(f"the format of {kind_of(model)} does not hold {missing[0]}, which was trained; try --merged")
    return files


def _updates(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the parameters that ``peft`` has added, by their names in its files."""
    from peft.utils import get_peft_model_state_dict

    parameters = dict(model.named_parameters())
    updates: dict[str, nn.Parameter] = get_peft_model_state_dict(model, parameters, save_embedding_layers=False)
    return updates


def write(model: PreTrainedModel, folder: Path, base: str | None, revision: str | None) -> str:
    """Write the configuration and the weights of ``model`` to ``folder`` and return the name of the format.

    ``model.config`` must have the names of the labels. ``base`` is the id of the pretrained model on the hub, None
    where it has none, and ``revision`` its commit. Raises UserError as ``parameters_of`` does, and OSError.
    """
    kind = kind_of(model)
    if has_blocks(model) and kind == PEFT and cast(Any, model).peft_config["default"].init_lora_weights == "pissa":
        # On loading, peft would take the singular vectors of the fused module out of its weights.
        raise UserError("PiSSA on rows of a fused module has no form in peft; export with --merged")
    fuse_blocks(model)
    if kind == WHOLE:
        _refuse_added_parameters(model)
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


def _refuse_added_parameters(model: PreTrainedModel) -> None:
    """Raise UserError where ``model`` has parameters that the library's class would ignore on loading."""
    with torch.device("meta"):
        of_library = {name for name, _ in type(model)(model.config).named_parameters()}
    added = [name for name, _ in model.named_parameters() if name not in of_library]
    if added:
        raise UserError(f"no library's format holds {added[0]}, which this method adds; such a model can't be exported")


def _write_peft_config(model: PreTrainedModel, folder: Path, base: str | None, revision: str | None) -> None:
    """Write adapter_config.json of ``peft``, after its updates in the head have been merged."""
    from peft import TaskType

    heads = head_modules(model)
    config = deepcopy(cast(Any, model).peft_config["default"])
    merged = merge(model, heads)
    of_tokens = type(model).__name__.endswith("ForTokenClassification")
    config.task_type = TaskType.TOKEN_CLS if of_tokens else TaskType.SEQ_CLS
    config.inference_mode, config.modules_to_save = True, heads
    config.base_model_name_or_path, config.revision = base, revision if base else None
    config.exclude_modules = merged or None
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    config.save_pretrained(str(folder))


def _write_adapters_configs(model: PreTrainedModel, folder: Path, base: str | None) -> None:
    """Write adapter_config.json and head_config.json of ``adapters``."""
    shared = {
        "hidden_size": model.config.hidden_size,
        "model_class": type(model).__name__,
        "model_name": base or "",
        "model_type": model.config.model_type,
        "version": LIBRARY_VERSION,
    }
    config = {**shared, "name": NAME, "config": cast(Any, model).tunekit_adapter_config}
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
    """Read the tensors that ``write`` has written into ``model``, which the same method must have changed.

    Raises UserError where they are not exactly the tensors that ``model`` trains.
    """
    fuse_blocks(model)
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
