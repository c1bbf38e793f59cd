"""Losses with class weights, label smoothing and focal loss: PyTorch's numbers, alone, in packs and in parts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from transformers.trainer_pt_utils import LabelSmoother

from benchmarks.support.trial import without_dropout
from tests.support.device import CalledGraphs, NoHostReads, device_pack
from tests.support.packs import CPU, apart
from tests.support.runs import finish, numbers
from tests.support.trials import build, specify, start
from tunekit.engine.losses import PackLoss, class_weights
from tunekit.engine.member import Member
from tunekit.engine.train import Pack
from tunekit.tasks import TASKS

pytestmark = pytest.mark.slow

LOSS = TASKS["classification"].loss
WEIGHTS = "negative=0.5,positive=3"
OPTIONS = [
    {"class_weights": "balanced"},
    {"seed": 2, "label_smoothing": 0.4},
    {"seed": 3},
    {"seed": 4, "focal_gamma": 2.0, "class_weights": WEIGHTS},
]


def member(parts: int = 1, **changes: object) -> Member:
    fields = {"method": "lora", "batch_size": 8, "train_limit": 44, "epochs": 1, "learning_rate": 5e-3, **changes}
    spec = specify(**fields)
    prepared, model = build(spec)
    train = prepared.splits["train"]
    weights = class_weights(spec, train.labels, prepared.data.label_names)
    return Member(spec, without_dropout(model), train, CPU, parts, class_weights=weights)


def examples(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (12, 3), that ask for a gradient, and labels of every class."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(12, 3, generator=generator, dtype=dtype)
    return logits.requires_grad_(), torch.arange(12) % 3


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(loss, logits)
    return found


def both_agree(found: torch.Tensor, expected: torch.Tensor, logits: torch.Tensor, within: float = 1e-12) -> None:
    """Losses and their gradients are equal."""
    assert found.item() == pytest.approx(expected.item(), abs=within)
    torch.testing.assert_close(gradient(found, logits), gradient(expected, logits), rtol=0, atol=within)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_weights_are_those_of_pytorchs_cross_entropy(smoothing):
    logits, labels = examples()
    weights = torch.tensor([1.0, 2.5, 0.0], dtype=torch.float64)
    options = {"label_smoothing": torch.full((12,), smoothing, dtype=torch.float64)} if smoothing else {}
    each = LOSS(logits, labels, class_weights=weights.expand(12, 3), **options)
    expected = nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(logits, labels)
    both_agree(each.sum() / weights[labels].sum(), expected, logits)


def test_smoothing_is_that_of_trainers_label_smoothing_factor():
    logits, labels = examples()
    found = LOSS(logits, labels, label_smoothing=torch.full((12,), 0.1, dtype=torch.float64)).mean()
    # LabelSmoother sums over the classes in float32.
    both_agree(found, LabelSmoother(epsilon=0.1)({"logits": logits}, labels), logits, within=1e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_loss_is_the_formula_of_lin_et_al(gamma):
    logits, labels = examples()
    alpha = torch.tensor([0.25, 1.0, 2.0], dtype=torch.float64)
    found = LOSS(
        logits,
        labels,
        class_weights=alpha.expand(12, 3),
        focal_gamma=torch.full((12,), gamma, dtype=torch.float64),
    )
    p = logits.softmax(1)[torch.arange(12), labels]
    both_agree(found.sum(), (-alpha[labels] * (1 - p) ** gamma * torch.log(p)).sum(), logits)


def test_a_text_that_is_surely_right_has_a_finite_gradient_of_focal_loss():
    logits = torch.tensor([[90.0, 0.0], [0.0, 90.0]], requires_grad=True)
    loss = LOSS(logits, torch.tensor([0, 0]), focal_gamma=torch.tensor([0.5, 0.5]))
    assert loss.tolist() == [0, pytest.approx(90)]
    assert gradient(loss.sum(), logits).isfinite().all()


def test_balanced_weights_are_those_of_scikit_learn():
    spec = specify(class_weights="balanced", train_limit=None)
    prepared, _ = build(spec)
    labels, names = prepared.splits["train"].labels, prepared.data.label_names
    rare = labels[np.flatnonzero((labels != 1) | (np.arange(len(labels)) % 3 == 0))]
    expected = compute_class_weight("balanced", classes=np.unique(rare), y=rare)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(class_weights(spec, rare, names), expected)
    without = class_weights(spec, labels[labels != 0], names)
    assert without is not None
    assert without[0] == 0
    np.testing.assert_allclose(
        without[1:], compute_class_weight("balanced", classes=np.array([1, 2]), y=labels[labels != 0])
    )


def test_weights_by_name_are_1_where_a_label_is_left_out():
    found = class_weights(specify(class_weights=WEIGHTS), np.zeros(3, np.int64), ("negative", "neutral", "positive"))
    assert found is not None
    assert found.tolist() == [0.5, 1, 3]


def test_a_trial_without_options_computes_the_tasks_own_loss():
    assert PackLoss([member()]).options == {}
    assert set(PackLoss([member(**one) for one in OPTIONS]).options) == {*TASKS["classification"].loss_options}


@pytest.mark.parametrize("make", [Pack, device_pack])
def test_options_at_their_neutral_value_give_the_bits_of_no_option(make):
    plain, neutral = member(), member(class_weights="negative=1,neutral=1,positive=1")
    losses = [make([one]).train_epoch()[0].losses for one in (plain, neutral)]
    np.testing.assert_array_equal(*losses)
    assert apart(plain, neutral) == 0
    assert specify(label_smoothing=0.0, focal_gamma=0, class_weights="none").trial_id == specify().trial_id


@pytest.mark.parametrize("make", [Pack, device_pack])
def test_losses_are_the_same_alone_in_a_pack_and_in_parts(make):
    alone = np.array([make([member(**one)]).train_epoch()[0].losses for one in OPTIONS])
    packed = [epoch.losses for epoch in make([member(**one) for one in OPTIONS]).train_epoch()]
    np.testing.assert_allclose(packed, alone, rtol=0, atol=1e-5)
    for number in (0, 1, 3):
        parts = make([member(3, **OPTIONS[number])]).train_epoch()[0].losses
        np.testing.assert_allclose(parts, alone[number], rtol=0, atol=1e-5)
        plain = make([member(seed=number + 1)]).train_epoch()[0].losses
        assert np.abs(plain - alone[number]).max() > 1e-3


def test_the_steps_of_a_gpu_take_the_options_and_read_nothing_on_the_host():
    host = [epoch.losses for epoch in Pack([member(**one) for one in OPTIONS]).train_epoch()]
    graphs = CalledGraphs()
    members = [member(3, **OPTIONS[0])]
    with_graphs = device_pack(members, graphs)
    np.testing.assert_allclose(with_graphs.train_epoch()[0].losses, host[0], rtol=0, atol=1e-5)
    pack = device_pack([member(**one) for one in OPTIONS])
    steps = pack.steps.training
    expected = pack.train_epoch()
    np.testing.assert_allclose([epoch.losses for epoch in expected], host, rtol=0, atol=1e-5)
    steps.step.zero_()
    lengths = members[0].train.tokens.lengths[steps.order.numpy()]
    with NoHostReads():
        steps._step(steps._buckets(lengths)[0])


def test_a_trial_with_options_is_recorded_and_resumes_with_the_same_bits(tmp_path):
    spec = specify(class_weights="balanced", label_smoothing=0.1, epochs=3, method="full")
    whole = start(spec, tmp_path / "whole")
    summary = finish(whole)
    broken = start(spec, tmp_path / "broken")
    broken.train_epoch()
    broken.save(broken.records, broken.member.trained)
    resumed = start(spec, tmp_path / "broken")
    assert len(resumed.records) == 1
    finish(resumed)
    assert numbers(resumed.records) == numbers(whole.records)
    stored = whole.store.read(whole.folder)
    assert stored.spec == spec
    assert summary.num_epochs == 3
    plain = start(replace(spec, class_weights="none", label_smoothing=0.0), tmp_path / "plain")
    assert plain.train_epoch().train_loss != whole.records[0].train_loss
