"""What a sweep is called where --sweep does not say it."""

import pytest
import yaml

from tunekit.planning.args import GridArgs, SearchArgs
from tunekit.planning.presets import GRID_PRESETS, SEARCH_PRESETS
from tunekit.planning.resolve import LONGEST_NAME, grid_options, resolve_grid
from tunekit.search.request import resolve_search

TINY = {"models": ("tiny-bert",), "datasets": ("demo",), "methods": ("full", "lora")}


def name_of(**flags):
    return resolve_grid(GridArgs(**flags), GRID_PRESETS).name


def test_a_preset_and_a_named_sweep_keep_their_names():
    assert name_of() == name_of(preset="study") == name_of(epochs=1) == "study"
    assert name_of(preset="demo", **TINY) == "demo"
    assert name_of(sweep="mine", **TINY) == "mine"


def test_a_grid_of_one_s_own_is_named_by_what_it_holds():
    assert name_of(**TINY) == "tiny-bert-demo-full-lora"
    assert name_of(methods=("lora",)) == "roberta-acl_arc-agnews_7k6-restaurant-lora"


def test_a_long_name_is_cut_and_stays_one_name_a_grid():
    models = ("tiny-bert", "tiny-roberta", "tiny-electra", "minilm")
    names = [name_of(models=models, methods=methods) for methods in (("full", "lora"), ("full", "adapter"))]
    assert len(set(names)) == 2
    assert {len(name) for name in names} == {LONGEST_NAME}
    assert all(name.startswith("tiny-bert-tiny-roberta-tiny-electra-minilm-") for name in names)


@pytest.mark.parametrize(
    ("path", "name"),
    [("grid.yaml", "grid"), ("search-demo/best.yaml", "search-demo-best"), ("My Search/best.yml", "my-search-best")],
)
def test_a_file_names_its_grid_and_best_yaml_is_named_after_its_search(tmp_path, path, name, monkeypatch):
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump([{**{axis: list(names) for axis, names in TINY.items()}, "seeds": [1]}]))
    assert name_of(config=file) == name
    monkeypatch.chdir(file.parent)
    assert name_of(config=file.relative_to(file.parent)) == name


def test_a_search_is_not_the_grid_of_the_same_name():
    def searched(**flags):
        return resolve_search(SearchArgs(**flags), SEARCH_PRESETS).sweep.name

    assert searched() == "search"
    assert searched(preset="demo") == "search-demo"
    assert searched(**TINY) == "search-tiny-bert-demo-full-lora"
    assert searched(sweep="mine", **TINY) == "mine"


def test_the_demo_keeps_its_best_weights_unless_a_flag_says_otherwise():
    kept = [grid_options(GridArgs(preset=preset), GRID_PRESETS).kept for preset in ("demo", "laptop", None)]
    assert kept == ["best", "none", "none"]
    assert grid_options(GridArgs(preset="demo", keep_models="none"), GRID_PRESETS).kept == "none"


def test_display_names_come_from_the_registries():
    sweep = resolve_grid(GridArgs(**TINY), GRID_PRESETS)
    assert sweep.display_names() == {
        "models": {"tiny-bert": "Tiny BERT"},
        "methods": {"full": "Full fine-tuning", "lora": "LoRA"},
    }


def test_the_preset_study_minilm_has_the_same_ids_on_every_machine():
    (block,) = GRID_PRESETS["study-minilm"].blocks
    assert block.precision == "tf32"
    assert block.seeds == tuple(range(1, 11))
    assert name_of(preset="study-minilm", precision="fp32", epochs=3) == "study-minilm"
