"""Numerics and ids do not change without a new version: stored results would silently stand beside other ones."""

import json
import linecache
import sys
from types import ModuleType

import pytest

from tests.support.golden import CODE, IDS, LOSSES, code_hashes, losses_of
from tunekit.planning.fingerprints import source_of
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


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("from tunekit.shapes import NAMING as X", "from tunekit.models.families import FAMILIES as X"),
        ("from tunekit.shapes import Shape", "from tunekit.models.shapes import Shape"),
        ("from tunekit.models import MODELS", "from tunekit.models.catalog import MODELS"),
        ("from tunekit.bottleneck import HOULSBY", "from tunekit.methods._bottleneck import HOULSBY"),
    ],
)
def test_a_moved_import_is_hashed_as_it_was(before, now):
    sources = []
    for number, line in enumerate((before, now)):
        name = f"moved_{abs(hash((before, now)))}_{number}"
        module = ModuleType(name)
        module.__file__ = f"<{name}>"
        text = f"if False:\n    {line}\nclass Method:\n    pass\n"
        linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
        sys.modules[name] = module
        exec(compile(text, module.__file__, "exec"), module.__dict__)
        sources.append(source_of(module.__dict__["Method"]))
        del sys.modules[name]
    assert sources[0] == sources[1]
