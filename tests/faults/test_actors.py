"""An actor that dies or raises when Tune hands it the next trial: the trial is tried again, and it is said."""

import os
import signal

import pytest
from ray import tune
from ray.tune.stopper import NoopStopper

from tests.support.trials import specify
from tunekit.runner import session
from tunekit.runner.callbacks import RetryCallback
from tunekit.runner.launch import run_config
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(240)]
DIES, RAISES = 2, 3
"""Seeds of the trials that the actor before does not get to begin."""


class Reused(tune.Trainable):
    """One epoch a trial; the first time, two of them go wrong while the actor is handed over."""

    def setup(self, config, folder):
        self.folder = folder

    def reset_config(self, new_config):
        seed = new_config["trial"]["seed"]
        mark = self.folder / f"reset-{seed}"
        if seed in (DIES, RAISES) and not mark.exists():
            mark.touch()
            if seed == DIES:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("no room for a folder")
        return True

    def step(self):
        return {"epoch": 1, "done": True}


def test_an_actor_that_fails_before_it_has_begun_its_next_trial_costs_no_trial(tmp_path, figures):
    store, notes = ResultStore(tmp_path / "sweep"), []
    specs = [specify(seed=seed) for seed in (1, DIES, RAISES, 4)]
    running = session.connect()
    try:
        found = tune.Tuner(
            tune.with_resources(tune.with_parameters(Reused, folder=tmp_path), {"cpu": 1}),
            param_space={"trial": tune.grid_search([{"trial_id": one.trial_id, **one.to_dict()} for one in specs])},
            tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
            run_config=run_config(tmp_path / "ray" / "run", NoopStopper(), [RetryCallback(store, notes.append)]),
        ).fit()
    finally:
        session.disconnect(running)
    assert sorted(path.name for path in tmp_path.glob("reset-*")) == [f"reset-{DIES}", f"reset-{RAISES}"]
    assert [result.error for result in found] == [None] * 4
    assert [result.metrics["epoch"] for result in found] == [1] * 4
    for spec in specs:
        log = store.folder(spec) / "log.txt"
        assert (log.exists() and log.read_text().count("broke off")) == (spec.seed in (DIES, RAISES))
    assert len(notes) == 2
    figures("an actor fails between two trials", faults=2, missing=0, **{"reason not said": 0})
