"""The store: what is written comes back, damage is named, other code's trials are set aside."""

from dataclasses import replace

import pytest

from tests.support.records import FINGERPRINT, record, summary
from tunekit.planning.plan import PlanState, make_plan
from tunekit.schema import Status
from tunekit.store.records import DamagedRecord
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore


@pytest.fixture
def store(place):
    return ResultStore(place / "sweep")


def states(store, specs, fingerprint=FINGERPRINT):
    plan = make_plan(specs, {spec.trial_id: fingerprint for spec in specs}, store)
    return [trial.state for trial in plan.trials], plan


def test_what_is_written_comes_back(store, make_spec):
    folder = store.open_trial(make_spec(), FINGERPRINT)
    store.write_epochs(folder, [record(1), record(2)])
    store.write_summary(folder, summary())
    trial = store.read(folder)
    assert (trial.spec, trial.fingerprint, trial.summary) == (make_spec(), FINGERPRINT, summary())
    assert trial.epochs == [record(1), record(2)]
    frames = store.frames()
    assert list(frames.epochs["epoch"]) == [1, 2]
    assert frames.trials["status"].tolist() == ["completed"]


def test_states_of_a_plan(store, make_spec):
    specs = [make_spec(seed=seed) for seed in range(4)]
    for spec in specs[1:]:
        store.open_trial(spec, FINGERPRINT)
    store.write_summary(store.folder(specs[2]), summary())
    store.write_summary(store.folder(specs[3]), summary(Status.DIVERGED, "loss became nan"))
    found, plan = states(store, specs)
    assert found == [PlanState.NEW, PlanState.PARTIAL, PlanState.DONE, PlanState.FAILED]
    assert plan.trials[3].reason == "diverged: loss became nan"
    assert [len(plan.pending(retry_failed=retry)) for retry in (False, True)] == [2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["model", "data", "code", "trainer"])
def test_other_fingerprints_are_stale_kept_and_never_mixed(store, make_spec, part):
    spec = make_spec()
    old = replace(FINGERPRINT, **{part: 99 if part == "trainer" else "other"})
    folder = store.open_trial(spec, old)
    store.write_epochs(folder, [record(1)])
    found, plan = states(store, [spec])
    assert found == [PlanState.NEW]
    assert plan.stale[0][1] == [part]
    assert store.open_trial(spec, FINGERPRINT) == folder
    found, plan = states(store, [spec])
    assert found == [PlanState.PARTIAL]
    assert plan.trials[0].epochs_done == 0
    assert [trial.epochs for trial, _ in plan.stale] == [[record(1)]]


@pytest.mark.slow
def test_going_back_to_earlier_code_finds_its_own_trial_again(store, make_spec):
    spec, other = make_spec(), replace(FINGERPRINT, code="other")
    store.write_summary(store.open_trial(spec, FINGERPRINT), summary())
    store.write_summary(store.open_trial(spec, other), summary(Status.DIVERGED, "nan"))
    found, plan = states(store, [spec])
    assert (found, plan.trials[0].owns_folder) == ([PlanState.DONE], False)
    store.claim_folder(spec, FINGERPRINT)
    assert store.read(store.folder(spec)).fingerprint == FINGERPRINT
    found, plan = states(store, [spec])
    assert (found, plan.trials[0].owns_folder, len(plan.stale)) == ([PlanState.DONE], True, 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs.jsonl", '{"schema_version": 1}\n', "epochs.jsonl:1: EpochRecord: missing"),
        ("epochs.jsonl", "GOOD\n{torn", "epochs.jsonl:2"),
        ("epochs.jsonl", "GOOD\nGOOD\n", "epoch 1 stands where 2 should"),
        ("epochs.jsonl", '{"schema_version": 9}\n', "schema version 1"),
        ("epochs.jsonl", '{"schema_version": 1, "train_loss": NaN}\n', "NaN is not JSON"),
        ("summary.json", "[" * 100_000, "summary.json"),
        ("summary.json", '{"schema_version": 1, "status": "great"}', "summary.json"),
        ("spec.json", "{}", "schema version"),
        ("spec.json", "\udcff", "spec.json"),
    ],
)
def test_damage_is_named_and_left_out(store, make_spec, name, text, message):
    folder = store.open_trial(make_spec(), FINGERPRINT)
    store.write_epochs(folder, [record(1)])
    good = (folder / "epochs.jsonl").read_text().strip()
    (folder / name).write_bytes(text.replace("GOOD", good).encode("utf-8", "surrogateescape"))
    with pytest.raises(DamagedRecord, match=message):
        store.read(folder)
    found, damaged = store.trials()
    assert (len(found), len(damaged)) == (0, 1)
    assert store.read(store.open_trial(make_spec(), FINGERPRINT)).epochs == []
    assert (folder.with_name(f"{folder.name}.damaged") / name).exists(), "nothing recorded is ever lost"


def test_requests_accumulate(store, make_spec):
    store.root.mkdir(parents=True)
    asked = [cells_of([make_spec(seed=seed)]) for seed in (1, 2)]
    for cells in asked:
        store.add_request({"cells": cells})
    assert [request["cells"] for request in store.requests()] == asked
