"""The sizes that estimates rest on, against what is really there: rows, lengths of texts, shapes of models."""

import json

import numpy as np
import pytest

from tests.support.trials import build, specify
from tunekit.data.base import DATASETS
from tunekit.data.copies import load_dataset
from tunekit.memory import FP32
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef, resolve_model
from tunekit.planning.disk import checkpoint_bytes, disk_bytes, kept_weights_bytes
from tunekit.planning.sizes import LENGTHS, SHARES, UNKNOWN, DatasetSize, declared_size, shape_of, size_of

SIZE = DatasetSize({"train": 100, "val": 20, "test": 30}, tuple(range(10, 10 + len(SHARES))), 3)


@pytest.mark.parametrize("name", sorted(LENGTHS))
def test_lengths_have_the_mean_that_the_dataset_declares(name):
    assert declared_size(name).of_rows(1000, 10**6).mean() == pytest.approx(DATASETS[name].mean_tokens, rel=0.05)


@pytest.mark.slow
def test_lengths_of_the_demo_are_those_of_its_texts():
    prepared, _ = build(specify(model="minilm", method="full", train_limit=None))
    lengths = prepared.splits["train"].tokens.lengths
    assert np.quantile(lengths, SHARES) == pytest.approx(LENGTHS["demo"], abs=0.6)
    assert {part: len(split) for part, split in prepared.splits.items()} == declared_size("demo").rows


def test_a_dataset_that_declares_its_mean_alone_gets_a_typical_spread(monkeypatch):
    monkeypatch.delitem(LENGTHS, "demo")
    lengths = declared_size("demo").of_rows(600, 512)
    assert lengths.mean() == pytest.approx(DATASETS["demo"].mean_tokens, rel=0.05)
    assert 3 * lengths.mean() < lengths[-1] < 8 * lengths.mean()


def test_data_that_is_read_has_about_as_many_tokens_as_its_words_say():
    found, declared = size_of(load_dataset("demo")), declared_size("demo")
    assert (found.rows, found.num_labels) == (declared.rows, declared.num_labels)
    assert found.lengths == pytest.approx(declared.lengths, rel=0.4)


def test_a_trial_sees_what_is_left_of_carving_and_limit():
    plain = {"train_limit": None, "method": "full"}
    assert SIZE.seen_by(specify(**plain)) == SIZE.rows
    assert SIZE.seen_by(specify(**{**plain, "train_limit": 8})) == {"train": 8, "val": 20, "test": 30}
    assert SIZE.seen_by(specify(**plain, score_test=False)) == {"train": 100, "val": 20}
    no_val = DatasetSize({"train": 100, "test": 30}, SIZE.lengths, 3)
    assert no_val.seen_by(specify(**plain, val_fraction=0.1)) == {"train": 90, "val": 10, "test": 30}


def test_rows_stand_for_all_lengths_and_are_cut():
    lengths = SIZE.of_rows(100, 20)
    assert (lengths[0], lengths[-1], len(lengths)) == (10, 20, 100)
    assert SIZE.of_rows(100, 512)[-1] == SIZE.lengths[-1] > SIZE.of_rows(4, 512)[-1]
    assert (np.diff(lengths) >= 0).all()
    assert len(SIZE.of_rows(0, 20)) == 0


@pytest.mark.parametrize("change", [{}, {"hidden_act": "relu"}], ids=["plain", "another activation"])
def test_a_folder_has_its_own_shape_and_small_checkpoints(tmp_path, change):
    config = {**MODELS["tiny-bert"].shape.to_config(), "model_type": "bert", "architectures": ["BertModel"], **change}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = shape_of(ModelRef("mine-123", "123", str(tmp_path)))
    assert shape == MODELS["tiny-bert"].shape
    spec = specify(method="full")
    assert checkpoint_bytes(spec, shape) < 2**21 < 1000 * 2**20 < checkpoint_bytes(spec, UNKNOWN)


def test_a_model_that_is_not_here_is_taken_for_one_of_base_size():
    assert shape_of(ModelRef("nobody/nothing", "0" * 40)) == UNKNOWN
    assert shape_of(resolve_model("minilm")) == MODELS["minilm"].shape


def test_disk_is_for_records_running_checkpoints_and_kept_weights():
    specs, shapes = [specify(method="full", seed=seed) for seed in (1, 2, 3)], {"tiny-bert": MODELS["tiny-bert"].shape}
    one = checkpoint_bytes(specs[0], shapes["tiny-bert"])
    assert one % (3 * FP32) == 0
    assert disk_bytes([], shapes, 2) == 0
    assert disk_bytes(specs, shapes, 2) - disk_bytes(specs, shapes, 1) == 3 * one
    assert disk_bytes(specs, shapes, 9) == disk_bytes(specs, shapes, 3)
    kept = {keep: kept_weights_bytes(specs, shapes, keep) for keep in ("none", "last", "best", "all")}
    assert kept == {"none": 0, "last": one, "best": 3 * one, "all": specs[0].epochs * one}
    assert disk_bytes(specs, shapes, 2, "last") == disk_bytes(specs, shapes, 2) + one
