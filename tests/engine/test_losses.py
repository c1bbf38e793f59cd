"""Losses with class weights, label smoothing and focal loss: PyTorch's numbers, alone, in packs and in parts."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from benchmarks.support.trial import without_dropout
from tests.support.device import device_pack
from tests.support.packs import CPU
from tests.support.trials import build, specify
from tunekit.engine.losses import class_weights
from tunekit.engine.member import Member
from tunekit.engine.train import Pack
from tunekit.tasks import TASKS

OPTIONS = [{"class_weights": "balanced"}, {"seed": 2, "label_smoothing": 0.2}, {"seed": 3}, {"seed": 4, "focal_gamma": 2.0}]


def member(parts: int = 1, **changes: object) -> Member:
    fields = {"method": "lora", "batch_size": 8, "train_limit": 44, "epochs": 1, "learning_rate": 5e-3, **changes}
    spec = specify(**fields)
    prepared, model = build(spec)
    train = prepared.splits["train"]
    weights = class_weights(spec, train.labels, prepared.data.label_names)
    return Member(spec, without_dropout(model), train, CPU, parts, class_weights=weights)


def test_weights_and_smoothing_are_those_of_pytorch():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 9, 3, generator=generator), torch.randint(0, 3, (2, 9), generator=generator)
    weights, smoothing = torch.tensor([[1.0, 2.0, 0.5], [1.0, 1.0, 1.0]]), torch.tensor([0.1, 0.3])
    each = TASKS["classification"].loss(
        logits.flatten(0, 1), labels.flatten(),
        class_weights=weights.repeat_interleave(9, 0), label_smoothing=smoothing.repeat_interleave(9),
    )  # fmt: skip
    found = each.view(2, 9).sum(1) / weights.gather(1, labels).sum(1)
    for trial in range(2):
        expected = F.cross_entropy(
            logits[trial], labels[trial], weight=weights[trial], label_smoothing=float(smoothing[trial])
        )
        assert float(found[trial]) == pytest.approx(float(expected), abs=1e-6)


def test_balanced_weights_are_those_of_scikit_learn():
    spec = specify(class_weights="balanced")
    prepared, _ = build(spec)
    labels = prepared.splits["train"].labels
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    np.testing.assert_allclose(class_weights(spec, labels, prepared.data.label_names), expected)


@pytest.mark.parametrize("make", [Pack, device_pack])
def test_losses_are_the_same_alone_in_a_pack_and_in_parts(make):
    alone = np.array([make([member(**one)]).train_epoch()[0].losses for one in OPTIONS])
    packed = [epoch.losses for epoch in make([member(**one) for one in OPTIONS]).train_epoch()]
    np.testing.assert_allclose(packed, alone, rtol=0, atol=1e-5)
    parts = make([member(3, **OPTIONS[0])]).train_epoch()[0].losses
    np.testing.assert_allclose(parts, alone[0], rtol=0, atol=1e-5)
    plain = make([member(seed=2)]).train_epoch()[0].losses
    assert np.abs(plain - alone[1]).max() > 1e-2
