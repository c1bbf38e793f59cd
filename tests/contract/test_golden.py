"""Numerics and ids do not change without a new version: stored results would silently stand beside other ones."""

import json

import pytest

from tests.support.golden import CODE, IDS, LOSSES, code_hashes, losses_of
from tunekit.schema import SCHEMA_VERSION, TRAINER_VERSION, TrialSpec

AGAIN = "write the golden files anew with: python -m tests.support.golden"


@pytest.mark.parametrize("index", range(5))
def test_losses(index):
    golden = json.loads(LOSSES.read_text())
    assert golden["trainer_version"] == TRAINER_VERSION, AGAIN
    trial = golden["trials"][index]
    found = losses_of(TrialSpec.from_dict(trial["spec"]))
    assert found == pytest.approx(trial["losses"], abs=1e-4), "numerics changed: raise TRAINER_VERSION"


def test_ids():
    golden = json.loads(IDS.read_text())
    assert golden["schema_version"] == SCHEMA_VERSION, AGAIN
    for trial in golden["trials"]:
        assert TrialSpec.from_dict(trial["spec"]).trial_id == trial["trial_id"], "ids changed: raise SCHEMA_VERSION"


def test_code_hashes():
    message = "the code of a method or dataset has another hash: every stored trial of it is stale now"
    assert code_hashes() == json.loads(CODE.read_text()), message
