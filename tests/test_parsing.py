"""YAML is read by the rules of YAML 1.2: numbers are numbers, and words are the texts that stand there."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tunekit.errors import UserError
from tunekit.parsing import read_yaml, yaml_text
from tunekit.planning.blocks import expand, load_blocks
from tunekit.search.space import load_space

WORDS_OF_1_1 = ["on", "off", "yes", "no", "Yes", "NO", "On", "OFF", "y", "n", "1_000", "1:30", "190:20:30"]
WORDS_OF_1_1 += ["2024-01-01", "2001-12-14 21:59:43.10", "0b11", "1_0.5", "=", "<<", "+.1_5"]
"""Plain words that PyYAML's own rules read as truth values, numbers, times and merges."""


def read(text, folder):
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path, str(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("yaml")


@pytest.mark.parametrize("word", WORDS_OF_1_1)
def test_a_plain_word_is_the_text_that_stands_there(word, folder):
    assert read(f"a: {word}\nb: [{word}]", folder) == {"a": word, "b": [word]}


@given(number=st.floats(allow_nan=False), form=st.sampled_from(["{!r}", "{:e}", "{:.17g}", "{:E}", "{:f}"]))
def test_a_number_is_a_number_however_it_is_written(number, form, folder):
    text = form.format(number).replace("inf", ".inf").replace("INF", ".inf")
    assert float(read(f"a: {text}", folder)["a"]) == float(form.format(number))


@pytest.mark.parametrize(
    ("text", "value"),
    [("5e-5", 5e-5), ("1E5", 1e5), (".5", 0.5), ("5.", 5.0), ("+1e-3", 1e-3), ("010", 10), ("09", 9), ("0o17", 15),
     ("0x1F", 31), ("-3", -3), ("true", True), ("False", False), ("~", None), ("null", None), ("", None)],
)  # fmt: skip
def test_what_is_no_text_is_read_as_yaml_1_2_says(text, value, folder):
    found = read(f"a: {text}", folder)["a"]
    assert (found, type(found)) == (value, type(value))


def test_not_a_number_is_one(folder):
    assert math.isnan(read("a: .nan", folder)["a"])


plain = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | plain | st.sampled_from(WORDS_OF_1_1)
    | st.from_regex(r"[-+0]?[0-9obxe_:.]{1,6}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.slow
@given(values)
def test_what_is_written_is_read_back_by_either_version_s_rules(value):
    from io import StringIO

    class File:
        def read_text(self, encoding):
            return StringIO(yaml_text(value)).read()

    assert read_yaml(File(), "file") == value
    assert yaml.safe_load(yaml_text(value)) == value


def test_a_grid_and_a_space_take_numbers_as_people_write_them(tmp_path):
    grid, space = tmp_path / "grid.yaml", tmp_path / "space.yaml"
    grid.write_text(
        "- models: [tiny-bert]\n  datasets: [demo]\n  methods: [full]\n  seeds: [1]\n  learning_rate: {full: 5e-5}\n"
    )
    assert [spec.learning_rate for spec in expand(load_blocks(grid))] == [5e-5]
    space.write_text("lora:\n  learning_rate: {low: 1e-5, high: 1e-3}\n  lora_dropout: [0, 1e-1]\n")
    found = load_space(space, ["lora"])["lora"]
    assert (found["learning_rate"].low, found["learning_rate"].high) == (1e-5, 1e-3)
    assert found["lora_dropout"] == (0, 0.1)


@pytest.mark.parametrize("axis", ["models", "datasets", "methods"])
@pytest.mark.parametrize("word", ["010", "1e3", "true", "null", "0x1F"])
def test_a_name_that_yaml_reads_as_something_else_is_refused_with_the_way_out(axis, word, tmp_path):
    path = tmp_path / "grid.yaml"
    axes = {"models": "[bert]", "datasets": "[demo]", "methods": "[full]", "seeds": "[1]", axis: f"[{word}]"}
    path.write_text("- {" + ", ".join(f"{name}: {value}" for name, value in axes.items()) + "}")
    with pytest.raises(UserError, match=rf"{axis} holds .*put quotes around"):
        load_blocks(path)


@pytest.mark.parametrize("seed", ["1_000", "1:30", "1e3", "yes"])
def test_a_seed_that_is_no_whole_number_is_refused(seed, tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(f"- {{models: [bert], datasets: [demo], methods: [full], seeds: [{seed}]}}")
    with pytest.raises(UserError, match="seeds holds .*whole numbers"):
        load_blocks(path)
