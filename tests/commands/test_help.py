"""What every command's help says of its flags, and how a command line that is wrong is refused."""

import json
import re
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.commands.command_line import COMMANDS, main
from tunekit.planning.args import MOST_SEEDS, parse_seeds
from tunekit.planning.other_names import NAMES_HERE

WIDTHS = (80, 140)


def help_of(name, width, capsys, monkeypatch):
    """The help of a command in a terminal of ``width`` columns."""
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


def inner_types(kind: Any) -> list[Any]:
    """A flag's type and all types inside it."""
    return [kind, *(inner for one in get_args(kind) for inner in inner_types(one))]


def flags_of(name):
    """Yield the name and the type of each flag of a command."""
    for argument, kind in get_type_hints(COMMANDS[name]).items():
        if is_dataclass(kind):
            yield from ((item.name, get_type_hints(kind)[item.name]) for item in fields(kind))
        elif argument != "return" and "Positional" not in str(COMMANDS[name].__annotations__[argument]):
            yield argument, kind


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_each_default_once_and_types_without_none(name, width, capsys, monkeypatch):
    text = help_of(name, width, capsys, monkeypatch)
    assert all(len(line) <= width for line in text.splitlines() if not line.startswith("usage: "))
    entries = re.split(r"\n[│\s]*(?=--?\w|\[?[A-Z]+)", text)
    for entry in entries:
        assert entry.count("(default") <= 1, entry
    for inside in ("None", "|INT", "|FLOAT", "(default: )", "default: False"):
        assert inside not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_choices_of_each_flag_that_has_some(name, capsys, monkeypatch):
    text = help_of(name, 140, capsys, monkeypatch)
    for flag, kind in flags_of(name):
        for one in inner_types(kind):
            if get_origin(one) is Literal:
                assert f"--{flag.replace('_', '-')} {{{','.join(get_args(one))}}}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_no_line_that_ends_in_the_middle_of_a_sentence(name, capsys, monkeypatch):
    """A paragraph is filled: only its last line leaves room for the next word."""
    lines = [line.strip("│").rstrip() for line in help_of(name, 80, capsys, monkeypatch).splitlines() if "│" in line]
    for line, after in zip(lines, lines[1:], strict=False):
        if re.match(r"\s+[^\s-]", line) and re.match(r"\s{15,}[^\s-]", after):
            assert len(line) + 1 + len(after.split()[0]) > 77, (line, after)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistyped_flag_is_one_line_with_the_nearest_one(name, capsys):
    for flag in [flag for flag, _ in flags_of(name)][:3]:
        written = f"--{flag.replace('_', '-')}"
        assert main([name, f"{written}x", "1"]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert line.startswith(f"error: unknown flag '{written}x', did you mean '")
        assert line.endswith(f"(tunekit {name} --help lists the flags)\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("run --epochs many", "--epochs takes a whole number, got 'many'"),
        ("run --seeds a", "--seeds takes whole numbers from 0, as in 1 2 3, 1,2,3 or 1-3, got 'a'"),
        ("run --seeds 3-1", "--seeds takes ranges of 1 to 10,000 seeds from low to high, got '3-1'"),
        ("run --weight-decay x", "--weight-decay takes a number, got 'x'"),
        ("run --precision fp16", "--precision takes fp32, tf32, bf16, got 'fp16', did you mean 'bf16'?"),
        ("run --epochs", "--epochs needs a value"),
        ("run demo", "unexpected word 'demo'"),
        ("search --sampler tpee", "--sampler takes tpe, random, gp, got 'tpee', did you mean 'tpe'?"),
        ("search --scheduler ash", "--scheduler takes asha, none, got 'ash', did you mean 'asha'?"),
        ("search --choose 2se", "--choose takes best, 1se, got '2se', did you mean '1se'?"),
        (
            "search --objective acuracy",
            "--objective takes accuracy, macro_f1, mcc, pearson, spearman, rmse, micro_f1, entity_f1, precision, "
            "recall, num_trainable_params, got 'acuracy'",
        ),
        ("report x --out y --select best", "--select takes last, best-val, best-test, got 'best'"),
        ("report --out y", "missing SWEEP"),
        ("report x", "missing --out"),
        ("gc --model s", "unknown flag '--model', did you mean '--models'?"),
        ("gc --sweep s", "unknown flag '--sweep'"),
        ("status", "missing SWEEP"),
        ("export x", "missing --to, --model, --dataset, --method"),
        ("--halp", "unknown flag '--halp', did you mean '--help'?"),
        ("", "name a command"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_one_line(words, line, capsys):
    assert main(words.split()) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {line}")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("run --lr 1e-4", ", did you mean '--learning-rate'?"),
        ("run --num_train_epochs 3", ", did you mean '--epochs'?"),
        ("run --per_device_train_batch_size=8", ", did you mean '--batch-size'?"),
        ("run --model_name_or_path roberta-base", ", did you mean '--models'?"),
        ("run --seed 3", ", did you mean '--seeds'?"),
        ("run --output_dir x", ", did you mean '--storage'?"),
        ("report x --output_dir y", ", did you mean '--out'?"),
        ("run --dataset_name x", ", did you mean '--datasets'?"),
        ("run --lora_r 8", ", did you mean '--method-params'?"),
        ("search --num-samples 3", ", did you mean '--trials'?"),
        ("run --num-samples 3", ": a grid trains each combination once; tunekit search --trials sets"),
        ("run --gpus 1", ": every GPU of the machine is used"),
        ("run --resume_from_checkpoint x", ": the same command as before goes on"),
        ("report x --out y --lr 3", " (tunekit report --help lists the flags)"),
    ],
)
def test_a_flag_of_another_program_is_refused_with_what_stands_for_it_here(words, hint, capsys):
    assert main(words.split()) == 2
    printed = capsys.readouterr().err
    flag = next(word for word in words.split() if word.startswith("--") and word != "--out").partition("=")[0]
    assert printed.startswith(f"error: unknown flag {flag!r}{hint}")
    assert printed.count("\n") == 1


def test_the_names_of_other_programs_lead_to_flags_that_there_are():
    known = {name for command in COMMANDS for name, _ in flags_of(command)}
    for name, here in NAMES_HERE.items():
        assert set(here) <= known, name


@pytest.mark.parametrize("flag", ["--batch_size", "--max_length", "--learning_rate"])
def test_a_flag_may_be_written_with_underscores(flag, capsys, tmp_path):
    words = ["run", "--preset", "demo", "--dry-run", "--json", "--storage", str(tmp_path), flag, "16"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["trials"][0][flag.lstrip("-")] == 16


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 20)), min_size=1), st.randoms())
def test_seeds_are_read_one_by_one_in_lists_and_in_ranges(pairs, draw):
    parts = [str(first) if not more else f"{first}-{first + more}" for first, more in pairs]
    words = [parts[0]]
    for part in parts[1:]:
        if draw.random() < 0.5:
            words[-1] += f",{part}"
        else:
            words.append(part)
    assert parse_seeds(words) == tuple(seed for first, more in pairs for seed in range(first, first + more + 1))


@pytest.mark.parametrize("word", ["", ",", "1,,2", "-1", "1-", "1.5", "1-2-3", f"0-{MOST_SEEDS}", "3-1", "²", "9" * 30])
def test_what_is_no_seed_is_refused(word):
    with pytest.raises(ValueError, match="takes"):
        parse_seeds([word])
