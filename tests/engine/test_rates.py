"""Rates and clipping: the losses and weights that torch's AdamW gives with a group for each parameter."""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from tests.support.device import device_pack
from tests.support.packs import apart, member_of, train
from tests.support.trials import specify
from tunekit.engine.host_steps import HostSteps
from tunekit.engine.member import Member
from tunekit.engine.schedule import learning_rate_at
from tunekit.methods.lora import LoRA
from tunekit.schema import TrialSpec
from tunekit.training_options import SCHEDULES

pytestmark = pytest.mark.slow

every_steps = pytest.mark.parametrize("make", [None, device_pack], ids=["host", "device"])


def small(**changes: object) -> TrialSpec:
    return specify(**{"method": "lora", "batch_size": 8, "train_limit": 44, "epochs": 2, **changes})


def trained(specs: Sequence[TrialSpec], make: Callable | None) -> tuple[np.ndarray, list[Member]]:
    """The losses (K, steps) of all epochs of a pack, and its members."""
    members = [member_of(spec, dropout=False) for spec in specs]
    return train(members, specs[0].epochs, *([make] if make else [])), members


def by_transformers(optimizer: torch.optim.Optimizer, total: int, spec: TrialSpec) -> LambdaLR:
    """The scheduler of the spec's rates, by Trainer's own names and rounding of the warm-up."""
    name = {"constant": "constant_with_warmup"}.get(spec.lr_schedule, spec.lr_schedule)
    return get_scheduler(name, optimizer, math.ceil(total * spec.warmup_ratio), total)


def by_torch(spec: TrialSpec, factor_of: Callable[[str], float] = lambda name: 1.0) -> tuple[np.ndarray, Member]:
    """The same of one trial by torch's optimizer with a group for each parameter, whose rate has a factor."""
    member = member_of(spec, dropout=False)
    steps, trained = HostSteps([member], member.model.train()), member.trained
    groups = [
        {
            "params": [one.parameter],
            "lr": spec.learning_rate * factor_of(name),
            "weight_decay": spec.weight_decay * (name in member.decayed),
        }
        for name, one in trained.items()
    ]
    optimizer = torch.optim.AdamW(groups)
    total = member.steps_per_epoch * spec.epochs
    scheduler = by_transformers(optimizer, total, spec)
    losses = []
    for _ in range(spec.epochs):
        for number, indices in enumerate(member.batches()):
            losses.append(float(steps.backward([indices], number)[0]))
            if spec.max_grad_norm:  # as Trainer does
                torch.nn.utils.clip_grad_norm_([one.parameter for one in trained.values()], spec.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        member.step += member.steps_per_epoch
    for one in trained.values():
        state = optimizer.state[one.parameter]
        one.first, one.second = state["exp_avg"], state["exp_avg_sq"]
    return np.array(losses), member


def check(found: np.ndarray, members: Sequence[Member], expected: Sequence[tuple[np.ndarray, Member]]) -> None:
    """Losses and weights are the expected ones, and no two trials are alike."""
    np.testing.assert_allclose(found, np.stack([losses for losses, _ in expected]), rtol=0, atol=1e-5)
    assert max(apart(ours, theirs) for ours, (_, theirs) in zip(members, expected, strict=True)) < 1e-4
    assert np.ptp(found, axis=1).min() > 1e-3, "losses that never move would agree with anything"


@every_steps
def test_a_method_may_have_a_factor_of_the_rate_for_each_parameter(make, monkeypatch):
    monkeypatch.setattr(LoRA, "rate_factor", lambda self, name: self.r / 2 if "lora_B" in name else 1.0, raising=False)
    specs = [
        small(learning_rate=5e-3, weight_decay=0.1),
        small(seed=2, method_params={"r": 4}),
        small(seed=3, learning_rate=1e-3),
    ]
    found, members = trained(specs, make)
    assert members[1].rate_factors == {name: 2.0 for name in members[1].trained if "lora_B" in name}
    assert members[1].rate_factors
    factors = [lambda name, r=spec.method_params["r"]: r / 2 if "lora_B" in name else 1.0 for spec in specs]
    check(found, members, [by_torch(spec, factor) for spec, factor in zip(specs, factors, strict=True)])
    plain, _ = by_torch(specs[0])
    assert np.abs(found[0] - plain).max() > 1e-3


@pytest.mark.parametrize("warmup", [0.0, 0.13])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_are_those_of_transformers(schedule, warmup):
    spec = small(lr_schedule=schedule, warmup_ratio=warmup, learning_rate=0.3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=spec.learning_rate)
    scheduler, expected = by_transformers(optimizer, 31, spec), []
    for _ in range(31):
        expected += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose([learning_rate_at(step, 31, spec) for step in range(31)], expected, rtol=1e-12)
    assert schedule != "linear" or warmup or expected[10] == pytest.approx(0.3 * 21 / 31)


@every_steps
def test_trials_of_a_pack_may_differ_in_schedule_and_clipping(make):
    specs = [
        small(learning_rate=5e-3, max_grad_norm=0.05),
        small(seed=2, lr_schedule="cosine", warmup_ratio=0.2, learning_rate=2e-3),
        small(seed=3, lr_schedule="constant", max_grad_norm=0.0, learning_rate=1e-3),
    ]
    found, members = trained(specs, make)
    check(found, members, [by_torch(spec) for spec in specs])
    for number, plain in enumerate([small(learning_rate=5e-3), small(seed=2, learning_rate=2e-3)]):
        assert np.abs(found[number] - by_torch(plain)[0]).max() > 1e-4


@pytest.mark.parametrize("model", ["tiny-bert", "tiny-modernbert", "tiny-distilbert", "tiny-electra", "tiny-deberta"])
def test_the_rate_decays_from_layer_to_layer_and_the_head_has_its_own(model):
    member = member_of(small(model=model, method="full", layer_decay=0.5, head_learning_rate=3.0))
    layer_of = {name: int(found[1]) for name in member.trained if (found := re.search(r"layers?\.(\d+)\.", name))}
    num_layers = 1 + max(layer_of.values())
    for name in member.trained:
        if name in layer_of:  # the last layer is one below the head
            expected = 0.5 ** (num_layers - layer_of[name])
        elif "embeddings" in name:
            expected = 0.5 ** (num_layers + 1)
        else:  # a norm after the last layer is of the whole
            expected = 1.0 if "norm" in name.lower() and "classifier" not in name and "head" not in name else 3.0
        assert member.rate_factors.get(name, 1.0) == expected, name
    assert set(member.rate_factors.values()) >= {3.0, 0.5, 0.25, 0.5 ** (num_layers + 1)}


@every_steps
def test_trials_of_a_pack_may_differ_in_the_rates_of_head_and_layers(make):
    fields = {"method": "lora_plus", "method_params": {"ratio": 4.0}, "learning_rate": 2e-3}
    specs = [
        small(**fields, layer_decay=0.1),
        small(**fields, seed=2, head_learning_rate=5.0),
        small(**fields, seed=3),
    ]

    def factor(spec: TrialSpec) -> Callable[[str], float]:
        def of(name: str) -> float:
            layer = {"layer.0.": 2, "layer.1.": 1}
            decay = spec.layer_decay ** sum(count for part, count in layer.items() if part in name)
            head = spec.head_learning_rate if name.startswith(("classifier", "bert.pooler")) else 1.0
            return decay * head * (4.0 if ".lora_B." in name or name.endswith(".bias") else 1.0)

        return of

    found, members = trained(specs, make)
    check(found, members, [by_torch(spec, factor(spec)) for spec in specs])
    plain = small(**fields)
    assert np.abs(found[0] - by_torch(plain, factor(plain))[0]).max() > 1e-4
