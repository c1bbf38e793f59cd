"""Run the studies of a search on Ray Tune: a thin Searcher over ask and tell; what ended is read from the store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from tunekit.commands.console import SearchProgress
from tunekit.engine.job import Job
from tunekit.engine.run import end
from tunekit.errors import UserError, first_line
from tunekit.models.loading import ModelRef
from tunekit.planning.resources import Resources, on_gpus, pack_of, room, share_of
from tunekit.runner.callbacks import MAX_FAILURES, RetryCallback, TrackerCallback
from tunekit.runner.launch import experiment_of, job_of, run_config, run_tuner
from tunekit.runner.nodes import REFUSED, Guard
from tunekit.runner.schedulers import PerStudyASHA
from tunekit.runner.session import Session
from tunekit.runner.trainables import SearchTrainable
from tunekit.schema import Status, TrialSpec, slug
from tunekit.search.outcome import ConfigurationOutcome, outcome_of
from tunekit.search.space import shown_params
from tunekit.search.study import STORAGE_ERRORS, Study, Suggestion
from tunekit.storage.lease import Lease, Superseded
from tunekit.store.records import StoredTrial
from tunekit.store.result_store import ResultStore
from tunekit.trackers.feed import Feeds
from tunekit.worker.report import OBJECTIVE

BREAKING = (UserError, OSError, Superseded, *STORAGE_ERRORS)
"""Errors after which no more is suggested: raised inside Tune they would only be logged."""


@dataclass
class Live:
    """A configuration that trains."""

    study: Study
    asked: Suggestion
    curve: list[float] = field(default_factory=list)
    twins: list[Suggestion] = field(default_factory=list)
    """Later suggestions of the same, which end with it."""


class StudySearcher(Searcher):
    """Suggests for the study with the fewest trials, answers repeats from the store, tells each study how trials ended.

    ``bases`` are jobs by study, whose spec gives way; ``record`` is called when a trial has been told.
    """

    def __init__(
        self,
        studies: Sequence[Study],
        bases: Mapping[str, Job],
        scheduler: PerStudyASHA | None,
        progress: SearchProgress,
        record: Callable[[], None],
    ) -> None:
        super().__init__()
        self.studies, self.bases, self.scheduler = studies, bases, scheduler
        self.progress, self.record = progress, record
        self.live: dict[str, Live] = {}
        self.broken: Exception | None = None

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tune pickles itself for a restore that we do not use; the studies are the state."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing, as above."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as above."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next configuration that has to be trained, or FINISHED."""
        try:
            return self._suggest(trial_id)
        except BREAKING as error:
            self.broken = error
            return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Hand on an epoch; one that a retry reports again takes the place of the former."""
        live = self.live[trial_id]
        if OBJECTIVE not in result or self.broken:
            return
        live.curve[result["epoch"] - 1 :] = [result[OBJECTIVE]]
        self.progress.epoch(live.study.plan.key, live.asked.number, result)
        try:
            live.study.report(live.asked, live.curve)
        except BREAKING as error:
            self.broken = error

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Settle what the trial left and tell the study; also for repeats that waited for it."""
        live = self.live.pop(trial_id)
        if result and REFUSED in result:
            return  # the run ends, and the next one takes the trial up
        reason = (
            f"it broke off {MAX_FAILURES + 1} times in a row without a new epoch"
            if error
            else "stopped by the scheduler"
        )
        try:
            for spec in live.asked.specs:
                stored = self._stored(live.study, spec)
                if stored is None or stored.summary is None:
                    end(self._job(live.study, spec), Status.FAILED if error else Status.STOPPED, reason)
            for number, asked in enumerate([live.asked, *live.twins]):
                self._tell(live.study, asked, self._outcome(live.study, asked), trained=number == 0)
        except BREAKING as problem:
            self.broken = problem

    def _suggest(self, trial_id: str) -> dict[str, Any] | str:
        while self.broken is None:
            wanting = [study for study in self.studies if study.has_trials_left]
            if not wanting:
                break
            study = min(wanting, key=lambda one: one.num_suggested)
            asked = study.ask()
            params = shown_params(asked.trial.params)
            self.progress.started(study.plan.key, asked.number, params)
            twin = next((live for live in self.live.values() if live.asked.specs == asked.specs), None)
            if twin:
                twin.twins.append(asked)
                continue
            outcome = self._outcome(study, asked)
            if outcome:
                repeated = self._tell(study, asked, outcome, trained=False)
                if self.scheduler and not repeated:  # a former driver trained it and did not come to tell
                    self.scheduler.remember(study.plan.key, asked.number, dict(enumerate(outcome.curve, 1)))
                continue
            self.live[trial_id] = Live(study, asked)
            specs = [spec.to_dict() for spec in asked.specs]
            return {"trial": {"study": study.plan.key, "number": asked.number, "params": params, "specs": specs}}
        return Searcher.FINISHED

    def _job(self, study: Study, spec: TrialSpec) -> Job:
        return replace(self.bases[study.plan.key], spec=spec)

    def _stored(self, study: Study, spec: TrialSpec) -> StoredTrial | None:
        """What the store holds of ``spec`` by the code and data at hand."""
        store = ResultStore(self.bases[study.plan.key].sweep)
        folder = store.claim_folder(spec, study.plan.fingerprint)
        return store.read(folder) if (folder / "spec.json").exists() else None

    def _outcome(self, study: Study, asked: Suggestion) -> ConfigurationOutcome | None:
        return outcome_of([self._stored(study, spec) for spec in asked.specs], study.plan.objectives)

    def _tell(self, study: Study, asked: Suggestion, outcome: ConfigurationOutcome, *, trained: bool) -> bool:
        repeated = study.tell(asked, outcome)
        self.record()
        self.progress.ended(study.plan.key, asked.number, outcome, trained=trained)
        return repeated


def run_search(
    studies: Sequence[Study],
    models: Mapping[str, ModelRef],
    store: ResultStore,
    resources: Resources,
    progress: SearchProgress,
    lease: Lease,
    record: Callable[[], None],
    track: Sequence[str] = (),
) -> None:
    """Run ``studies`` until each has its trials; ``track`` names trackers. The caller holds the lease.

    Raises Stopped where a signal ended it, and what broke it off: UserError (also where nodes can't train for this
    driver), Superseded, or OSError, also where the studies' storage failed.
    """
    searchers: list[StudySearcher] = []

    def make(session: Session, guard: Guard) -> tune.Tuner:
        gpu = on_gpus(session.nodes)
        bases = {
            plan.key: job_of(plan.spec, plan.fingerprint, models, store, lease, resources, gpu=gpu)
            for plan in (study.plan for study in studies)
        }
        experiment = experiment_of(store, lease)
        slots = room(session.nodes, resources)
        progress.begin(slots=slots, dashboard=session.dashboard, storage=store.root, experiment=experiment)
        scheduler = PerStudyASHA(studies) if studies[0].plan.scheduler == "asha" else None
        searchers.append(StudySearcher(studies, bases, scheduler, progress, record))
        pack, metric = pack_of(session.nodes, resources), studies[0].plan.objectives[0].name
        # A configuration brings a trial for each search seed. Without packs its seeds train one after another.
        capacity = pack * len(studies[0].plan.seeds) if pack > 1 else 1
        trainable = tune.with_parameters(
            SearchTrainable, bases=bases, metric=metric, capacity=capacity, driver=guard.driver
        )
        return tune.Tuner(
            tune.with_resources(trainable, share_of(session.nodes, resources)),
            tune_config=tune.TuneConfig(
                search_alg=searchers[0],
                scheduler=scheduler,
                num_samples=sum(study.plan.planned for study in studies),
                max_concurrent_trials=slots,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=run_config(
                experiment, guard, [RetryCallback(store, progress.note), TrackerCallback(store, feeds)]
            ),
        )

    with Feeds(track, store, progress.note) as feeds:
        run_tuner(make, resources, progress, lease)
    broken = searchers[0].broken if searchers else None
    if isinstance(broken, STORAGE_ERRORS):
        raise OSError(f"the studies' storage failed: {first_line(broken)}") from broken
    if broken:
        raise broken


def _name(trial: tune.experiment.Trial) -> str:
    values = trial.config["trial"]
    return f"{slug(values['study'])}-{values['number']}"
