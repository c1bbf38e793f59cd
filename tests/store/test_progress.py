"""Where a sweep stands: each state, the table, the page, and reading while others write."""

import os
import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.browser import Browser, needs_chromium
from tests.support.records import FINGERPRINT, record, summary
from tunekit.__main__ import main
from tunekit.commands.status import write_page
from tunekit.schema import Status
from tunekit.storage.lease import acquire
from tunekit.store.eta import Pace, clock, remaining_seconds
from tunekit.store.progress import ProgressReader, ProgressState
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore

EVIL = "<script>alert(1)</script> & \x1b[31m"


@pytest.fixture
def sweep(tmp_path, make_spec):
    """A store with a trial in every state, seeds 1 to 9, and one of a cell of its own that waits."""
    specs = [make_spec(seed=seed) for seed in range(1, 10)]
    store = ResultStore(tmp_path / "sweep")
    store.root.mkdir()
    store.add_request({"cells": cells_of([*specs, make_spec(method="full", method_params={})])})
    ends = (Status.COMPLETED, Status.STOPPED, Status.DIVERGED, Status.OUT_OF_MEMORY, Status.FAILED)
    for spec, status in zip(specs, ends, strict=False):
        folder = store.open_trial(spec, FINGERPRINT)
        store.write_epochs(folder, [record(1), replace(record(2), test_macro_f1=0.8123)])
        store.write_summary(folder, summary(status, None if status is Status.COMPLETED else f"{status}: {EVIL}\nmore"))
    for spec in specs[5:7]:
        store.write_epochs(store.open_trial(spec, FINGERPRINT), [record(1)])
    store.open_trial(specs[7], replace(FINGERPRINT, code="other"))
    store.claim_folder(specs[7], FINGERPRINT)  # sets the other code's aside
    (store.open_trial(specs[8], FINGERPRINT) / "epochs.jsonl").write_text("{")
    return store


def states(store: ResultStore) -> list[str]:
    standing = ProgressReader(store.root).read()
    return [one.text for one in standing.cells["tiny-bert · demo · lora"].values()]


def test_every_state_is_told_apart(sweep, make_spec):
    ended = ["done 81.23", "stopped 81.23", "diverged 81.23", "no memory 81.23", "failed 81.23"]
    assert states(sweep) == [*ended, "interrupted 1/2 50.00", "interrupted 1/2 50.00", "stale", "damaged"]
    lease = acquire(sweep.root)
    begun = datetime.now(UTC) + timedelta(hours=1)
    assert states(sweep)[5:7] == ["waiting 1/2 50.00", "waiting 1/2 50.00"]  # the driver has not come to train yet
    (sweep.root / "ray" / f"{begun:%Y-%m-%dT%H-%M-%SZ}-{lease.start}").mkdir(parents=True)
    taken_up = sweep.folder(make_spec(seed=7)) / "log.txt"
    taken_up.write_text("going on\n")
    os.utime(taken_up, (begun.timestamp(), begun.timestamp()))
    standing = ProgressReader(sweep.root).read()
    assert states(sweep)[5:7] == ["waiting 1/2 50.00", "running 1/2 50.00"]
    # Epochs took half a second: one is left of seeds 6 and 7, two of seed 8 and of the other cell's trial, on one slot.
    assert (standing.running, standing.eta_seconds) == (True, 3.0)
    lease.release()
    standing = ProgressReader(sweep.root).read()
    assert (standing.running, standing.eta_seconds, standing.counts[ProgressState.WAITING]) == (False, None, 1)
    assert [line.split(": ")[1:3] for line in standing.failures] == [
        ["stopped", "stopped"], ["diverged", "diverged"], ["no memory", "out_of_memory"], ["failed", "failed"]
    ]  # fmt: skip
    assert "1 stale trials" in standing.notes[0]
    assert "epochs.jsonl:1" in standing.notes[1]


def test_the_command_prints_states_and_the_first_line_of_failures(sweep, capsys):
    assert main(["status", str(sweep.root)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "more" not in out
    assert "failed: failed: <script>alert(1)</script>" in " ".join(out.split())


def test_the_page_is_whole_escaped_and_refreshes_itself(sweep, tmp_path, capsys):
    page = tmp_path / "status.html"
    assert main(["status", str(sweep.root), "--html", str(page)]) == 0
    text = page.read_text()
    assert text.endswith("</html>\n") or text.endswith("</html>")
    assert '<meta http-equiv="refresh" content="5">' in text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|@import|\x1b", text)
    for state in ("done", "stopped", "diverged", "no-memory", "failed", "interrupted", "stale", "damaged", "waiting"):
        assert f'<td class="{state}">' in text
    assert main(["status", str(sweep.root), "--html", str(tmp_path / "nowhere" / "x.html")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@needs_chromium
@pytest.mark.timeout(180)
@pytest.mark.slow
def test_the_page_in_a_browser_follows_the_sweep(sweep, tmp_path, make_spec):
    page = tmp_path / "status.html"
    write_page(ProgressReader(sweep.root).read(), page)
    with Browser(tmp_path / "profile") as browser:
        assert "interrupted 1/2 50.00" in browser.read(page.as_uri(), ["interrupted 1/2 50.00"])
        later = threading.Timer(2, lambda: _finish(sweep, make_spec(seed=6), page))
        later.start()
        assert "done 90.00" in browser.read(page.as_uri(), ["done 90.00"])  # by its own refresh


def _finish(store, spec, page) -> None:
    folder = store.folder(spec)
    store.write_epochs(folder, [record(1), replace(record(2), test_macro_f1=0.9)])
    store.write_summary(folder, summary())
    write_page(ProgressReader(store.root).read(), page)


@pytest.mark.slow
def test_watching_ends_with_the_driver(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tunekit.commands.status.REFRESH_SECONDS", 0.1)
    lease = acquire(sweep.root)
    release = threading.Timer(1, lease.release)
    release.start()
    assert main(["status", str(sweep.root), "--watch"]) == 0
    out = capsys.readouterr().out
    assert out.count("driver: running") == 1  # printed again only where something changed
    assert out.count("driver: not running") == 1


@pytest.mark.slow
def test_reading_while_others_write_never_fails(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    store.root.mkdir()
    specs = [make_spec(seed=seed) for seed in range(4)]
    store.add_request({"cells": cells_of(specs)})
    over = threading.Event()

    def work() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            spec = specs[turn % 4]
            folder = store.open_trial(spec, replace(FINGERPRINT, code=str(turn // 40 % 3)))
            store.write_epochs(folder, [record(1)])
            store.write_summary(folder, summary(Status.FAILED, "broke"))
            if turn % 3:
                store.set_summary_aside(folder)

    writer = threading.Thread(target=work)
    writer.start()
    reader, end = ProgressReader(store.root), time.monotonic() + 3
    while time.monotonic() < end:
        assert len(reader.read().trials) == 4
    over.set()
    writer.join()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_store_can_be_read(sweep):
    sweep.root.chmod(0o555)
    assert ProgressReader(sweep.root).read().trials
    sweep.root.chmod(0o755)


def test_time_left_counts_unseen_kinds_with_the_mean_and_running_epochs_from_their_start():
    seen = {("a", "b", "c"): Pace(4.0, 2, 2), ("a", "b", "d"): Pace(6.0, 1), ("x", "b", "c"): Pace(epochs_left=1)}
    running = [(("a", "b", "c"), 0.5), (("x", "b", "c"), 99.0)]
    assert remaining_seconds(seen, 1, running) == 3.5
    assert remaining_seconds(seen, 2, running) == 1.8
    assert remaining_seconds({("x", "b", "c"): Pace(epochs_left=1)}, 1) is None
    assert [clock(59), clock(3661)] == ["0:59", "1:01:01"]
