"""What running a trial costs beside training it: empty trials, through our runner and through Ray Tune alone.

Our side is the grid's own path with nothing to compute (``support/empty.py``). Tune's trials report as many results and
write nothing but Tune's own files. All runs share one Ray. A cost is the time from the end of one trial to the end of
the next, so that it holds nothing that is paid once a run, such as the start of actors.

Measured too are the processor seconds of the commands that train nothing (``support/answers.py``), and those from the
command to the first epoch (``support/first_epoch.py``).
"""

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import ray
from ray import tune

from benchmarks.support import answers, first_epoch
from benchmarks.support.empty import Ends, run_empty, specs_of
from benchmarks.support.harness import Outcome, ratio_of

RESULTS = 10
CORES = 2


class EmptyTune(tune.Trainable):
    """A trial that reports results and does nothing else."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the number of results to report."""
        self.results = config["results"]

    def step(self) -> dict[str, Any]:
        """Report one result."""
        return {"epoch": self.iteration + 1, "done": self.iteration + 1 >= self.results}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self.results = new_config["results"]
        return True


Run = Callable[[int, int], Ends]
"""A run takes the number of trials and the number of results of each trial, and returns when the trials ended."""


class Watch(tune.Callback):
    """A callback that notes when trials end."""

    def __init__(self) -> None:
        self.ends: Ends = []

    def __getstate__(self) -> dict[str, object]:
        """Return nothing: Tune pickles its callbacks for a restore, which is not used."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: object) -> None:
        """Note that a trial ended."""
        self.ends.append(time.perf_counter())


def ours(num_trials: int, results: int) -> Ends:
    """Run a grid of empty trials of ours and return when they ended."""
    with tempfile.TemporaryDirectory() as folder:
        return run_empty(specs_of(num_trials, results), Path(folder) / "sweep").ends


def tuner(num_trials: int, results: int, *, reuse: bool) -> Ends:
    """Run empty trials of Ray Tune and return when they ended."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            EmptyTune,
            param_space={"results": results, "trial": tune.grid_search(list(range(num_trials)))},
            tune_config=tune.TuneConfig(reuse_actors=reuse),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[watch],
            ),
        ).fit()
    return watch.ends


def pace(ends: Ends) -> float:
    """Return the milliseconds from trial to trial over the second half of a run, when all actors have started."""
    late = ends[len(ends) // 2 :]
    return 1000 * (late[-1] - late[0]) / (len(late) - 1)


def run(quick: bool) -> Outcome:
    """Return ratios of milliseconds a trial and a result, such as ``overhead/trial/tune_reuse``, and all figures."""
    many, total, few, repeats = (12, 12, 8, 1) if quick else (200, 1_000, 20, 5)
    sides: dict[str, Run] = {"ours": ours, "tune_reuse": lambda trials, results: tuner(trials, results, reuse=True)}
    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        trial: dict[str, list[float]] = {side: [] for side in sides}
        result: dict[str, list[float]] = {side: [] for side in sides}
        for repeat in range(repeats):
            for side in list(sides) if repeat % 2 == 0 else reversed(sides):
                one, ten = (pace(sides[side](many, results)) for results in (1, RESULTS))
                trial[side].append(one)
                result[side].append((ten - one) / (RESULTS - 1))
        whole = {side: pace(found(total, RESULTS)) for side, found in sides.items()}
        default = pace(tuner(few, 1, reuse=False))
    finally:
        ray.shutdown()
    figures: dict[str, Any] = {
        "trials": many,
        "ms a trial of one result": trial,
        "ms a further result": result,
        f"ms a trial of {RESULTS} results, {total} trials": whole,
        f"ms a trial of one result, tune_default, {few} trials": default,
        "processor seconds of commands that train nothing": answers.measure(1 if quick else 5),
        "processor seconds from the command to the first epoch": first_epoch.measure(1 if quick else 3),
        "ours less tune_reuse, median": {
            f"ms a {name}": median(np.subtract(found["ours"], found["tune_reuse"]).tolist())
            for name, found in (("trial", trial), ("result", result))
        },
    }
    ratios = {
        "overhead/trial/tune_reuse": ratio_of(trial["ours"], trial["tune_reuse"]),
        "overhead/trial/tune_default": ratio_of(trial["ours"], [default] * repeats),
        "overhead/result/tune_reuse": ratio_of(result["ours"], result["tune_reuse"]),
    }
    return Outcome(ratios, figures)
