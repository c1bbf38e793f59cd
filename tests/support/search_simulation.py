"""A search without Ray and training: Tune's loop in ten lines, and records as a made-up trainer would leave them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from tests.support.records import record, record_of_task
from tests.support.trials import fingerprint, specify
from tunekit.commands.console import SearchProgress
from tunekit.engine.job import Job
from tunekit.engine.summary import BuildFacts, summarise
from tunekit.models.loading import resolve_model
from tunekit.runner.schedulers import PerStudyASHA
from tunekit.runner.search import StudySearcher
from tunekit.schema import Direction, Status, TrialSpec
from tunekit.search.optuna_storage import open_storage
from tunekit.search.outcome import objectives_on
from tunekit.search.space import Space, first_trial
from tunekit.search.study import Study
from tunekit.search.study_plan import StudyPlan
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import SearchStudy
from tunekit.tasks import task_of
from tunekit.worker.report import OBJECTIVE

NAN_ABOVE = 4e-3
"""A learning rate at which the made-up training diverges at once."""


def plan_for(
    method: str = "lora", dataset: str = "demo", *, space: Space | None = None, trials: int = 8, **changes: Any
) -> StudyPlan:
    """A plan of tiny trials."""
    spec = specify(method=method, dataset=dataset, seed=1001, epochs=4, score_test=False)
    first = first_trial(spec, space or {})
    fields = {
        "spec": spec, "fingerprint": fingerprint(spec), "space": space or {}, "default": first.params,
        "distributions": first.distributions, "objectives": objectives_on(spec.dataset, None), "sampler": "tpe",
        "sampler_seed": 3, "scheduler": "none", "seeds": (1001,), "planned": trials,
    }  # fmt: skip
    return StudyPlan(**{**fields, **changes})


def score_of(spec: TrialSpec, epoch: int) -> float:
    """A smooth made-up score, best at a learning rate of 1e-3 and r of 16; it grows with epochs and differs by seed."""
    away = abs(math.log10(spec.learning_rate / 1e-3)) + abs(math.log2(spec.method_params.get("r", 16) / 16)) / 8
    return (0.8 - 0.2 * away + 0.001 * (spec.seed % 7)) * (1 - 0.5**epoch)


def scores_of(spec: TrialSpec, epoch: int) -> dict[str, float]:
    """Every made-up score on validation: ``score_of``, and for a score of which less is better what it lacks to 1."""
    score = score_of(spec, epoch)
    return {
        f"val_{metric.name}": score if metric.direction is Direction.MAX else 1 - score
        for metric in task_of(spec.dataset).metrics
    }


class Killed(BaseException):
    """The driver is gone, as by SIGKILL: nothing after it runs."""


@dataclass
class Simulation:
    """Runs a search in ``root`` as Tune would, ``slots`` trials at a time; ``tick`` is called at every step that a kill
    could follow, and may raise ``Killed``."""

    root: Path
    plans: Sequence[StudyPlan]
    slots: int = 1
    tick: Callable[[], None] = lambda: None
    trained: list[tuple[str, int]] = field(default_factory=list)
    """(trial_id, epoch) of every epoch that was really trained."""

    def run(self) -> list[SearchStudy]:
        """Start the driver: go on to the end, or to where ``tick`` kills it."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.store = ResultStore(self.root)
        storage = self._ticking(open_storage(None, self.root))
        studies = [Study(plan, storage, "sweep") for plan in self.plans]
        for study in studies:
            study.requeue_interrupted()
        self.bases = {plan.key: self._job(plan) for plan in self.plans}
        self.metrics = {plan.key: plan.metric for plan in self.plans}
        scheduler = PerStudyASHA(studies) if self.plans[0].scheduler == "asha" else None
        searcher = StudySearcher(studies, self.bases, scheduler, SearchProgress(studies), lambda: None)
        running: dict[str, Any] = {}
        number = 0
        finished = False
        while running or not finished:
            while len(running) < self.slots and not finished:
                number += 1
                config = searcher.suggest(f"tune-{number}")
                finished = config == "FINISHED"
                if not finished:
                    trial = SimpleNamespace(trial_id=f"tune-{number}", config=config)
                    running[trial.trial_id] = (trial, self._training(config["trial"]))
                    if scheduler:
                        scheduler.on_trial_add(None, trial)
            for trial_id, (trial, training) in list(running.items()):
                result = next(training)
                if self._ended(searcher, scheduler, trial, result):
                    del running[trial_id]
        assert searcher.broken is None
        return [study.summary() for study in studies]

    def _ended(self, searcher: StudySearcher, scheduler: PerStudyASHA | None, trial: Any, result: Mapping) -> bool:
        stop = result["done"] or (scheduler and scheduler.on_trial_result(None, trial, result) == "STOP")
        if not stop:
            searcher.on_trial_result(trial.trial_id, result)
            return False
        if scheduler:
            scheduler.on_trial_complete(None, trial, result)
        searcher.on_trial_complete(trial.trial_id, result)
        return True

    def _training(self, trial: Mapping[str, Any]) -> Any:
        """Results by epoch, as SearchTrainable's, with the records that they leave."""
        specs = [TrialSpec.from_dict(values) for values in trial["specs"]]
        metric, best = self.metrics[trial["study"]], []
        for epoch in range(1, specs[0].epochs + 1):
            scores = []
            for spec in specs:
                folder = self.store.open_trial(spec, self.bases[trial["study"]].fingerprint)
                stored = self.store.read(folder)
                if len(stored.epochs) < epoch:
                    if spec.learning_rate > NAN_ABOVE:
                        self._end(folder, Status.DIVERGED)
                        yield {"epoch": epoch, "done": True, "status": "diverged"}
                        return
                    self.trained.append((spec.trial_id, epoch))
                    self._write(folder, spec, stored.epochs, epoch)
                if epoch == spec.epochs and not (folder / "summary.json").exists():
                    self._end(folder, Status.COMPLETED)
                scores.append(scores_of(spec, epoch)[f"val_{metric.name}"])
                self.tick()
            best.append(sum(scores) / len(scores))
            yield {"epoch": epoch, OBJECTIVE: metric.best(best), "done": epoch == specs[0].epochs, "status": "running"}

    def _write(self, folder: Path, spec: TrialSpec, earlier: list, epoch: int) -> None:
        scores = scores_of(spec, epoch)
        if task_of(spec.dataset).name == "classification":
            made = replace(record(epoch), val_macro_f1=scores["val_macro_f1"], val_accuracy=scores["val_accuracy"])
        else:
            made = record_of_task(epoch, task_of(spec.dataset), scores)
        self.store.write_epochs(folder, [*earlier, made])
        gold = [0, 1, 2] * 20
        items = {"split": "val", "epoch": epoch, "group_id": [str(n) for n in range(60)], "gold": gold}
        frame = pd.DataFrame({**items, "predicted": [0, 1, 1] * 20, "logits": [[0.0] * 3] * 60})
        known = [pd.read_parquet(folder / "predictions.parquet")] if epoch > 1 else []
        self.store.write_predictions(folder, pd.concat([*known, frame], ignore_index=True))
        self.tick()

    def _end(self, folder: Path, status: Status) -> None:
        stored = self.store.read(folder)
        facts = BuildFacts(int(stored.spec.method_params.get("r", 1000)), 10_000, None, {})
        self.store.write_summary(
            folder, summarise(stored.epochs, status, task=task_of(stored.spec.dataset), facts=facts)
        )
        self.tick()

    def _job(self, plan: StudyPlan) -> Job:
        return Job(plan.spec, plan.fingerprint, resolve_model(plan.spec.model), self.root, 0, 1)

    def _ticking(self, storage: Any) -> Any:
        """``storage``, ticking before and after everything it writes."""
        backend = storage._backend
        append = backend.append_logs

        def ticking(logs: list) -> None:
            self.tick()
            append(logs)
            self.tick()

        backend.append_logs = ticking
        return storage
