"""What must hold for every model that is here without a network, with every method, on every task.

``make test`` runs combinations that show every pair or value, ``make contracts`` all. What can't work together is
refused in one line, which is the plan's and the engine's.
"""

import shutil
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from tests.support.contracts import OFFLINE, SEEDED, every_combination, family_of, refusal, spec_of
from tests.support.packs import PACKED, check_packs
from tests.support.runs import begin, finish, numbers
from tests.support.trials import build
from tunekit.data.base import DATASETS
from tunekit.engine.member import Member, packable
from tunekit.engine.memory_probe import autograd_bytes
from tunekit.engine.memory_probe import member_of as probe_of
from tunekit.engine.scoring import label_column
from tunekit.engine.stacking import is_stackable
from tunekit.engine.train import Pack
from tunekit.errors import UserError
from tunekit.export.export import Request, export
from tunekit.export.loading import load_exported
from tunekit.export.which_trial import choose_trial
from tunekit.memory import FP32, BatchSizes, NoClosedForm, Work, saved_bytes
from tunekit.memory.trial import shape_for
from tunekit.methods import METHODS
from tunekit.methods.base import count_parameters
from tunekit.models.catalog import MODELS
from tunekit.models.loading import load_encoder, resolve_model
from tunekit.models.shapes import Shape, parameters
from tunekit.planning.batching import restrictions, why_single
from tunekit.seeding import stream_seed
from tunekit.tasks import TASKS, task_of

pytestmark = pytest.mark.timeout(400)  # MiniLM with Compacter takes two minutes on a busy machine

CPU = torch.device("cpu")
LARGEST = [name for name in OFFLINE if name not in SEEDED]
ALIKE = [name for name in SEEDED if family_of(name).padded is None and family_of(name).forward == "bert"][1:]
"""Tiny models that another one stands for where whole trials take long: they share its layers and forward pass."""
UNMOVED = ("position_embeddings", "token_type", "key.bias", "k_lin.bias")
"""What may have no gradient: rows that no text uses, and what a softmax over keys can't see."""
NO_FORMAT = ("prefix",)
"""Methods whose parameters no library's format holds, which ``tunekit export`` says in a line."""


@pytest.mark.slow
@every_combination(OFFLINE)
def test_a_model_has_the_parameters_the_head_and_the_packs_that_are_told_before_it_is_built(model, method, task):
    """Numbers of parameters are those of the closed forms, and nothing is frozen that was never pretrained."""
    spec, family = spec_of(model, method, task), family_of(model)
    prepared, built = build(spec)
    shape, num_labels = Shape.from_config(built.config.to_dict()), len(prepared.data.label_names)
    assert shape == MODELS[model].shape
    closed = parameters(shape_for(spec, shape), method, spec.method_params, num_labels)
    assert count_parameters(built) == (closed.trainable, closed.total)

    plain = load_encoder(
        resolve_model(model), num_labels=num_labels, seed=stream_seed(1, "head"), tokenizer=prepared.tokenizer,
        head_class=TASKS[task].head_class,
    )  # fmt: skip
    pretrained = {name for name, _ in plain.named_parameters()} - plain.tunekit_never_pretrained
    rows = {family.module(name): family.module(name).rpartition(".")[0] for name in family.row_blocks}
    frozen = {name.replace(".base_layer.", ".") for name, p in built.named_parameters() if not p.requires_grad}
    for block, fused in rows.items():
        frozen = {name.replace(f".{block}.", f".{fused}.") for name in frozen}
    assert frozen <= pretrained
    heads = [p for name, p in built.named_parameters() if name.startswith(family.head)]
    assert heads
    assert all(p.requires_grad for p in heads)

    kind, stackable = built.config.model_type, is_stackable(built)
    member = Member(spec, built, prepared.splits["train"], CPU)
    assert packable([member]) == (why_single(kind, method) is None) == (not restrictions(kind, method))
    if not hasattr(METHODS[method], "padded"):  # what needs padding is in no pack, stackable or not
        assert (getattr(METHODS[method], "single", None) is None) == stackable


@pytest.mark.slow
@every_combination(OFFLINE, rare=LARGEST)
def test_training_moves_all_that_is_trainable_and_no_bit_of_the_rest(model, method, task):
    """In float64: Compacter's factors begin with gradients near 1e-14, whose steps float32 may round away."""
    spec = spec_of(model, method, task, epochs=1)
    prepared, built = build(spec)
    built.double()
    before = {name: p.detach().clone() for name, p in built.named_parameters()}
    # Two steps: LoRA's A has no gradient while B is zero.
    Pack([Member(spec, built, prepared.splits["train"], CPU)]).train_epoch()
    for name, parameter in built.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, before[name]), name
        elif not any(part in name for part in UNMOVED):
            assert not torch.equal(parameter, before[name]), name


@pytest.mark.slow
@every_combination(OFFLINE, rare=LARGEST)
def test_memory_is_what_the_closed_form_or_a_probe_says(model, method, task):
    """They are held against what autograd keeps. Loss functions differ by some numbers an output."""
    spec = spec_of(model, method, task, batch_size=8)
    prepared, built = build(spec)
    member = Member(spec, built, prepared.splits["train"], CPU)
    built.train()
    lengths, num_labels = member.train.tokens.lengths.tolist(), len(prepared.data.label_names)
    shape = shape_for(spec, Shape.from_config(built.config.to_dict()))
    work = Work(
        shape=shape, method=method, params=spec.method_params, num_labels=num_labels,
        sizes=BatchSizes.from_lengths(lengths, window=shape.window),
    )  # fmt: skip
    try:
        told = saved_bytes(work)
    except NoClosedForm:
        told = autograd_bytes(probe_of(built.config.to_dict(), spec, lengths, num_labels))
    of_loss = work.logit_rows * (4 * num_labels * FP32 + 2 * FP32)
    assert autograd_bytes(member) == pytest.approx(told, abs=of_loss)


def exported_from(folder, spec, *, merged=False):
    """The model of the trial in ``folder``/whole, exported and loaded back by the libraries."""
    names, said = {"model": spec.model, "dataset": spec.dataset, "method": spec.method}, []
    chosen = choose_trial(folder / "whole", names, (), None, "last")
    export(chosen, folder / "whole", Request(folder / f"to-{merged}", merged=merged), said.append)
    assert any("predicts what the trial recorded" in line for line in said)
    return load_exported(folder / f"to-{merged}")


@pytest.mark.slow
@every_combination(OFFLINE, rare=[*LARGEST, *ALIKE], strength=1)  # whole trials: a second each
def test_a_trial_is_resumed_with_equal_bits_and_exported_with_equal_predictions(model, method, task, tmp_path):
    spec = spec_of(model, method, task)
    whole = begin(spec, tmp_path / "whole", keep="last")
    whole.last_checkpoint = -float("inf")  # a checkpoint is due, however short the epoch was
    whole.train_epoch()
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")  # what a process that ends here leaves
    finish(whole)
    resumed = begin(spec, tmp_path / "broken", keep="last")
    assert len(resumed.records) == 1
    finish(resumed)
    assert numbers(resumed.records) == numbers(whole.records)
    weights = [dict(run.member.model.named_parameters()) for run in (whole, resumed)]
    assert all(torch.equal(parameter, weights[1][name]) for name, parameter in weights[0].items())

    if method in NO_FORMAT:
        with pytest.raises(UserError, match="no library's format holds"):
            exported_from(tmp_path, spec)
        return
    only_merged = method == "pissa" and family_of(model).row_blocks != ()
    if only_merged:
        with pytest.raises(UserError, match="export with --merged"):
            exported_from(tmp_path, spec)
    exported = exported_from(tmp_path, spec, merged=only_merged)
    test = DATASETS[spec.dataset].load()["test"]
    outputs = exported.outputs(list(test["text"]), list(test["pair"]) if exported.manifest.pairs else None)
    predicted = TASKS[task].predicted(outputs, exported.manifest.constants)
    predicted = label_column(predicted, TASKS[task], exported.manifest.label_names)
    stored = pd.read_parquet(whole.folder / "predictions.parquet")
    stored = stored[(stored["split"] == "test") & (stored["epoch"] == 2)]
    if task == "regression":
        # A number near 0 is the difference of numbers as large as the targets', and as inexact as those.
        np.testing.assert_allclose(predicted, stored["predicted"], rtol=1e-4, atol=1e-5 * stored["predicted"].std())
    else:
        assert list(predicted) == stored["predicted"].tolist()


@pytest.mark.slow
@every_combination([name for name in OFFLINE if family_of(name).padded is None], PACKED, LARGEST)
def test_packs_give_each_trial_its_own_numbers(model, method, task):
    specs = [
        replace(spec_of(model, method, task), seed=seed, learning_rate=rate) for seed, rate in ((1, 1e-3), (2, 5e-3))
    ]
    check_packs(specs, moved=0)


@pytest.mark.parametrize(
    ("model", "method"), [pair for pair in product(SEEDED, METHODS) if refusal(*pair, "classification")]
)
def test_what_does_not_fit_is_one_line_in_the_plan_and_the_same_in_the_engine(model, method):
    lines = {refusal(model, method, task) for task in TASKS}
    [line] = lines
    assert line.startswith(f"method {method!r} on {model}: ")
    assert "\n" not in line
    with pytest.raises(UserError) as raised:
        build(spec_of(model, method, "token_classification"))
    assert str(raised.value) == line


def test_refusals_are_exceptions():
    """If the plan refused all, all other tests here would be content."""
    working = {pair for pair in product(OFFLINE, METHODS) if not refusal(*pair, "regression")}
    plain = {"full", "head", "lora", "adapter", "ln_tuning"}
    assert working >= set(product(OFFLINE, plain))
    for method in METHODS:
        assert (model := {one for one, other in working if other == method}), method
        assert len(model) > len(OFFLINE) / 2
    assert {task_of(spec_of("tiny-bert", "full", task).dataset).name for task in TASKS} == set(TASKS)
