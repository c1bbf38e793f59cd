"""What a model can't take is refused in the plan, from its config.json alone."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tunekit as tk
from tests.conftest import ROOT
from tests.support.repositories import write_repository
from tests.support.trials import build, specify
from tunekit.engine.build import adapt
from tunekit.engine.fused_linear import split_fused
from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.models.catalog import MODELS
from tunekit.models.families import FAMILIES
from tunekit.models.shapes import Shape
from tunekit.planning import fitting
from tunekit.planning.args import GridArgs
from tunekit.planning.blocks import Block
from tunekit.planning.fitting import _modules, check_fit
from tunekit.planning.overrides import override
from tunekit.planning.presets import GRID_PRESETS
from tunekit.planning.resolve import resolve_grid
from tunekit.search.request import resolve_search

TINY = [name for name in MODELS if name.startswith("tiny-")]
WIDTH = MODELS["tiny-bert"].shape.hidden_size
every_tiny = pytest.mark.parametrize("model", TINY)


def config(model):
    return MODELS[model].shape.to_config()


def built(model):
    family = FAMILIES[MODELS[model].shape.model_type]
    values = family.config_class().from_dict({"pad_token_id": 1, **config(model)}, num_labels=3)
    return family.model_class("ForSequenceClassification")(values)


@every_tiny
def test_the_modules_that_can_be_targets_are_those_of_the_model(model):
    """DeBERTa's table of distances apart, which is read as a whole and never called."""
    made, family = built(model), FAMILIES[MODELS[model].shape.model_type]
    found = {name for name, module in made.named_modules() if type(module) in (nn.Linear, nn.Embedding)}
    if family.row_blocks:
        split_fused(made)
        found |= {name for name, module in made.named_modules() if type(module) is nn.Linear}
    assert set(_modules(family, config(model))) == found - {"deberta.encoder.rel_embeddings"}


def test_an_electra_with_narrow_embeddings_has_their_projection():
    shape = Shape(**{**vars(MODELS["tiny-electra"].shape), "embedding_size": 16})
    assert "electra.embeddings_project" in set(_modules(FAMILIES["electra"], shape.to_config()))


def trains(model, target):
    """Whether LoRA on ``target`` alone adds weights to the model."""
    try:
        adapt(model, specify(method="lora", method_params={"r": 2, "target_modules": target}))
    except UserError:
        return False
    return any("lora_" in name for name, _ in model.named_parameters())


@pytest.mark.slow
@every_tiny
def test_the_plan_takes_the_targets_that_the_library_takes(model):
    names = {name for path in _modules(FAMILIES[MODELS[model].shape.model_type], config(model)) for name in (
        path, path.rpartition(".")[2], ".".join(path.split(".")[-2:]))}  # fmt: skip
    names |= {"qury", "Query", "layer", "uery", "query.", "dens", "query_", "encoder", "LayerNorm", "lin", "q_lin"}
    for target in sorted(names):
        spec = specify(model=model, method_params={"r": 2})
        spec = replace(spec, method_params={**spec.method_params, "target_modules": target})
        try:
            check_fit(spec, config(model))
        except UserError:
            fits = False
        else:
            fits = True
        assert fits == trains(built(model), target), target


@pytest.mark.slow
@given(
    names=st.lists(
        st.sampled_from(["query", "key", "value", "dense", "attention.self.query"]), min_size=1, unique=True
    ),
    wrong=st.text("abcdefquryvalkd_", min_size=1).filter(lambda text: text not in ("query", "key", "value", "dense")),
    place=st.integers(0, 5),
)
def test_one_wrong_name_in_a_list_is_refused_by_name(names, wrong, place):
    names.insert(place % (len(names) + 1), wrong)
    for method in ("lora", "dora"):
        spec = specify(method=method, method_params={"target_modules": ",".join(names)})
        with pytest.raises(UserError, match=f"no module {wrong!r}"):
            check_fit(spec, config("tiny-bert"))


def test_an_engine_that_meets_a_wrong_name_refuses_it_too():
    model = build(specify(method="full"))[1]
    with pytest.raises(UserError, match="no module 'qury'"):
        adapt(model, specify(method="lora", method_params={"target_modules": "query,qury"}))


LIMITS = [
    ("adapter", "reduction_factor", WIDTH), ("pfeiffer", "reduction_factor", WIDTH),
    ("parallel", "reduction_factor", WIDTH), ("lora", "r", WIDTH),
    ("mam", "reduction_factor", WIDTH), ("dora", "r", WIDTH), ("pissa", "r", WIDTH), ("prefix", "length", 512),
]  # fmt: skip


@pytest.mark.parametrize(("method", "name", "limit"), LIMITS)
def test_a_value_over_the_models_size_is_refused_and_the_size_itself_is_not(method, name, limit):
    check_fit(specify(method=method, method_params={name: limit}), config("tiny-bert"))
    for above in (limit + 1, 2 * limit, 10**9):
        with pytest.raises(UserError, match=f"{name} {above} exceeds"):
            check_fit(specify(method=method, method_params={name: above}), config("tiny-bert"))


@every_tiny
@pytest.mark.parametrize("method", list(METHODS))
def test_a_method_fits_in_the_plan_where_it_fits_in_the_engine(model, method):
    spec = specify(model=model, method=method)
    try:
        adapt(built(model), spec)
    except UserError:
        with pytest.raises(UserError):
            check_fit(spec, config(model))
    else:
        check_fit(spec, config(model))


@pytest.mark.parametrize("method", ["lora", "dora", "rslora", "lora_plus", "vera", "pissa"])
@every_tiny
def test_all_linear_fits_every_model_and_stands_alone(model, method):
    if method in FAMILIES[MODELS[model].shape.model_type].refused:
        return
    check_fit(specify(model=model, method=method, method_params={"target_modules": "all-linear"}), config(model))
    with pytest.raises(UserError, match="no module 'all-linear'"):
        check_fit(
            specify(model=model, method=method, method_params={"target_modules": "all-linear,query"}), config(model)
        )


@pytest.mark.parametrize("method", ["vera", "pissa", "lora_plus"])
def test_an_embedding_is_no_target_of_a_method_of_linear_modules(method):
    spec = specify(method=method, method_params={"target_modules": "query,word_embeddings"})
    with pytest.raises(UserError, match="no module 'word_embeddings'"):
        check_fit(spec, config("tiny-bert"))
    with pytest.raises(UserError, match="bert.embeddings.word_embeddings is no linear module"):
        adapt(built("tiny-bert"), spec)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"reduction_factor": 32}, "phm_dim 4 does not divide hidden size 32 and width 1"),
        ({"reduction_factor": 8, "phm_dim": 3}, "phm_dim 3 does not divide hidden size 32 and width 4"),
    ],
)
def test_compacter_needs_sizes_that_its_products_divide(params, message):
    spec = specify(method="compacter", method_params=params)
    for refuse in (lambda: check_fit(spec, config("tiny-bert")), lambda: adapt(built("tiny-bert"), spec)):
        with pytest.raises(UserError, match=message):
            refuse()


def test_a_method_whose_package_is_missing_says_so(monkeypatch):
    spec = specify(method="compacter")
    monkeypatch.setattr(fitting, "_is_installed", lambda package: package != "adapters")
    monkeypatch.setitem(sys.modules, "adapters", None)
    for refuse in (lambda: check_fit(spec, config("tiny-bert")), lambda: adapt(built("tiny-bert"), spec)):
        with pytest.raises(UserError, match="it needs the package adapters, which is not installed$"):
            refuse()


@pytest.mark.parametrize("method", ["parallel", "compacter", "mam"])
def test_a_layout_in_which_adapters_were_not_compared_is_refused(method, monkeypatch):
    families = {**FAMILIES, "bert": replace(FAMILIES["bert"], bottlenecks="another")}
    for module in ("tunekit.planning.fitting", "tunekit.methods._bottleneck", "tunekit.methods._adapters_library"):
        monkeypatch.setattr(f"{module}.FAMILIES", families)
    spec = specify(method=method)
    for refuse in (lambda: check_fit(spec, config("tiny-bert")), lambda: adapt(built("tiny-bert"), spec)):
        with pytest.raises(UserError, match="bottlenecks are not supported in model type 'bert'"):
            refuse()


def test_a_config_that_leaves_sizes_out_is_held_against_what_it_says():
    bare = {"model_type": "bert"}
    check_fit(specify(method_params={"r": 4096}), bare)
    with pytest.raises(UserError, match="no module 'qury'"):
        check_fit(specify(method_params={"target_modules": "qury"}), bare)


DOORS = ["flags", "yaml", "python", "search", "folder"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("params", "message"),
    [("lora.target_modules=query,qury", "no module 'qury', did you mean 'query'"), ("lora.r=4096", "r 4096 exceeds")],
)
def test_every_way_in_refuses_it(door, params, message, tmp_path):
    method, _, rest = params.partition(".")
    name, _, value = rest.partition("=")
    axes = {"models": ("tiny-bert",), "datasets": ("demo",), "methods": (method,)}
    block = {**axes, "seeds": (1,), "method_params": {method: {name: value}}}
    if door == "folder":
        block["models"] = axes["models"] = (str(write_repository(tmp_path / "model")),)
    path = tmp_path / "grid.yaml"
    path.write_text(json.dumps([{key: list(v) if key != "method_params" else v for key, v in block.items()}]))
    space = {method: {name: [value] if name == "target_modules" else {"low": 8, "high": 4096}}}
    plans = {
        "yaml": lambda: resolve_grid(GridArgs(config=path), GRID_PRESETS),
        "python": lambda: tk.plan(Block(**block)),
        "search": lambda: search(tmp_path, space, axes),
    }
    flags = lambda: resolve_grid(GridArgs(**axes, method_params=(params,)), GRID_PRESETS)  # noqa: E731
    with pytest.raises(UserError, match=message):
        plans.get(door, flags)()


def search(folder, space, axes):
    from tunekit.planning.args import SearchArgs
    from tunekit.planning.presets import SEARCH_PRESETS

    path = folder / "space.yaml"
    if any("target_modules" in ranges for ranges in space.values()):
        space["lora"]["target_modules"].insert(0, "query,value")
    path.write_text(json.dumps(space))
    return resolve_search(SearchArgs(**axes, space=path), SEARCH_PRESETS)


@pytest.mark.parametrize(("method", "name", "low", "high"), [("adapter", "reduction_factor", 8, 64),
                                                              ("prefix", "length", 8, 600)])  # fmt: skip
def test_a_space_of_which_a_part_fits_is_refused_by_the_value_that_does_not(method, name, low, high, tmp_path):
    axes = {"models": ("tiny-bert",), "datasets": ("demo",), "methods": (method,)}
    with pytest.raises(UserError, match=rf"space.yaml, {method}.{name}: .*{name} {high} exceeds"):
        search(tmp_path, {method: {name: {"low": low, "high": high}}}, axes)


def test_a_methods_own_range_is_narrowed_to_what_the_model_takes(tmp_path):
    for model, largest in (("tiny-bert", 32), ("minilm", 64)):
        axes = {"models": (model,), "datasets": ("demo",), "methods": ("adapter",)}
        [plan] = search(tmp_path, {}, axes).plans
        powers = [2**power for power in range(1, largest.bit_length())]
        assert plan.definition()["space"]["reduction_factor"]["choices"] == powers


def test_a_setting_for_a_method_that_is_not_in_the_block_is_refused():
    axes = {"models": ("bert",), "datasets": ("demo",), "methods": ("lora",), "seeds": (1,)}
    for setting in ({"learning_rate": {"full": 1e-4}}, {"method_params": {"adapter": {"reduction_factor": 8}}}):
        with pytest.raises(UserError, match="which is not among the block's methods"):
            Block(**axes, **setting)
    both = Block(**{**axes, "methods": ("lora", "full")}, learning_rate={"full": 1e-4}, method_params={"full": {}})
    [left] = override([both], methods=("lora",), settings={})
    assert (left.learning_rate, left.method_params) == ({}, {})


@pytest.mark.slow
def test_a_refusal_loads_no_torch_and_ends_with_2():
    code = "import sys; from tunekit.commands.command_line import main; code = main(sys.argv[1:]);"
    code += "assert not {'torch', 'transformers', 'ray', 'peft'} & set(sys.modules); sys.exit(code)"
    words = ["run", "--models", "tiny-bert", "--methods", "lora", "--datasets", "demo", "--dry-run", "--method-params"]
    command = [sys.executable, "-c", code, *words, "lora.target_modules=query,qury"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 2, run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("bits", [32, 33, 40, 62])
def test_every_bit_of_a_seed_counts(bits):
    def weights(seed):
        drawn = build(specify(method="lora", seed=seed))[1]
        return {name: p for name, p in drawn.named_parameters() if "lora_A" in name or name == "classifier.weight"}

    first, other = weights(1), weights(1 + 2**bits)
    assert first
    assert not any(torch.equal(first[name], other[name]) for name in first)
