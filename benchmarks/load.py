"""Loading and aggregating results: ours from its cache against Ray's ExperimentAnalysis, on the same experiment.

1,000 trials x 10 results are written by a real Ray Tune run and imported as a store. Each side then goes from files to
the mean of each cell's last score; imports of packages are not timed. A store of 10,000 trials is timed alone. Times
are the process's own processor seconds, so that a busy machine changes them little.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.cells import cells
from analysis.foreign.importing import import_experiment
from analysis.foreign.mapping import parse_map
from analysis.sweep_records import read_sweeps
from benchmarks.support.harness import Outcome, interleaved, ratio_of
from tunekit.store.result_store import ResultStore

EPOCHS = 10
SEEDS = 5
MAP = ("model=model", "dataset:=news", "method:=full", "test_score=score")
Means = dict[float, float]


def run(quick: bool) -> Outcome:
    """``load/experiment_analysis``, and the seconds that 10,000 trials take with and without the cache."""
    small, large = (50, 200) if quick else (1_000, 10_000)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        experiment = tune_experiment(work, small)
        store = work / "store"
        import_experiment(experiment, parse_map(MAP), store)
        _agree(our_means(store), ray_means(experiment))
        ours, peer = interleaved(
            lambda: _timed(our_means, store), lambda: _timed(ray_means, experiment), 3 if quick else 7
        )
        figures: dict[str, Any] = {"trials": small, "seconds_ours": ours, "seconds_experiment_analysis": peer}
        big = work / "big"
        copies(store, big, large)
        figures |= {"trials_large": large, "seconds_large_first": _timed(our_means, big)}
        figures["seconds_large"] = [_timed(our_means, big) for _ in range(3 if quick else 5)]
        figures["seconds_large_uncached"] = _timed(lambda root: ResultStore(root).frames(), big)
    return Outcome({"load/experiment_analysis": ratio_of(ours, peer)}, figures)


def tune_experiment(work: Path, num_trials: int) -> Path:
    """A Ray Tune experiment of trials that report ``EPOCHS`` scores each and do nothing else."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    import ray
    from ray import tune

    class Reporter(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.config = config

        def step(self) -> dict[str, Any]:
            config = self.config
            score = config["learning_rate"] * self.iteration + config["seed"] / 1_000
            return {"score": score, "loss": 1 / (self.iteration + 1), "done": self.iteration + 1 == EPOCHS}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.config = new_config
            return True

    rates = [n / (100 * num_trials) for n in range(1, num_trials // SEEDS + 1)]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        tune.Tuner(
            Reporter,
            param_space={
                "model": "encoder",
                "learning_rate": tune.grid_search(rates),
                "seed": tune.grid_search(list(range(SEEDS))),
            },
            run_config=tune.RunConfig(
                name="experiment",
                storage_path=str(work),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
            tune_config=tune.TuneConfig(reuse_actors=True),
        ).fit()
    finally:
        ray.shutdown()
    return work / "experiment"


def our_means(root: Path) -> Means:
    """Mean last score of each cell, by learning rate."""
    found = {cell.settings["learning_rate"]: cell.sample("macro_f1") for cell in cells(read_sweeps([root]))}
    return {float(rate): sample.mean for rate, sample in found.items() if sample}


def ray_means(experiment: Path) -> Means:
    """The same through Ray's own reader, with the curves that it loads."""
    from ray.tune import ExperimentAnalysis

    analysis = ExperimentAnalysis(str(experiment))
    frame = analysis.dataframe()
    means = frame.groupby("config/learning_rate", as_index=False)["score"].mean()
    return dict(zip(means["config/learning_rate"].tolist(), means["score"].tolist(), strict=True))


def copies(store: Path, target: Path, num_trials: int) -> None:
    """A store of ``num_trials`` trials: those of ``store`` again and again under other learning rates."""
    source, sink = ResultStore(store), ResultStore(target)
    trials = source.trials()[0]
    for number in range(num_trials):
        trial = trials[number % len(trials)]
        again, values = number // len(trials), trial.spec.to_dict()
        values["settings"] = {"learning_rate": values["settings"]["learning_rate"] + again}
        spec = type(trial.spec).from_dict(values)
        place = sink.open_trial(spec, trial.fingerprint)
        for name in ("epochs.jsonl", "summary.json"):
            (place / name).write_bytes((trial.folder / name).read_bytes())


def _agree(ours: Means, theirs: Means) -> None:
    """A ratio counts only where both sides found the same. Raises ValueError where they did not."""
    if ours.keys() != theirs.keys() or any(abs(ours[rate] - theirs[rate]) > 1e-12 for rate in ours):
        raise ValueError("the means differ from those of ExperimentAnalysis; no ratio is given")


def _timed(work: Callable[[Path], object], argument: Path) -> float:
    start = time.process_time()
    work(argument)
    return time.process_time() - start
