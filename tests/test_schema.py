"""The contract: ids, coercion, refusals."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.schema import EpochRecord, TrialSpec, canonical_json, slug

BASE = {"model": "bert", "dataset": "acl_arc", "method": "full", "seed": 1, "learning_rate": 5e-5}


def test_id_ignores_order_of_keys_type_of_numbers_and_defaults():
    spec = TrialSpec(**BASE, method_params={"b": 1, "a": 2})
    assert spec.trial_id == TrialSpec(**BASE, method_params={"a": 2, "b": 1}).trial_id
    assert spec.trial_id == TrialSpec(**{**BASE, "seed": 1.0}, method_params={"a": 2, "b": 1}, weight_decay=0).trial_id
    assert TrialSpec.from_dict(json.loads(json.dumps(spec.to_dict()))).trial_id == spec.trial_id


CHANGED = {
    "model": "roberta", "dataset": "demo", "method": "lora", "method_params": {"r": 2}, "seed": 2,
    "learning_rate": 1e-3,
    "batch_size": 16, "epochs": 3, "max_length": 64, "weight_decay": 0.1, "warmup_ratio": 0.1, "precision": "bf16",
    "train_limit": 10, "val_fraction": 0.1, "data_seed": 1, "score_test": False,
    "class_weights": "balanced", "label_smoothing": 0.1, "focal_gamma": 2.0,
    "lr_schedule": "cosine", "max_grad_norm": 0.5, "head_learning_rate": 10.0, "layer_decay": 0.9,
    "patience": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrialSpec)])
def test_every_field_moves_the_id_and_all_but_the_seed_the_cell(name):
    before, after = TrialSpec(**BASE), TrialSpec(**{**BASE, name: CHANGED[name]})
    assert before.trial_id != after.trial_id
    assert (before.cell == after.cell) == (name == "seed")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1), ("seed", 1.5), ("seed", True), ("learning_rate", 0), ("learning_rate", float("nan")),
        ("batch_size", 0), ("epochs", 0), ("warmup_ratio", 1.0), ("precision", "fp16"), ("train_limit", 1),
        ("val_fraction", 1), ("model", 3), ("score_test", 1), ("method_params", {"r": [1]}),
        ("lr_schedule", "step"), ("max_grad_norm", -1), ("head_learning_rate", 0), ("layer_decay", 0),
        ("layer_decay", 1.1), ("patience", 0),
    ],
)  # fmt: skip
def test_bad_values_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        TrialSpec(**{**BASE, field: value})


def test_records_refuse_missing_unknown_and_non_finite_fields():
    row = dict.fromkeys((field.name for field in dataclasses.fields(EpochRecord)), 1.0) | {"epoch": 1, "step": 1}
    row["peak_memory_bytes"] = 1
    assert EpochRecord.from_dict(row).epoch == 1
    for broken in ({**row, "extra": 1}, {k: v for k, v in row.items() if k != "step"}, {**row, "train_loss": None}):
        with pytest.raises(ValueError, match="extra|step|train_loss"):
            EpochRecord.from_dict(broken)


@given(st.text(max_size=200))
def test_slugs_are_safe_file_names(text):
    name = slug(text)
    assert 0 < len(name) <= 60
    assert not name.startswith((".", "-"))
    assert "/" not in name
    assert slug(name) == name


def test_canonical_json_refuses_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})
