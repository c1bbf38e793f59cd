"""The ETA against its definition, over random histories of a run."""

import random

import pytest

from tests.support.trials import fingerprint, specify
from tunekit.commands.console import Progress
from tunekit.planning.plan import make_plan
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore

SECONDS = {"lora": 3.0, "full": 8.0}


@pytest.mark.parametrize("draw", [random.Random(seed) for seed in range(5)])
def test_the_eta_is_the_mean_of_each_kind_times_its_epochs_left(draw, tmp_path):
    specs = [specify(method=method, seed=seed, epochs=4) for seed in range(4) for method in SECONDS]
    plan = make_plan(specs, {spec.trial_id: fingerprint(spec) for spec in specs}, ResultStore(tmp_path))
    progress = Progress(plan, {spec.trial_id: spec for spec in specs}, at_a_time=2)
    assert progress.eta_seconds() is None
    waiting, done = list(specs), {spec.trial_id: 0 for spec in specs}
    while waiting:
        spec = draw.choice(waiting)
        # A retry may go back to an earlier checkpoint; a scheduler may end a trial early.
        done[spec.trial_id] = draw.choice([max(1, done[spec.trial_id]), done[spec.trial_id] + 1])
        result = {"epoch": done[spec.trial_id], "epoch_seconds": SECONDS[spec.method], "test_macro_f1": 0.5}
        progress.epoch(spec.trial_id, result | {"train_loss": 1.0, "val_macro_f1": 0.5})
        if done[spec.trial_id] == 4 or draw.random() < 0.1:
            progress.ended(spec.trial_id, Status.COMPLETED)
            waiting.remove(spec)
        progress.running.clear()  # what has passed of epochs under way is not counted here
        mean = {kind: k.seconds / k.num_epochs for (_, _, kind), k in progress.paces.items() if k.num_epochs}
        assert all(mean[method] == SECONDS[method] for method in mean)
        overall = sum(mean.values()) / len(mean)
        left = sum(mean.get(one.method, overall) * (4 - done[one.trial_id]) for one in waiting)
        assert progress.eta_seconds() == pytest.approx(left / 2, abs=0.06)
