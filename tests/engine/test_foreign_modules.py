"""Modules of a method that the flat forward pass would replace or not call are refused by name."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import transformers
from torch import nn

from tests.support.trials import build, specify
from tunekit.engine.build import adapt
from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import freeze

LAYER = "bert.encoder.layer.1"


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *inputs, **named):
        return self.inner(*inputs, **named)


def wrap(model):
    attention = model.get_submodule(f"{LAYER}.attention")
    attention.self = Wrapped(attention.self)


def add_a_part(model):
    model.get_submodule(f"{LAYER}.attention.self").gate = nn.Linear(1, 1)


def hook(name):
    return lambda model: model.get_submodule(name).register_forward_hook(lambda *_: None)


def own_forward(model):
    attention = model.get_submodule(f"{LAYER}.attention.self")
    attention.forward = attention.forward


def prefixes_of_adapters(model):
    import adapters

    adapters.init(model)
    model.add_adapter("a", config=adapters.PrefixTuningConfig(prefix_length=3))
    model.set_active_adapters("a")


CHANGES = {
    "another module": (wrap, f"{LAYER}.attention.self (Wrapped)"),
    "a part more": (add_a_part, f"{LAYER}.attention.self (BertS"),
    "a hook": (hook(f"{LAYER}.attention.self"), f"{LAYER}.attention.self (BertS"),
    "a forward of its own": (own_forward, f"{LAYER}.attention.self (BertS"),
    "a hook of dropout": (hook(f"{LAYER}.output.dropout"), f"{LAYER}.output.dropout (Dropout)"),
    "a hook of the backbone": (hook("bert"), "bert (BertModel)"),
    "a hook of the model": (hook(""), "the model (BertForSequenceClassification)"),
}


def refused(monkeypatch, change, padded=None):
    """The refusal of a method that does ``change``; None where it is taken."""

    @dataclass(frozen=True, kw_only=True)
    class Foreign:
        display_name: ClassVar[str] = "Foreign"
        learning_rate: ClassVar[float] = 1e-3

        def prepare(self, model):
            freeze(model)
            change(model)

    if padded:
        Foreign.padded = padded
    _, model = build(specify(method="full"))
    monkeypatch.setitem(METHODS._items, "foreign", Foreign)
    try:
        adapt(model, specify(method="foreign"))
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", CHANGES)
def test_a_foreign_module_is_refused_by_name_and_taken_where_batches_are_padded(name, monkeypatch):
    change, named = CHANGES[name]
    message = refused(monkeypatch, change)
    assert message is not None
    assert message.startswith(f"method 'foreign' on tiny-bert: it changes {named}")
    assert "\n" not in message
    assert refused(monkeypatch, change, padded="it changes attention") is None


@pytest.mark.skipif(int(transformers.__version__.partition(".")[0]) >= 5, reason="adapters 1.3.0 needs transformers 4")
def test_a_prefix_of_the_library_adapters_is_refused_which_the_flat_forward_would_drop(monkeypatch):
    message = refused(monkeypatch, prefixes_of_adapters)
    assert "it changes bert (BertModel)" in message or "attention.self (BertSdpaSelfAttentionWithAdapters)" in message


def test_what_a_method_adds_elsewhere_is_taken(monkeypatch):
    def add(model):
        layer = model.get_submodule(LAYER)
        layer.output = Wrapped(layer.output)
        with torch.no_grad():
            layer.output.inner.dense.weight.zero_()

    assert refused(monkeypatch, add) is None
