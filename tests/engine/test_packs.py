"""Packs: many trials as one model, each with the numbers that it has alone."""

from itertools import product

import numpy as np
import pytest
import torch

from benchmarks.support.trial import without_dropout
from tests.conftest import needs_real_data
from tests.support import packs
from tests.support.combinations import usually
from tests.support.packs import CPU, PACKED, apart, member_of, train
from tests.support.trials import build, specify
from tunekit.engine.member import Member, packable
from tunekit.engine.train import Pack
from tunekit.schema import TrialSpec

pytestmark = pytest.mark.slow

KINDS = ("full", "adapter", "lora", "bitfit")
"""A method for each kind of what packs stack: all leaves, new modules, factors of a product, and biases alone."""
every_method = pytest.mark.parametrize("method", usually(KINDS, PACKED))
PRECISIONS = {
    "tiny-bert-fp64": ("tiny-bert", torch.float64, 1e-12),
    "tiny-roberta-fp64": ("tiny-roberta", torch.float64, 1e-12),
    "tiny-bert-fp32": ("tiny-bert", torch.float32, 1e-5),
}
"""Models and types, each with how far a pack may be from its members alone."""


def specs_of(method: str, **common: object) -> list[TrialSpec]:
    """Members that differ in all that members may differ in, with three whole batches and half a one an epoch."""
    return packs.specs_of(method, **{"train_limit": 28, **common})


@pytest.mark.parametrize(
    ("method", "precision"),
    usually({*product(PACKED, ("tiny-bert-fp64",)), *product(KINDS[:3], PRECISIONS)}, product(PACKED, PRECISIONS)),
)
def test_a_pack_trains_as_its_members_do_alone(method, precision):
    model, dtype, tolerance = PRECISIONS[precision]
    specs = specs_of(method, model=model)
    packed, alone = ([member_of(spec, dropout=False, dtype=dtype) for spec in specs] for _ in range(2))
    found = train(packed, 5)
    expected = np.concatenate([train([member], 5) for member in alone])
    assert found.shape[1] == 20
    assert np.ptp(found, axis=1).min() > 0.01, "losses that never move would agree with anything"
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert max(apart(*pair) for pair in zip(packed, alone, strict=True)) <= tolerance


@every_method
def test_packed_and_single_trials_see_equal_masks_and_agree_with_dropout(method):
    specs = specs_of(method, epochs=2)
    packed, alone = ([member_of(spec) for spec in specs] for _ in range(2))
    pack = Pack(packed)
    batches = [next(member.batches()) for member in packed]
    parts = [(m.train, at) for m, at in zip(packed, batches, strict=True)]
    masks = pack.steps.draw_masks(pack.steps.batch(parts, train=True), 0, 0)
    for trial, (member, at) in enumerate(zip(alone, batches, strict=True)):
        single = Pack([member]).steps
        own = single.draw_masks(single.batch([(member.train, at)], train=True), 0, 0)
        for kind, mask in own.by_kind.items():
            theirs = masks.by_kind[kind]
            if mask.dim() == 3:
                assert torch.equal(theirs[trial, : mask.shape[1]], mask[0])
            else:
                begin = sum(
                    int((m.train.tokens.lengths[b] ** 2).sum()) for m, b in zip(packed[:trial], batches, strict=False)
                )
                assert torch.equal(theirs[begin : begin + len(mask)], mask)
            assert 0 < mask.float().mean() < 1
    pack.close()
    np.testing.assert_allclose(train(packed, 2), np.concatenate([train([m], 2) for m in alone]), rtol=0, atol=1e-4)


@every_method
def test_slots_may_be_permuted(method):
    specs = specs_of(method, epochs=2)
    members, others = [member_of(spec) for spec in specs], [member_of(spec) for spec in reversed(specs)]
    np.testing.assert_allclose(train(members, 2), train(others, 2)[::-1], rtol=0, atol=1e-5)
    assert max(apart(*pair) for pair in zip(members, reversed(others), strict=True)) < 1e-4


def test_padded_ranks_stay_exactly_zero():
    members = [member_of(spec) for spec in specs_of("lora")]
    pack = Pack(members)
    pack.train_epoch()
    buffers = members[0].buffers
    for piece in buffers.pieces:
        for flat in (buffers.weights, buffers.first, buffers.second):
            inside = torch.zeros_like(flat)
            for view in piece.views(inside):
                view.fill_(1)
            outside = flat[:, piece.columns][inside[:, piece.columns] == 0]
            assert (outside == 0).all()
    assert any(len({one.parameter.shape for one in piece.trained}) > 1 for piece in buffers.pieces)


@every_method
def test_a_nan_stays_in_its_own_slot(method):
    specs = specs_of(method, epochs=2)
    packed, alone = ([member_of(spec) for spec in specs] for _ in range(2))
    with torch.no_grad():
        next(reversed(packed[1].trained.values())).parameter.view(-1)[0] = float("nan")
    found = train(packed, 1)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()
    expected = np.concatenate([train([member], 1) for member in (alone[0], alone[2])])
    np.testing.assert_allclose(found[[0, 2]], expected, rtol=0, atol=1e-5)


@every_method
def test_members_leave_and_join_at_epoch_ends(method):
    specs = specs_of(method, epochs=3)
    members, alone = ([member_of(spec) for spec in specs] for _ in range(2))
    first = train(members[:2], 1)
    second = train(members[1:], 1)  # 0 left, 2 joined
    third = train([members[2], members[0]], 1)  # 1 left, 0 came back
    ours = [(first[0], third[1]), (first[1], second[0]), (second[1], third[0])]
    for parts, member in zip(ours, alone, strict=True):
        np.testing.assert_allclose(np.concatenate(parts), train([member], 2)[0], rtol=0, atol=1e-5)
    assert max(apart(*pair) for pair in zip(members, alone, strict=True)) < 1e-4


@every_method
def test_a_packed_model_predicts_as_its_members_do(method):
    members = [member_of(spec) for spec in specs_of(method)]
    pack = Pack(members)
    pack.train_epoch()
    split = build(members[0].spec)[0].splits["test"]
    together = pack.predict(split)
    pack.close()
    for member, found in zip(members, together, strict=True):
        np.testing.assert_allclose(found, Pack([member]).predict(split)[0], rtol=0, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_frozen_weights_are_shared_and_trained_ones_are_views():
    members = [member_of(spec) for spec in specs_of("adapter")]
    pack = Pack(members)
    shared = {p.data_ptr() for p in members[0].model.parameters() if not p.requires_grad}
    held = {p.data_ptr() for p in pack.model.parameters() if p.data_ptr() in shared}
    assert held == shared
    weight = next(iter(members[2].trained.values())).parameter
    before, buffers = weight.clone(), members[0].buffers
    assert all(member.buffers is buffers for member in members)
    buffers.weights += 1
    assert torch.equal(weight, before + 1)
    pack.close()
    buffers.weights += 1
    assert torch.equal(weight, before + 1)
    assert all(len(member.buffers) == 1 for member in members)


@pytest.mark.parametrize(("method", "name", "values"), [("pissa", "r", (4, 8)), ("parallel", "scaling", (4.0, 2.0))])
def test_trials_that_a_method_keeps_apart_are_no_pack(method, name, values):
    members = [member_of(specify(method=method, method_params={name: value})) for value in (*values, values[0])]
    assert packable([members[0], members[2]])
    with pytest.raises(ValueError, match="can't be one pack"):
        Pack(members)


@pytest.mark.parametrize(
    "other",
    [
        {"method": "adapter", "method_params": {}},
        {"batch_size": 16},
        {"train_limit": 32},
        {"method_params": {"target_modules": "query"}},
        {"method_params": {"lora_dropout": 0.1}},
    ],
)
def test_trials_of_other_groups_are_refused(other):
    specs = [specify(seed=1), specify(seed=2, **other)]
    with pytest.raises(ValueError, match="can't be one pack"):
        Pack([member_of(spec) for spec in specs])


def test_trials_of_which_a_method_has_hooked_trained_modules_are_no_pack():
    """A pack has modules of its own in the place of trained ones, which would be without the hook."""
    members = [member_of(specify(method="full", seed=seed)) for seed in (1, 2)]
    assert packable(members)
    for member in members:
        member.model.bert.encoder.layer[0].intermediate.dense.register_forward_hook(lambda *hooked: 2 * hooked[-1])
    assert not packable(members[:1])
    with pytest.raises(ValueError, match="can't be one pack"):
        Pack(members)


def test_parts_of_a_batch_add_up():
    spec = specify(batch_size=10, train_limit=24)
    prepared, _ = build(spec)
    whole = member_of(spec, dropout=False)
    parts = Member(spec, without_dropout(build(spec)[1]), prepared.splits["train"], CPU, micro_batches=3)
    np.testing.assert_allclose(train([whole], 2), train([parts], 2), rtol=0, atol=1e-6)
    assert apart(whole, parts) < 1e-6


@pytest.mark.model
@needs_real_data
@pytest.mark.parametrize("method", ["adapter", "lora"])
def test_packs_of_a_pretrained_model_agree_on_real_text(method):
    specs = [
        specify(model="minilm", dataset="restaurant", method=method, seed=seed, batch_size=4, train_limit=16, epochs=1)
        for seed in (1, 2)
    ]
    packed, alone = ([member_of(spec) for spec in specs] for _ in range(2))
    np.testing.assert_allclose(train(packed, 1), np.concatenate([train([m], 1) for m in alone]), rtol=0, atol=1e-4)
