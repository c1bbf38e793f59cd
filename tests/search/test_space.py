"""What may be searched: every method's own ranges, space files, and how the default stands among them."""

import pytest
from optuna.trial import FixedTrial

from tests.support.trials import specify
from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.search.request import VAL_FRACTION
from tunekit.search.space import (
    SETTINGS,
    Range,
    configure,
    first_trial,
    load_space,
    shown_params,
    shown_space,
)
from tunekit.search.space_fit import check_space

every_method = pytest.mark.parametrize("method", list(METHODS))


@every_method
def test_suggest_is_plain_optuna_and_its_keys_are_fields_of_the_method_or_the_spec(method):
    first = first_trial(specify(method=method), {})
    values = METHODS[method].suggest(FixedTrial(first.params))
    assert set(values) <= set(SETTINGS) | set(complete_params(method, {}))
    assert "learning_rate" in values, "tuned stands against tuned: every method's rate is searched"


@every_method
def test_the_default_configuration_is_suggested_as_itself(method):
    spec = specify(method=method)
    first = first_trial(spec, {})
    assert configure(spec, FixedTrial(first.params), {}) == spec


@every_method
def test_every_end_of_every_range_makes_a_spec_of_its_own(method):
    spec = specify(method=method)
    first = first_trial(spec, {})
    found = set()
    for name, distribution in first.distributions.items():
        ends = getattr(distribution, "choices", None) or (distribution.low, distribution.high)
        for value in ends:
            made = configure(spec, FixedTrial({**first.params, name: value}), {})
            METHODS[method](**made.method_params)
            found.add((name, made.trial_id))
    assert len(found) == sum(len(getattr(one, "choices", (1, 2))) for one in first.distributions.values())


@every_method
def test_what_is_shown_is_by_field_and_holds_the_default(method):
    first = first_trial(specify(method=method), {})
    space, params = shown_space(first.distributions), shown_params(first.params)
    assert set(space) == set(params) <= set(SETTINGS) | set(complete_params(method, {}))
    for name, one in space.items():
        if one["type"] == "categorical":
            assert params[name] in one["choices"]
        else:
            assert one["low"] <= params[name] <= one["high"]


def test_alpha_is_fixed_or_a_ratio_to_r():
    found = {
        alpha: METHODS["lora"].suggest(FixedTrial({"learning_rate": 1e-3, "log2_r": 4, "lora_alpha": alpha}))
        for alpha in (8, "r", "2r")
    }
    assert [(values["r"], values["lora_alpha"]) for values in found.values()] == [(16, 8), (16, 16), (16, 32)]


SPACE = """
lora:
  learning_rate: {low: 1.0e-4, high: 1.0e-2}
  r: {low: 4, high: 64}
  lora_alpha: [8, 2r]
  lora_dropout: {low: 0, high: 0.3}
  batch_size: [16, 32]
  epochs: {low: 1, high: 4}
"""


def test_a_space_file_replaces_ranges_and_adds_parameters(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    spec = specify(method="lora")
    space = load_space(path, ["lora"])["lora"]
    check_space(spec, space, path, lambda spec: None)
    assert shown_space(first_trial(spec, space).distributions) == {
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "r": {"type": "categorical", "choices": [4, 8, 16, 32, 64]},
        "lora_alpha": {"type": "categorical", "choices": [8, "2r"]},
        "lora_dropout": {"type": "float", "low": 0.0, "high": 0.3, "log": False},
        "batch_size": {"type": "categorical", "choices": [16, 32]},
        "epochs": {"type": "int", "low": 1, "high": 4, "log": False},
    }
    params = {
        "learning_rate": 2e-3,
        "log2_r": 3,
        "lora_alpha": "2r",
        "lora_dropout": 0.1,
        "batch_size": 16,
        "epochs": 3,
    }
    made = configure(spec, FixedTrial(params), space)
    assert (made.learning_rate, made.batch_size, made.epochs) == (2e-3, 16, 3)
    assert made.method_params == {"r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "target_modules": "query,value"}


BAD = {
    "lora: {r: []}": "lora.r: an empty range",
    "lora: {learning_rate: {low: 1.0e-3, high: 1.0e-3}}": "an empty range, from 0.001 to 0.001",
    "lora: {learning_rate: {low: 1.0e-2, high: 1.0e-3}}": "an empty range",
    "lora: {rank: [4]}": "no parameter 'rank'",
    "lora: {patience: [1, 2]}": "lora: patience can't be searched",
    "lora: {learning_rat: [4]}": "did you mean 'learning_rate'?",
    "lorra: {r: [4]}": "unknown method 'lorra', did you mean 'lora'?",
    "full: {learning_rate: [5.0e-5]}": "'full' is not among the methods of this search (lora)",
    "lora: {r: {low: 3, high: 32}}": "powers of two",
    "lora: {r: [4, 32]}": "powers of two",
    "lora: {r: {low: 4}}": "takes a list of values or {low",
    "lora: {r: 4}": "takes a list of values or {low",
    "lora: {epochs: {low: 1, high: 2.5}}": "whole numbers",
    "lora: {learning_rate: {low: a, high: b}}": "must be numbers",
    "lora: {learning_rate: {low: 1.0e-4, high: .nan}}": "must be numbers",
    "lora: {learning_rate: {low: -1, high: 1, log: true}}": "lora",
    "lora: {learning_rate: {low: 1.0e-4, high: 1.0e-2, log: 3}}": "log true or false",
    "lora: {learning_rate: [0, 5.0e-4]}": "learning_rate must be above 0",
    "lora: {lora_dropout: {low: 0, high: 1}}": "lora_dropout in [0, 1)",
    "lora: {lora_alpha: [8, 3x]}": "lora_alpha takes int, got '3x'",
    "lora: {lora_alpha: {low: 1, high: 8}}": "takes a list of values",
    "lora: {target_modules: {low: 1, high: 8}}": "takes a list of values",
    "lora: {class_weights: {low: 1, high: 8}}": "takes a list of values",
    "lora: {class_weights: [none, a=x]}": "lora: class_weights: the weight of 'a' must be a number, got 'x'",
    "lora: {class_weights: [none, 'a=1,b=2', 'b=2,a=1.0']}": "each once",
    "lora: {label_smoothing: [0, 1]}": "label_smoothing must lie in [0, 1)",
    "lora: {focal_gamma: {low: -1, high: 2}}": "focal_gamma must be 0 or more",
    "lora: {label_smoothing: [0, 0.1], focal_gamma: [0, 2]}": "exclude each other; search one of them",
    "lora: {r: {low: 64, high: 128}}": "the default r 32",
    "lora: {learning_rate: [1.0e-3, 1.0e-3]}": "each once",
    "[lora]": "expected ranges by method",
    "lora: [r]": "expected ranges by method",
    "lora: {": "space.yaml",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_space_file_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        check_space(specify(method="lora"), load_space(path, ["lora"])["lora"], path, lambda spec: None)
    assert BAD[text] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_given_default_is_held_against_the_range_too():
    with pytest.raises(UserError, match="default r 20 of 'lora'.*outside the searched range .1 to 128, powers of 2"):
        first_trial(specify(method="lora", method_params={"r": 20}), {})
    first = first_trial(specify(method="full"), {"learning_rate": Range(1e-6, 1e-4)})
    assert first.params == {"learning_rate": 5e-5}


def test_an_equal_part_is_carved_where_there_is_no_dev_part():
    assert 0 < VAL_FRACTION < 0.5
