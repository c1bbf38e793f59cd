"""Blocks: presets, YAML and command-line choices are one thing."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.copies import load_dataset
from tunekit.errors import UserError
from tunekit.planning.blocks import Block, expand, load_blocks, parse_block
from tunekit.planning.overrides import override
from tunekit.planning.presets import GRID_PRESETS

STUDY = (
    Block(models=("bert", "roberta"), datasets=("acl_arc", "demo"), methods=("full",), seeds=(1, 2)),
    Block(models=("roberta",), datasets=("acl_arc", "demo"), methods=("adapter", "lora"), seeds=(1, 2)),
)
LORA = "- {models: [b], datasets: [d], methods: [lora], seeds: [1], "


def test_the_study_is_75_trials_seed_by_seed():
    specs = expand(GRID_PRESETS["study"].blocks)
    assert len(specs) == len({spec.trial_id for spec in specs}) == 75
    assert [spec.seed for spec in specs] == [seed for seed in range(1, 6) for _ in range(15)]
    assert {spec.cell for spec in specs[:15]} == {spec.cell for spec in specs}
    rates = {(spec.method, spec.learning_rate) for spec in specs}
    assert rates == {("full", 5e-5), ("adapter", 5e-4), ("lora", 5e-4)}
    lora = next(spec for spec in specs if spec.method == "lora")
    assert lora.method_params == {"lora_alpha": 8, "lora_dropout": 0.0, "r": 32, "target_modules": "query,value"}
    assert next(s for s in specs if s.method == "adapter").method_params == {"reduction_factor": 16}
    for spec in specs:
        assert (spec.batch_size, spec.epochs, spec.max_length, spec.weight_decay) == (32, 10, 512, 0.0)


def test_a_list_counts_as_a_tuple_and_a_single_value_is_refused():
    axes = {"models": ["bert"], "datasets": ["demo"], "methods": ["full"], "seeds": range(1, 3)}
    block = Block(**axes)
    assert (block.models, block.datasets, block.methods, block.seeds) == (("bert",), ("demo",), ("full",), (1, 2))
    for name, value, message in (
        ("models", "tiny-bert", "models must be a tuple of names, as in ('tiny-bert',)"),
        ("methods", "lora", "methods must be a tuple of names, as in ('lora',)"),
        ("datasets", load_dataset("demo"), "datasets must be a tuple of names, as in (data,)"),
        ("datasets", (1.5,), "datasets holds a float; give a name, or make a dataset of it with tunekit.dataset"),
        ("seeds", 1, "seeds must be a tuple of whole numbers, as in (1,)"),
        ("models", (1,), "models holds a int; give a short name, a hub id or a folder's path"),
    ):
        with pytest.raises(UserError) as refused:
            Block(**{**axes, name: value})
        assert str(refused.value) == message


def pairs(blocks):
    return {(model, method) for block in blocks for model in block.models for method in block.methods}


def test_models_or_methods_alone_filter_and_both_replace():
    assert pairs(override(STUDY, methods=("full", "lora"), settings={})) == {
        ("bert", "full"), ("roberta", "full"), ("roberta", "lora")}  # fmt: skip
    assert pairs(override(STUDY, models=("bert",), settings={})) == {("bert", "full")}
    replaced = override(STUDY, models=("minilm",), methods=("full", "lora"), settings={"epochs": 3})
    assert pairs(replaced) == {("minilm", "full"), ("minilm", "lora")}
    assert (replaced[0].datasets, replaced[0].seeds, replaced[0].epochs) == (("acl_arc", "demo"), (1, 2), 3)


def test_a_product_of_blocks_that_differ_needs_what_they_differ_in():
    long, short = (replace(STUDY[1], epochs=epochs, methods=("lora",)) for epochs in (10, 3))
    with pytest.raises(UserError, match="differ in epochs; give --epochs too"):
        override([long, short], models=("minilm",), methods=("lora",), settings={})
    merged = override([long, short], models=("minilm",), methods=("lora",), settings={"epochs": 2})
    assert [block.epochs for block in merged] == [2]
    other = replace(long, method_params={"lora": {"r": 4}})
    with pytest.raises(UserError, match="differ in the learning rate or parameters of 'lora'"):
        override([long, other], models=("minilm",), methods=("lora",), settings={})


def test_spaces_in_a_list_of_names_make_no_other_trial():
    first, second = (
        expand(override(STUDY, method_params=(f"lora.target_modules={names}",), settings={}))
        for names in ("query,value", "query, value")
    )
    assert [spec.trial_id for spec in first] == [spec.trial_id for spec in second]


def test_settings_replace_in_each_block():
    blocks = override(STUDY, datasets=("demo",), seeds=(7,), settings={"batch_size": 64, "epochs": None})
    assert {(b.datasets, b.seeds, b.batch_size, b.epochs) for b in blocks} == {(("demo",), (7,), 64, None)}


def test_rates_and_params_by_method():
    blocks = override(STUDY, learning_rate=("lora=1e-3",), method_params=("lora.r=16",), settings={})
    specs = expand(blocks)
    assert {(s.method, s.learning_rate) for s in specs} == {("full", 5e-5), ("adapter", 5e-4), ("lora", 1e-3)}
    assert {s.method_params["r"] for s in specs if s.method == "lora"} == {16}
    assert {s.learning_rate for s in expand(override(STUDY, learning_rate=("2e-5",), settings={}))} == {2e-5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("lorra",)}, "did you mean 'lora'"),
        ({"models": ("minilm",)}, "no block of this sweep has model 'minilm'"),
        ({"models": ("minilm",)}, "add --methods to train others"),
        ({"models": ("robertta",)}, "model 'robertta', did you mean 'roberta'"),
        ({"methods": ("bitfit",)}, "add --models to train others"),
        ({"learning_rate": ("fast",)}, "METHOD=X"),
        ({"learning_rate": ("lorra=1e-3",)}, "did you mean 'lora'"),
        ({"learning_rate": ("0",)}, "learning_rate must be above 0"),
        ({"method_params": ("lora.rank=16",)}, "has no parameter 'rank'"),
        ({"method_params": ("lora.r=sixteen",)}, "r takes int, got 'sixteen'"),
        ({"method_params": ("lora.r=1.5",)}, "r takes int"),
        ({"method_params": ("r=16",)}, "METHOD.NAME=VALUE"),
        ({"method_params": ("adapter.reduction_factor=0",)}, "reduction_factor must be 1 or more"),
        ({"methods": ("full",), "method_params": ("lora.r=16",)}, "not in this sweep"),
        ({"settings": {"precision": "fp16"}}, "precision must be one of"),
        ({"seeds": (-1,)}, "seed must be 0 or more"),
        ({"seeds": ()}, "--seeds names none"),
        ({"models": ()}, "--models names none"),
    ],
)
def test_bad_choices_get_one_line(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        expand(override(STUDY, **{"settings": {}, **changes}))
    assert "\n" not in str(caught.value)


def test_yaml_and_presets_are_one_thing(tmp_path):
    import json

    path = tmp_path / "grid.yaml"
    path.write_text(json.dumps([block.to_dict() for block in GRID_PRESETS["study"].blocks]))
    assert [s.trial_id for s in expand(load_blocks(path))] == [s.trial_id for s in expand(GRID_PRESETS["study"].blocks)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: bert", "list of blocks"), ("[]", "list of blocks"), ("[1]", "block 1: a block is a mapping"),
        ("- {models: [bert], datset: [demo]}", "did you mean 'datasets'"),
        ("- {models: [bert], datasets: [demo], methods: [full]}", "missing seeds"),
        ("- {models: [bert], datasets: [demo], methods: [full], seeds: []}", "no seeds"),
        ("- {models: [bert], datasets: [demo], methods: [full], seeds: [one]}", "whole numbers"),
        ("- {models: [bert], datasets: [demo], methods: [full], seeds: [1], method_params: {r: 1}}", "map a method"),
        (LORA + "learning_rate: {1: 0.1}}", "unknown method 1"),
        (LORA + "method_params: {lora: {1: 2}}}", "no parameter 1"),
        (LORA + "method_params: {lora: {r: .inf}}}", "takes int"),
        (LORA + "method_params: {lora: {target_modules: [query]}}}",
         "target_modules takes str"),
        ("- &a {models: [bert]}\n- *a", "aliases"), ("- [", "grid.yaml"), ("- !!python/name:os.system", "grid.yaml"),
    ],
)  # fmt: skip
def test_bad_yaml_gets_one_line_with_the_file(tmp_path, text, message):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_blocks(path)
    assert "grid.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(
        ["models", "datasets", "methods", "seeds", "epochs", "learning_rate", "method_params", "precision"]
    ),
)
def test_no_value_anywhere_gives_a_traceback(value, key):
    good = {"models": ["bert"], "datasets": ["demo"], "methods": ["lora"], "seeds": [1]}
    try:
        expand([parse_block({**good, key: value}, "block 1")])
    except UserError as error:
        assert str(error)  # noqa: PT017
