"""The steps of a GPU, on a CPU: the losses of the host's steps, and the same numbers however they are run."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers.models.bert.modeling_bert import BertOutput

from benchmarks.support.trial import without_dropout
from tests.support.combinations import usually
from tests.support.device import CalledGraphs, NoHostReads, called, device_pack
from tests.support.packs import CPU, apart, member_of, specs_of, train
from tests.support.runs import numbers
from tests.support.trials import build, specify, start
from tunekit.engine import device_steps
from tunekit.engine import train as engine_train
from tunekit.engine.capture import CudaGraphs, Replayer
from tunekit.engine.casts import TrainedCasts
from tunekit.engine.host_steps import HostSteps
from tunekit.engine.kernels.masks import Dropout, DropoutKeys, row_draws
from tunekit.engine.member import Member
from tunekit.engine.precision import cast_frozen_to_bf16, check_device
from tunekit.engine.train import Pack
from tunekit.errors import UserError
from tunekit.planning.batching import host_batches

pytestmark = pytest.mark.slow

METHODS = ("full", "adapter", "lora")
ALL_METHODS = (*METHODS, "pfeiffer")  # the Pfeiffer adapter is the adapter's code in another place
every_method = pytest.mark.parametrize("method", usually(METHODS, ALL_METHODS))
SHORT = {"train_limit": 28}
"""Three whole batches and half a one an epoch, of those of ``specs_of``."""
FLAT = ("tiny-bert", "tiny-roberta", "tiny-electra")
"""The models whose forward pass is BERT's. The others have embeddings and heads of their own."""


@pytest.mark.parametrize(
    ("model", "method"),
    usually(
        {*product(FLAT[:1], METHODS), ("tiny-roberta", "adapter"), ("tiny-electra", "full")}, product(FLAT, ALL_METHODS)
    ),
)
def test_losses_and_weights_are_those_of_the_host(model, method):
    specs = specs_of(method, model=model, epochs=2, **SHORT)
    ours, theirs = ([member_of(spec, dropout=False) for spec in specs] for _ in range(2))
    found, expected = train(ours, 2, device_pack), train(theirs, 2)
    assert np.ptp(expected, axis=1).min() > 0.005, "losses that never move would agree with anything"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert max(apart(*pair) for pair in zip(ours, theirs, strict=True)) < 1e-4


@pytest.mark.parametrize("method", ["bitfit", "ia3", "dora", "head"])
def test_methods_whose_trials_may_be_single_agree_too(method):
    spec = specify(method=method, batch_size=8, train_limit=44, epochs=1)
    found = train([member_of(spec, dropout=False)], 1, device_pack)
    np.testing.assert_allclose(found, train([member_of(spec, dropout=False)], 1), rtol=0, atol=1e-5)


@every_method
def test_with_dropout_a_trial_is_the_same_alone_in_a_pack_and_in_another_slot(method):
    specs = specs_of(method, epochs=1, **SHORT)
    alone = [member_of(spec) for spec in specs]
    expected = np.concatenate([train([member], 1, device_pack) for member in alone])
    assert np.abs(expected - train([member_of(spec, dropout=False) for spec in specs], 1, device_pack)).max() > 1e-3
    for order in (specs, specs[::-1]):
        members = [member_of(spec) for spec in order]
        found = train(members, 1, device_pack)
        np.testing.assert_allclose(found if order is specs else found[::-1], expected, rtol=0, atol=1e-5)


def test_more_filler_changes_nothing(monkeypatch):
    spec = specs_of("lora", epochs=1, **SHORT)[0]
    expected = train([member_of(spec)], 1, device_pack)
    fit = device_steps.bucket_tokens
    monkeypatch.setattr(device_steps, "bucket_tokens", lambda tokens, multiple=128: fit(tokens, multiple) + 128)
    np.testing.assert_allclose(train([member_of(spec)], 1, device_pack), expected, rtol=0, atol=1e-6)


def drawn(members: list[Member], trial: int, width: int) -> torch.Tensor:
    """The draws of dropout for the real tokens of one member's first batch, in a pack with rows of ``width`` tokens."""
    training = device_pack(members).steps.training
    order = torch.from_numpy(np.stack([next(member.batches()) for member in members]))
    size, steps = order.shape[1], torch.tensor([member.step for member in members], dtype=torch.int32)
    batch = training.split.batch(order, torch.tensor(0), size, width)
    keys = DropoutKeys(training.seeds, steps, training.part_numbers[:1])
    spec = Dropout(site=2, dropping_levels=6554, keys=keys, sequences=batch.sequences)
    draws = row_draws(spec, len(members) * width, 24).view(len(members), width, 24)[trial]
    return draws[batch.sequences.token_sequence.view(len(members), width)[trial] < size]


def test_masks_are_exactly_the_same_alone_in_any_slot_and_with_other_padding():
    specs = specs_of("lora")
    expected = drawn([member_of(specs[1])], 0, 512)
    assert torch.equal(drawn([member_of(spec) for spec in specs], 1, 512), expected)
    assert torch.equal(drawn([member_of(spec) for spec in (*specs[::-1], specs[1])][:2], 1, 640), expected)
    assert not torch.equal(drawn([member_of(replace(specs[1], seed=9))], 0, 512)[: len(expected)], expected)


@every_method
def test_replayed_steps_give_the_bits_of_eager_ones(method):
    specs = specs_of(method, epochs=9, train_limit=84)
    graphs = CalledGraphs()
    ours, theirs = ([member_of(spec) for spec in specs] for _ in range(2))
    captured, eager = device_pack(ours, graphs), device_pack(theirs)
    split = build(specs[0])[0].splits["test"]
    for _ in range(2):
        found, expected = captured.train_epoch(), eager.train_epoch()
        assert [one.losses for one in found] == [one.losses for one in expected]
        assert np.array_equal(captured.predict(split), eager.predict(split))
    assert graphs.captured >= 2, "training and scoring"
    assert graphs.replayed > 10
    captured.close()
    eager.close()
    assert max(apart(*pair) for pair in zip(ours, theirs, strict=True)) == 0


def test_what_can_not_be_captured_is_said_once_and_leaves_nothing_behind():
    class Broken(CalledGraphs):
        """Breaks off when gradients are there, which on a GPU were never computed."""

        def capture(self, body):
            training = self.steps.training
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(training.optimizer, "step", self.refuse)
                super().capture(body)

        def refuse(self, *_):
            for parameter in self.steps.training.optimizer.parameters:
                parameter.grad.fill_(7.0)
            raise RuntimeError("operation not permitted when stream is capturing\nand more lines")

    spec, lines, graphs = specs_of("lora", epochs=2)[0], [], Broken()
    pack = Pack([member_of(spec)], lines.append, called(graphs))
    found = [pack.train_epoch()[0].losses for _ in range(2)]
    assert lines == ["steps run eagerly, without CUDA graphs: operation not permitted when stream is capturing"]
    np.testing.assert_array_equal(np.concatenate(found), train([member_of(spec)], 2, device_pack)[0])


def test_a_rare_bucket_is_not_captured():
    graphs = CalledGraphs()
    train(
        [member_of(specify(batch_size=16, train_limit=64, epochs=1))], 1, lambda members: device_pack(members, graphs)
    )
    assert graphs.captured == 0


@contextmanager
def no_reads():
    """Refuse, in a step, all by which Python reads a tensor."""

    def refused(*_, **__):
        raise AssertionError("a step reads a tensor")

    with pytest.MonkeyPatch.context() as patched, NoHostReads():
        for name in ("cpu", "numpy", "tolist", "item", "__bool__", "__int__", "__float__", "__index__", "nonzero"):
            patched.setattr(torch.Tensor, name, refused)
        yield


@every_method
def test_the_host_reads_no_tensor_within_an_epoch(method):
    members = [member_of(spec) for spec in specs_of(method, epochs=1)]
    pack, split = device_pack(members), build(members[0].spec)[0].splits["test"]
    pack.predict(split)
    replayers = [pack.steps.training.replayer, *(one.replayer for one in pack.steps._scoring.values())]
    calls = []
    for replayer in replayers:

        def watched(bucket, body=replayer.body):
            with no_reads():
                body(bucket)
            calls.append(bucket)

        replayer.body = watched
    expected = train([member_of(spec) for spec in specs_of(method, epochs=1)], 1, device_pack)
    assert [one.losses for one in pack.train_epoch()] == expected.tolist()
    pack.predict(split)
    assert len(calls) > 10
    with pytest.raises(AssertionError, match="reads a tensor"), no_reads():
        bool(torch.ones(1))
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoHostReads():
        torch.ones(1).item()


def test_parts_of_a_batch_add_up_and_have_masks_of_their_own():
    spec = specify(batch_size=10, train_limit=24, epochs=9)
    prepared, _ = build(spec)

    def parts(dropout: bool) -> Member:
        model = build(spec)[1] if dropout else without_dropout(build(spec)[1])
        return Member(spec, model, prepared.splits["train"], CPU, micro_batches=3)

    whole = train([member_of(spec, dropout=False)], 1)
    np.testing.assert_allclose(train([parts(False)], 1, device_pack), whole, rtol=0, atol=1e-5)
    graphs = CalledGraphs()
    found = train([parts(True)], 2, lambda members: device_pack(members, graphs))
    assert np.array_equal(found, train([parts(True)], 2, device_pack))
    assert graphs.captured > 0
    assert np.abs(found - train([member_of(spec)], 2, device_pack)).max() > 1e-4


@every_method
def test_a_nan_stays_in_its_own_slot(method):
    specs = specs_of(method, epochs=1, **SHORT)
    packed, alone = ([member_of(spec) for spec in specs] for _ in range(2))
    with torch.no_grad():
        next(reversed(packed[1].trained.values())).parameter.view(-1)[0] = float("nan")
    found = train(packed, 1, device_pack)
    assert np.isnan(found[1]).all()
    expected = np.concatenate([train([member], 1, device_pack) for member in (alone[0], alone[2])])
    np.testing.assert_allclose(found[[0, 2]], expected, rtol=0, atol=1e-5)


def test_members_leave_and_join_and_steps_follow_their_weights():
    specs = specs_of("lora", epochs=4)
    members, alone = ([member_of(spec) for spec in specs] for _ in range(2))
    graphs = CalledGraphs()
    single = device_pack(members[:1], graphs)
    first = [single.train_epoch()[0].losses]
    first += list(train(members[:2], 1, device_pack)[:1])
    first += [single.train_epoch()[0].losses]  # graphs of the buffers from before would train other tensors
    np.testing.assert_allclose(np.concatenate(first), train([alone[0]], 3, device_pack)[0], rtol=0, atol=1e-5)
    train([alone[1]], 1, device_pack)
    assert max(apart(*pair) for pair in zip(members[:2], alone[:2], strict=True)) < 1e-4
    assert graphs.captured > 0


@pytest.mark.parametrize("model", FLAT)
def test_logits_are_those_of_the_host(model):
    members = [member_of(spec) for spec in specs_of("adapter", model=model)]
    split = build(members[0].spec)[0].splits["test"]
    expected = [Pack([member]).predict(split)[0] for member in members]
    np.testing.assert_allclose(device_pack(members).predict(split), expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_train_and_leave_torch_as_it_was(precision):
    spec = specs_of("full", epochs=1)[0]
    before = torch.get_float32_matmul_precision()
    found = train([member_of(replace(spec, precision=precision), dropout=False)], 1, device_pack)
    assert torch.get_float32_matmul_precision() == before
    np.testing.assert_allclose(found, train([member_of(spec, dropout=False)], 1), rtol=0, atol=0.05)


def test_a_resumed_trial_has_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_train, "steps_for", lambda members, model, note: device_pack(members).steps)
    spec = specify(method="adapter", epochs=4)
    whole = start(spec, tmp_path / "whole")
    expected = [whole.train_epoch() for _ in range(4)]
    for _ in range(2):
        run = start(spec, tmp_path / "broken")
        run.last_checkpoint = -float("inf")  # a checkpoint is due, however short the epoch was
        run.train_epoch()
    graphs = CalledGraphs()
    monkeypatch.setattr(engine_train, "steps_for", lambda members, model, note: device_pack(members, graphs).steps)
    run = start(spec, tmp_path / "broken")
    assert len(run.records) == 2
    assert numbers([run.train_epoch() for _ in range(2)]) == numbers(expected[2:])


def test_frozen_weights_in_bf16_give_the_bits_of_autocast():
    spec = replace(specs_of("lora")[0], precision="bf16")
    plain, cast = (member_of(spec) for _ in range(2))
    cast_frozen_to_bf16(cast.model)
    assert {p.dtype for p in cast.model.parameters()} == {torch.float32, torch.bfloat16}
    assert all(one.parameter.dtype == torch.float32 for one in cast.trained.values())
    np.testing.assert_array_equal(train([cast], 1, device_pack), train([plain], 1, device_pack))


@pytest.mark.parametrize("method", ["full", "adapter", "lora", "bitfit"])
def test_trained_weights_cast_together_give_the_bits_of_autocast(method, monkeypatch):
    specs = [
        specify(method=method, seed=seed, batch_size=8, train_limit=20, epochs=1, precision="bf16") for seed in (1, 2)
    ]

    # Autocast leaves the biases of BitFit in a pack in fp32, since they are added by a sum of their own there.
    trials = 1 if method == "bitfit" else 2

    def trained() -> tuple[list[Member], np.ndarray]:
        members = [member_of(spec) for spec in specs[:trials]]
        return members, np.concatenate([train(members, 1, device_pack), train([member_of(specs[0])], 1, device_pack)])

    for number in (1, 2):
        steps = device_pack([member_of(spec) for spec in specs[:number]]).steps
        assert len(steps.training.casts._weights) > 1
    together, found = trained()
    monkeypatch.setattr(TrainedCasts, "in_bf16", lambda self: nullcontext())
    apiece, expected = trained()
    np.testing.assert_array_equal(found, expected)
    assert max(apart(*pair) for pair in zip(together, apiece, strict=True)) == 0


def test_tf32_on_a_cpu_is_refused_in_one_line():
    with pytest.raises(UserError, match="precision tf32 is not computed by a CPU; use --precision fp32"):
        check_device({"fp32", "tf32"}, gpu=False)


def test_cuda_graphs_are_captured_on_their_own_stream_into_one_pool(monkeypatch):
    """With CUDA's functions replaced by ones that write down what they are asked for."""
    calls = []

    @contextmanager
    def noted(name, *values):
        calls.append(name)
        yield
        calls.append(f"end of {name}")

    class Graph:
        def replay(self):
            calls.append("replay")

    def graph(made, *, pool, stream, capture_error_mode):
        assert isinstance(made, Graph)
        assert (pool, stream.name, capture_error_mode) == ("pool", "ours", "thread_local")
        return noted("capture")

    def stream_of(name):
        return SimpleNamespace(name=name, device="cuda", wait_stream=lambda other: calls.append(f"{name} waits"))

    for name, replacement in {
        "Stream": lambda device: stream_of("ours"), "current_stream": lambda device: stream_of("theirs"),
        "stream": lambda stream: noted(f"on {stream.name}"), "graph_pool_handle": lambda: "pool", "CUDAGraph": Graph,
        "graph": graph,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, replacement)
    graphs = CudaGraphs(torch.device("cuda"))
    replayer = Replayer(lambda bucket: calls.append(bucket), graphs, calls.append)
    with graphs.stream():
        for left in (9, 8, 7):
            replayer.run("step", left)
        replayer.run("rare", 2)
    assert calls == [
        "ours waits", "on ours", "step", "capture", "step", "end of capture", "replay", "replay", "rare",
        "end of on ours", "theirs waits",
    ]  # fmt: skip


def test_a_gpu_trains_by_device_steps_and_models_without_kernels_by_the_hosts(monkeypatch):
    monkeypatch.setattr(engine_train, "CudaGraphs", lambda device: None)
    kinds = []
    for device, on_device in (("cuda", True), ("cuda", False), ("cpu", True)):
        member = SimpleNamespace(
            device=torch.device(device), context=SimpleNamespace(on_device=on_device), buffers=None,
            spec=SimpleNamespace(seed=1), task=SimpleNamespace(of_words=False),
        )  # fmt: skip
        kinds.append(type(engine_train.steps_for([member], None, print)))
    assert kinds == [device_steps.DeviceSteps, HostSteps, HostSteps]


def test_only_models_of_berts_kind_without_padding_have_kernels_and_the_others_say_so():
    found = {}
    for model in ("tiny-bert", "tiny-modernbert", "tiny-distilbert"):
        spec = specify(model=model, method="head", train_limit=8)
        prepared, built = build(spec)
        context = Member(spec, built, prepared.splits["train"], CPU).context
        found[model] = (context.on_device, host_batches(built.config.model_type, "head"))
    assert found["tiny-bert"] == (True, None)
    assert found["tiny-distilbert"] == (False, None), "the line on padded batches says it"
    on_device, line = found["tiny-modernbert"]
    assert not on_device
    assert "modernbert has no kernels yet" in line


@pytest.mark.parametrize("change", ["hook", "module", "part"])
def test_an_output_module_that_a_method_has_changed_keeps_its_change(change):
    """As a plugin's method may do. Both kinds of steps then train what the method has made."""

    ramp = torch.linspace(0.2, 3.0, 32)

    class Scaled(BertOutput):
        def forward(self, hidden_states, input_tensor):
            return ramp * super().forward(hidden_states, input_tensor)

    def changed(spec) -> Member:
        prepared, model = build(spec)
        model, first = without_dropout(model), model.bert.encoder.layer[0]
        if change == "hook":
            first.output.register_forward_hook(lambda module, inputs, output: ramp * output)
        elif change == "module":
            first.output.__class__ = Scaled
        else:
            first.output.extra = torch.nn.Linear(2, 2)
            first.output.forward = lambda hidden, residual, plain=first.output.forward: ramp * plain(hidden, residual)
        return Member(spec, model, prepared.splits["train"], CPU)

    spec = specify(method="full", batch_size=8, train_limit=16, epochs=1)
    found, expected = train([changed(spec)], 1, device_pack), train([changed(spec)], 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.abs(expected - train([member_of(spec, dropout=False)], 1)).max() > 1e-5
