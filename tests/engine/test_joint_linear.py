"""Queries, keys and values by one product: the numbers of a product each, and fewer products."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.support.trial import without_dropout
from tests.support.device import device_pack
from tests.support.packs import apart, member_of, specs_of, train
from tests.support.trials import build, specify
from tunekit.engine.forward import device_operations, joint_linear
from tunekit.engine.forward.joint_linear import joined, lay_side_by_side
from tunekit.engine.member import Member

pytestmark = pytest.mark.slow

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
JOINT = ("full", "adapter", "lora", "bitfit", "head")
APART = ("dora", "ia3", "vera")
"""Methods that change a projection in a way that can't be added to its output."""


def each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each module a product of its own from here on."""
    monkeypatch.setattr(joint_linear, "_product", lambda modules, x: None)


class Products(TorchDispatchMode):
    """Counts products of matrices, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in PRODUCTS
        return func(*args, **(kwargs or {}))


def products_of_a_step(members: list[Member]) -> int:
    training = device_pack(members).steps.training
    orders = np.stack([np.concatenate(list(member.batches())) for member in members])
    training.order.copy_(torch.from_numpy(orders))
    [bucket, *_] = training._buckets(members[0].train.tokens.lengths[orders])
    with Products() as found:
        training._step(bucket)
    return found.count


@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("method", JOINT)
def test_one_product_has_the_numbers_of_one_each(method, trials, monkeypatch):
    specs = specs_of(method, epochs=1, train_limit=24)[:trials]
    ours, theirs = ([member_of(spec, dtype=torch.float64) for spec in specs] for _ in range(2))
    found = train(ours, 1, device_pack)
    each_alone(monkeypatch)
    np.testing.assert_allclose(found, train(theirs, 1, device_pack), rtol=0, atol=1e-12)
    assert max(apart(*pair) for pair in zip(ours, theirs, strict=True)) < 1e-10


def test_the_masks_of_loras_dropout_stay_as_they_are(monkeypatch):
    spec = specify(method="lora", method_params={"r": 4, "lora_dropout": 0.3, "target_modules": "query,key,value"},
                   batch_size=8, train_limit=24, epochs=1)  # fmt: skip
    found = train([member_of(spec)], 1, device_pack)
    each_alone(monkeypatch)
    np.testing.assert_allclose(found, train([member_of(spec)], 1, device_pack), rtol=0, atol=1e-6)


@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("method", JOINT)
def test_a_step_has_fewer_products(method, trials, monkeypatch):
    specs = specs_of(method)[:trials]
    found = products_of_a_step([member_of(spec) for spec in specs])
    each_alone(monkeypatch)
    expected = products_of_a_step([member_of(spec) for spec in specs])
    # Of two layers, the last takes the queries of first tokens apart. So there are 2 products and 1 less forward, as
    # many for gradients of the hidden states, and as many for those of weights. Where embeddings are frozen, the first
    # layer's hidden states have none.
    fewer = {"full": 3 + 3 + 3, "adapter": 3 + 1, "bitfit": 3 + 3, "head": 3}
    # Of LoRA's first matrices, the first layer's are one product, forward and for their gradients. Its keys have a
    # gradient now, as a part of the product, which the twin of attention's kernel computes by one more.
    fewer["lora"] = 3 + 1 + 2 - 1
    assert expected - found == fewer[method]


@pytest.mark.parametrize("method", APART)
def test_methods_that_change_a_projection_keep_its_product(method, monkeypatch):
    spec = specify(method=method, batch_size=8, train_limit=24, epochs=1)
    joint = Counter[bool]()
    product = joint_linear._product

    def counted(modules, x):
        result = product(modules, x)
        joint[result is not None] += 1
        return result

    monkeypatch.setattr(joint_linear, "_product", counted)
    found = train([member_of(spec)], 1, device_pack)
    assert joint[False] == 2 * 3, "layers of three steps"
    assert not joint[True]
    each_alone(monkeypatch)
    np.testing.assert_array_equal(found, train([member_of(spec)], 1, device_pack))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_hook_of_a_projection_is_called(method):
    def hooked() -> Member:
        spec = specify(method=method, batch_size=8, train_limit=24, epochs=1)
        prepared, model = build(spec)
        value = model.bert.encoder.layer[0].attention.self.value
        getattr(value, "base_layer", value).register_forward_hook(lambda module, inputs, output: 3 * output)
        return Member(spec, model, prepared.splits["train"], torch.device("cpu"))

    plain = specify(method=method, batch_size=8, train_limit=24, epochs=1)
    found = train([hooked()], 1, device_pack)
    assert np.abs(found - train([member_of(plain)], 1, device_pack)).max() > 1e-5


@pytest.mark.parametrize(
    ("method", "trials"), [*product(("full", "bitfit", "lora", "all-linear"), (1, 3)), ("hooked", 1)]
)
def test_the_kernel_of_gelu_adds_the_bias_where_nothing_else_uses_the_product(method, trials, monkeypatch):
    biases, plain = [], device_operations.bias_gelu

    def noted(x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        biases.append(None if bias is None else bias.dim())
        return plain(x, bias)

    def member(seed: int) -> Member:
        params = {"target_modules": "all-linear"} if method == "all-linear" else {}
        name = {"all-linear": "lora", "hooked": "full"}.get(method, method)
        spec = specify(method=name, method_params=params, seed=seed, batch_size=8, train_limit=24, epochs=1)
        if method != "hooked":
            return member_of(spec, dropout=False)
        prepared, model = build(spec)
        for layer in model.bert.encoder.layer:
            layer.intermediate.dense.register_forward_hook(lambda module, inputs, output: 2 * output)
        return Member(spec, without_dropout(model), prepared.splits["train"], torch.device("cpu"))

    seeds = range(1, trials + 1)
    expected = train([member(seed) for seed in seeds], 1)
    monkeypatch.setattr(device_operations, "bias_gelu", noted)
    found = train([member(seed) for seed in seeds], 1, device_pack)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    own = 2 if trials > 1 and method in ("full", "bitfit") else 1  # each trial has a bias of its own
    assert set(biases) == {None if method in ("all-linear", "hooked") else own}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_and_their_casts_lie_side_by_side(precision):
    members = [member_of(replace(spec, precision=precision)) for spec in specs_of("full")]
    steps = device_pack(members).steps
    attention = steps.model.bert.encoder.layer[0].attention.self
    projections = attention.query, attention.key, attention.value
    for name, axis in (("weight", -2), ("bias", -1)):
        parts = [getattr(one, name) for one in projections]
        assert torch.equal(joined(parts, axis), torch.cat(parts, axis))
    if precision == "bf16":
        with steps.training.casts.in_bf16():
            parts = [one.weight for one in projections]
            assert parts[0].dtype == torch.bfloat16
            assert torch.equal(joined(parts, -2), torch.cat(parts, -2))


def test_frozen_weights_move_side_by_side_and_stay_what_they_are():
    member = member_of(specs_of("lora")[0])
    before = {name: (id(one), one.detach().clone()) for name, one in member.model.named_parameters()}
    for _ in range(2):
        lay_side_by_side(member.model)
        for name, one in member.model.named_parameters():
            assert before[name][0] == id(one)
            assert torch.equal(before[name][1], one)
        for layer in member.model.bert.encoder.layer:
            own = layer.attention.self
            assert joined([own.query.base_layer.weight, own.key.weight, own.value.base_layer.weight], -2) is not None
    assert all(one.parameter.data_ptr() for one in member.trained.values())


class _SideBySide(torch.autograd.Function):
    """A number of queries, keys and values, whose gradients lie side by side, as those of attention's kernels do."""

    @staticmethod
    def forward(ctx, *parts):
        ctx.shape = parts[0].shape
        return parts[0].sum()

    @staticmethod
    def backward(ctx, grad):
        return grad.new_ones((*ctx.shape[:-1], 3, ctx.shape[-1])).unbind(-2)


def test_neither_weights_nor_gradients_are_copied():
    member = member_of(specs_of("full")[0])
    attention = member.model.bert.encoder.layer[0].attention.self
    projections = [attention.query, attention.key, attention.value]
    hidden = torch.randn(1, 50, 32, requires_grad=True)
    calls = Counter[str]()

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls[func.overloadpacket.__name__] += 1
            return func(*args, **(kwargs or {}))

    with Noted():
        _SideBySide.apply(*joint_linear.joint_outputs(projections, hidden)).backward()
    assert (calls["addmm"], calls["mm"]) == (1, 2)
    assert not set(calls) & {"cat", "clone", "copy_", "contiguous", "add", "_to_copy"}
    assert joined([one.weight.grad for one in projections], -2) is not None


def test_what_lies_apart_is_not_joined():
    whole = torch.arange(24.0).view(4, 6)
    assert torch.equal(joined(whole.chunk(2, -1), -1), whole)
    assert torch.equal(joined(whole.chunk(2, -2), -2), whole)
    left, right = whole.chunk(2, -1)
    for parts in ((right, left), (left, left), (left, right.clone()), (left, right[:2]), (left, right.int())):
        assert joined(parts, -1) is None
    assert joined((left, right), -2) is None
