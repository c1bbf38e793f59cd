"""The cache: whatever happened to a store, reading through it equals reading without it."""

import random
import shutil

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.records import FINGERPRINT, record
from tests.support.stores import add
from tunekit.schema import Status
from tunekit.store.frame_cache import CACHE_FILE, load_frames
from tunekit.store.result_store import ResultStore


def same(store, cache, previous=None):
    through, fresh = store.frames(cache, previous=previous), store.frames()
    pd.testing.assert_frame_equal(through.trials, fresh.trials)
    pd.testing.assert_frame_equal(through.epochs, fresh.epochs)
    assert through.damaged == fresh.damaged
    return through


@pytest.fixture
def store(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    for seed in range(3):
        add(store, make_spec(seed=seed), [0.5, 0.6])
    return store


@pytest.mark.slow
def test_cached_frames_equal_fresh_ones_after_any_edits(store, make_spec, tmp_path):
    cache, rng = tmp_path / "cache", random.Random(0)
    edits = {
        "added": lambda n: add(store, make_spec(seed=100 + n), [rng.random()]),
        "changed": lambda n: add(store, make_spec(seed=n % 3), [rng.random(), 0.1], rng.choice(list(Status))),
        "begun": lambda n: store.write_epochs(store.open_trial(make_spec(seed=200 + n), FINGERPRINT), [record(1)]),
        "removed": lambda n: shutil.rmtree(rng.choice(list(store.folders()))),
        "damaged": lambda n: (rng.choice(list(store.folders())) / "summary.json").write_text("{"),
    }
    earlier = same(store, cache)
    for number in range(30):
        edits[rng.choice(list(edits))](number)
        same(store, cache)
        earlier = same(store, tmp_path / "other", earlier)


def test_only_changed_trials_are_read_again(store, make_spec, tmp_path):
    store.frames(tmp_path / "cache")
    add(store, make_spec(seed=1), [0.9])
    read = []
    store.frames(tmp_path / "cache", lambda names: read.extend(names) or names)
    assert read == [make_spec(seed=1).folder]


def test_what_was_read_earlier_takes_the_caches_place_and_is_kept_when_asked(store, make_spec, tmp_path):
    cache, read = tmp_path / "cache", []
    earlier = store.frames(cache, write_cache=False)
    assert not cache.exists()
    kept = store.frames(cache, lambda names: read.extend(names) or names, previous=earlier)
    assert read == []
    assert kept.in_cache
    written = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert set(written) == {CACHE_FILE}
    store.frames(cache, previous=kept)
    assert written == {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    same(store, cache)


@pytest.mark.parametrize("content", [b"", b"5.", bytes(64), None])
def test_a_torn_or_earlier_cache_is_made_anew(store, make_spec, tmp_path, content):
    cache = tmp_path / "cache"
    store.frames(cache)
    old = (cache / CACHE_FILE).read_bytes()
    add(store, make_spec(seed=7), [0.3])
    store.frames(cache)
    (cache / CACHE_FILE).write_bytes(old if content is None else content)
    assert len(same(store, cache).trials) == 4


@pytest.mark.slow
@given(st.data())
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cache_with_any_other_byte_is_not_read(store, tmp_path_factory, data):
    cache = tmp_path_factory.mktemp("cache")
    trials, epochs = (frame for frame in (store.frames(cache).trials, store.frames(cache).epochs))
    content = bytearray((cache / CACHE_FILE).read_bytes())
    for read, expected in zip(load_frames(cache), (trials, epochs), strict=True):
        pd.testing.assert_frame_equal(read, expected)
    # The spaces behind the line, and the zeros between the tables, say nothing.
    at = data.draw(st.integers(0, len(content) - 1).filter(lambda n: content[n] not in b" "))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    (cache / CACHE_FILE).write_bytes(bytes(content))
    assert [len(frame) for frame in load_frames(cache)] == [0, 0]
    (cache / CACHE_FILE).write_bytes(bytes(content[: data.draw(st.integers(0, len(content) - 1))]))
    assert [len(frame) for frame in load_frames(cache)] == [0, 0]
