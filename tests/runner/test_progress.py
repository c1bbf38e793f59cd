"""What a run says of itself: the estimate of what is left, counted as trials come and go."""

import json

import pytest

from tests.helpers import specify
from tests.test_store import FINGERPRINT
from tunekit.plan import Plan, PlannedTrial, State
from tunekit.runner.progress import Progress
from tunekit.schema import Status


@pytest.fixture
def progress():
    """Of four trials of four epochs, one of them at its second."""
    specs = [specify(seed=seed, method=method, epochs=4) for seed in (1, 2) for method in ("lora", "full")]
    trials = [
        PlannedTrial(spec, FINGERPRINT, State.PARTIAL if n == 3 else State.NEW, 2 if n == 3 else 0, None, True)
        for n, spec in enumerate(specs)
    ]
    found = Progress(Plan(tuple(trials), (), ()), {spec.trial_id: spec for spec in specs})
    found.slots = 2
    return found


def report(progress, number, epoch, seconds):
    trial_id = list(progress.pending)[number]
    values = {"train_loss": 0.1, "val_macro_f1": 0.5, "test_macro_f1": 0.5, "epoch_seconds": seconds}
    progress.started(trial_id)
    progress.epoch(trial_id, {"epoch": epoch, **values})


def left(progress):
    """Seconds of work that the estimate counts, what runs right now apart."""
    progress.running.clear()
    return progress.eta_seconds() * progress.slots


def test_the_estimate_counts_what_is_left_by_kind(progress, capsys):
    assert progress.eta_seconds() is None
    report(progress, 0, 1, 10.0)  # lora: 3 + 4 epochs left; full, not seen yet, as long: 4 + 2
    assert left(progress) == pytest.approx(130)
    report(progress, 1, 1, 40.0)  # full: 3 + 2 left
    assert left(progress) == pytest.approx(7 * 10 + 5 * 40)
    report(progress, 1, 2, 20.0)  # a mean of 30
    assert left(progress) == pytest.approx(7 * 10 + 4 * 30)
    report(progress, 1, 1, 30.0)  # a retry went back
    assert left(progress) == pytest.approx(7 * 10 + 5 * 30)
    progress.ended(list(progress.pending)[1], Status.DIVERGED)
    assert left(progress) == pytest.approx(7 * 10 + 2 * 30)
    for number in (0, 2, 3):
        progress.ended(list(progress.pending)[number], Status.COMPLETED)
    assert left(progress) == 0
    assert progress.totals() == {"completed": 3, "failed": 1}
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["epoch"] * 4 + ["trial"] * 4
