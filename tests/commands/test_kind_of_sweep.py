"""A grid and a search never share a folder: each command and call refuses the other's before anything is written."""

import pytest

import tunekit as tk
from tests.support.search_stores import write
from tests.support.stores import ask
from tests.support.trials import specify
from tunekit.__main__ import main
from tunekit.store.result_store import ResultStore

GRID = ["run", "--preset", "demo"]
SEARCH = ["search", "--preset", "demo"]
BLOCK = {"models": ("tiny-bert",), "datasets": ("demo",), "methods": ("full",)}


def grid_at(root):
    """A sweep that a grid, or a single trial, was asked for."""
    ask(ResultStore(root), [specify()])


def search_at(root):
    """A search that has just begun: it has no trial yet."""
    store = ResultStore(root)
    ask(store, [])
    write(store, {})


def files(root):
    return sorted((path.relative_to(root), path.read_bytes()) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--dry-run", "--json"], ["--dry-run", "--format", "json"]])
@pytest.mark.parametrize(
    ("made", "words", "message"),
    [
        (grid_at, SEARCH, "holds a grid, and a search needs a folder of its own: give it another --sweep"),
        (search_at, GRID, "holds a search, and a grid needs a folder of its own: give it another --sweep"),
    ],
)
def test_a_command_refuses_the_folder_of_the_other_kind(made, words, message, more, tmp_path, capsys):
    made(tmp_path / "mine")
    before = files(tmp_path)
    assert main([*words, *more, "--sweep", "mine", "--storage", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {tmp_path / 'mine'} {message}")
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("made", "call", "message"),
    [
        (grid_at, lambda root: tk.run_search(tk.Block(**BLOCK, seeds=(1,)), folder=root, trials=2), "holds a grid"),
        (search_at, lambda root: tk.run(tk.plan(tk.Block(**BLOCK, seeds=(1,))), root), "holds a search"),
        (search_at, lambda root: tk.train(specify(), root), "holds a search"),
    ],
)
def test_a_call_refuses_the_folder_of_the_other_kind(made, call, message, tmp_path):
    made(tmp_path / "mine")
    before = files(tmp_path)
    with pytest.raises(tk.UserError, match=message):
        call(tmp_path / "mine")
    assert files(tmp_path) == before


@pytest.mark.parametrize(("made", "words"), [(search_at, SEARCH), (grid_at, GRID)])
def test_a_command_goes_on_in_a_folder_of_its_own_kind(made, words, tmp_path, capsys):
    made(tmp_path / "mine")
    assert main([*words, "--dry-run", "--sweep", "mine", "--storage", str(tmp_path)]) == 0


def test_a_search_without_search_json_is_known_by_its_request(tmp_path, capsys):
    store = ResultStore(tmp_path / "mine")
    store.root.mkdir()
    store.add_request({"search": {"trials": 3}, "cells": []})
    assert main([*SEARCH, "--dry-run", "--sweep", "mine", "--storage", str(tmp_path)]) == 0
