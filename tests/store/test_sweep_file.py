"""A sweep.json is checked once for each content: a text that the cache names is not checked again."""

import json

import pytest

from tunekit.errors import UserError
from tunekit.store import sweep_file
from tunekit.store.requests import cells_of
from tunekit.store.sweep_file import MARK, read_requests


@pytest.fixture
def counted(monkeypatch):
    """The requests that were checked, in order."""
    seen = []

    def checked(request, check=sweep_file.checked_request):
        seen.append(request)
        return check(request)

    monkeypatch.setattr(sweep_file, "checked_request", checked)
    return seen


@pytest.fixture
def sweep(tmp_path, make_spec):
    path = tmp_path / "sweep.json"
    cells = cells_of([make_spec(seed=seed) for seed in (1, 2)])
    path.write_text(json.dumps({"schema_version": 1, "requests": [{"cells": cells}]}))
    return path


def test_a_text_is_checked_once(sweep, counted):
    cache = sweep.parent / "cache"
    first = read_requests(sweep, cache)
    assert read_requests(sweep, cache) == first == json.loads(sweep.read_text())["requests"]
    assert len(counted) == 1
    assert read_requests(sweep, None) == first
    assert len(counted) == 2


def test_a_changed_text_is_checked_again(sweep, counted):
    cache = sweep.parent / "cache"
    read_requests(sweep, cache)
    content = json.loads(sweep.read_text())
    content["requests"][0]["cells"][0]["learning_rate"] = "fast"
    sweep.write_text(json.dumps(content))
    for _ in range(2):  # what is damaged leaves no mark
        with pytest.raises(UserError, match="learning_rate"):
            read_requests(sweep, cache)
    assert len(counted) == 3


@pytest.mark.parametrize("mark", [b"", b"0" * 64, b"\xff"])
def test_a_mark_that_says_something_else_is_not_believed(sweep, counted, mark):
    cache = sweep.parent / "cache"
    read_requests(sweep, cache)
    (cache / MARK).write_bytes(mark)
    read_requests(sweep, cache)
    read_requests(sweep, cache)
    assert len(counted) == 2


def test_a_raised_version_of_the_check_checks_again(sweep, counted, monkeypatch):
    cache = sweep.parent / "cache"
    read_requests(sweep, cache)
    monkeypatch.setattr(sweep_file, "CHECK_VERSION", sweep_file.CHECK_VERSION + 1)
    read_requests(sweep, cache)
    assert len(counted) == 2
