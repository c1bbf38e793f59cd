"""Every file of a store truncated at each KB and with flipped bits: no traceback, nothing counted that is not whole."""

import random
import shutil
from pathlib import Path

import pytest

from analysis.__main__ import main as analyse
from analysis.cells import cells
from analysis.sweep_records import read_sweeps
from tests.support.runs import finish, numbers
from tests.support.trials import fingerprint, specify, start
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.engine.checkpoint import newest_valid
from tunekit.errors import UserError
from tunekit.planning.plan import PlanState, make_plan
from tunekit.storage.lease import acquire
from tunekit.store.progress import ProgressReader
from tunekit.store.records import DamagedRecord
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore

pytestmark = pytest.mark.slow

DONE, BROKEN_OFF = specify(seed=1), specify(seed=2, epochs=4)
SPECS = [DONE, BROKEN_OFF]
RECORDS = ("spec.json", "epochs.jsonl", "summary.json")


@pytest.fixture
def store(tmp_path):
    """A sweep with a finished trial and one that was broken off after its second epoch."""
    store = ResultStore(tmp_path / "sweep")
    acquire(store.root).release()
    save_dataset(load_dataset("demo"), store.data_folder, with_text=False)
    store.add_request({"versions": {}, "blocks": [], "cells": cells_of(SPECS)})
    finish(start(DONE, store.root, number=1))
    run = start(BROKEN_OFF, store.root, number=1)
    for _ in range(2):
        run.last_checkpoint = -float("inf")
        run.train_epoch()
    return store


def damages(path: Path, each: int, flips: int):
    """The file's content cut at every ``each`` bytes, and with one bit flipped at ``flips`` places."""
    content, draw = path.read_bytes(), random.Random(path.name)
    for size in range(0, len(content), each):
        yield content[:size]
    for _ in range(flips):
        place = draw.randrange(len(content))
        yield content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]


def read_all(store):
    """What readers make of the store: the plan, None where they refuse it with a line."""
    plan, lines = None, []
    for read in (
        lambda: make_plan(SPECS, {spec.trial_id: fingerprint(spec) for spec in SPECS}, store),
        lambda: ProgressReader(store.root).read(),
        lambda: cells(read_sweeps([store.root])),
        lambda: newest_valid(store.folder(BROKEN_OFF) / "checkpoint"),
    ):
        try:
            found = read()
        except (UserError, DamagedRecord) as error:
            lines.append(str(error))
            continue
        plan = plan or found
    assert all("\n" not in line for line in lines)
    return plan


def damage_all(store, each, flips):
    """Damage each file in each way, read, and put it back. Returns the counts."""
    count = files = 0
    for path in sorted(path for path in store.root.rglob("*") if path.is_file() and "cache" not in path.parts):
        whole = path.read_bytes()
        files += 1
        for content in damages(path, each(len(whole)), flips):
            path.write_bytes(content)
            plan = read_all(store)
            if path.name in RECORDS and path.parent == store.folder(DONE) and len(content) < len(whole.rstrip()):
                assert plan.trials[0].state is not PlanState.DONE, f"{path.name} cut at {len(content)}"
            count += 1
        path.write_bytes(whole)
    return {"files": files, "damages": count, "tracebacks": 0}


def test_readers_refuse_with_a_line_what_is_damaged(store):
    damage_all(store, lambda size: max(1, size // 3), 2)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_readers_at_each_kb(store, figures):
    found = damage_all(store, lambda size: max(256, min(1024, size // 4)), 12)
    figures("files truncated and bits flipped, read", **found)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_the_report_and_the_resume_of_a_damaged_store(store, tmp_path, figures, capfd):
    whole = start(BROKEN_OFF, tmp_path / "unbroken")
    finish(whole)
    reports = resumes = 0
    for path in sorted(path for path in store.root.rglob("*") if path.is_file() and "cache" not in path.parts):
        content = path.read_bytes()
        *_, cut, flipped = damages(path, (len(content) + 1) // 2, 1)
        path.write_bytes(flipped)
        if path.suffix != ".safetensors":
            assert analyse([str(store.root), "--out", str(tmp_path / "report")]) in (0, 1, 2)
            reports += 1
        if path.is_relative_to(store.folder(BROKEN_OFF)):
            path.write_bytes(cut)
            again = start(BROKEN_OFF, copied(store, tmp_path / f"resume-{resumes}"), number=1)
            finish(again)
            assert numbers(again.records) == numbers(whole.records)
            resumes += 1
        path.write_bytes(content)
    assert "Traceback" not in "".join(capfd.readouterr())
    figures("files truncated and bits flipped, report and resume", damages=reports + resumes, tracebacks=0, differing=0)


def copied(store, target):
    shutil.copytree(store.root, target)
    return target
