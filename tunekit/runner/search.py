"""Run the studies of a search on Ray Tune. A searcher asks the studies and tells them outcomes from the store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from tunekit.engine.end_trial import end_trial
from tunekit.engine.job import Job
from tunekit.errors import UserError, first_line
from tunekit.models.loading import ModelRef
from tunekit.planning.resources import Resources, on_gpus, pack_of, room, share_of
from tunekit.runner.callbacks import MAX_FAILURES, RetryCallback, TrackerCallback
from tunekit.runner.launch import experiment_of, job_of, run_config, run_tuner
from tunekit.runner.nodes import REFUSED, Guard
from tunekit.runner.progress import SearchProgress
from tunekit.runner.schedulers import PerStudyASHA
from tunekit.runner.session import RayStart, Session
from tunekit.runner.trainables import SearchTrainable
from tunekit.schema import Status, TrialSpec, slug
from tunekit.search.outcome import ConfigurationOutcome, outcome_of
from tunekit.search.space import shown_params
from tunekit.search.study import STORAGE_ERRORS, Study, Suggestion
from tunekit.storage.lease import Lease, Superseded
from tunekit.store.records import StoredTrial
from tunekit.store.result_store import ResultStore
from tunekit.store.trial_files import SPEC_FILE
from tunekit.trackers.feed import Feeds
from tunekit.worker.report import OBJECTIVE

ENDING_ERRORS = (UserError, OSError, Superseded, *STORAGE_ERRORS)
"""Errors that end a search. Raised inside Tune they would only be logged, so they are kept and raised afterwards."""


@dataclass
class Training:
    """A configuration that trains."""

    study: Study
    asked: Suggestion
    curve: list[float] = field(default_factory=list)
    """The objective after each epoch so far."""
    repeats: list[Suggestion] = field(default_factory=list)
    """Later suggestions of the same configuration, which get the same outcome."""


class StudySearcher(Searcher):
    """Asks the study with the fewest trials for the next configuration, and tells each study how its trials ended.

    A configuration whose outcome the store holds is not trained again. ``bases`` has a job for each study, whose spec
    is replaced by the specs of a configuration. ``record`` is called after a study has been told an outcome.
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
        self.training: dict[str, Training] = {}
        """The configurations that train, by Tune's trial id."""
        self.broken: Exception | None = None
        """The error that ended the search."""

    def __getstate__(self) -> dict[str, object]:
        """Return nothing: Tune pickles the searcher for a restore that we do not use. The studies hold the state."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def suggest(self, trial_id: str) -> Any:
        """Return the next configuration that has to be trained, or FINISHED."""
        try:
            return self._suggest(trial_id)
        except ENDING_ERRORS as error:
            self.broken = error
            return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an epoch to its study. An epoch that a retry reports again replaces the former one."""
        training = self.training[trial_id]
        if OBJECTIVE not in result or self.broken:
            return
        training.curve[result["epoch"] - 1 :] = [result[OBJECTIVE]]
        self.progress.epoch(training.study.plan.key, training.asked.number, result)
        try:
            training.study.report(training.asked, training.curve)
        except ENDING_ERRORS as error:
            self.broken = error

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Write the summaries that are missing, and tell the study the outcome, also of repeated suggestions."""
        training = self.training.pop(trial_id)
        if result and REFUSED in result:
            return  # the run ends, and the next run trains this configuration
        reason = (
            f"it broke off {MAX_FAILURES + 1} times in a row without a new epoch"
            if error
            else "stopped by the scheduler"
        )
        try:
            for spec in training.asked.specs:
                stored = self._stored(training.study, spec)
                if stored is None or stored.summary is None:
                    end_trial(self._job(training.study, spec), Status.FAILED if error else Status.STOPPED, reason)
            for number, asked in enumerate([training.asked, *training.repeats]):
                outcome = self._outcome(training.study, asked)
                if outcome is None:
                    raise OSError(f"a summary of {asked.specs[0].label} is missing, which has just been written")
                self._tell(training.study, asked, outcome, trained=number == 0)
        except ENDING_ERRORS as problem:
            self.broken = problem

    def _suggest(self, trial_id: str) -> Any:
        while self.broken is None:
            wanting = [study for study in self.studies if study.has_trials_left]
            if not wanting:
                break
            study = min(wanting, key=lambda one: one.num_suggested)
            asked = study.ask()
            params = shown_params(asked.trial.params)
            self.progress.started(study.plan.key, asked.number, params)
            same = next((one for one in self.training.values() if one.asked.specs == asked.specs), None)
            if same:
                same.repeats.append(asked)
                continue
            outcome = self._outcome(study, asked)
            if outcome:
                repeated = self._tell(study, asked, outcome, trained=False)
                # An earlier driver trained this configuration, but was killed before it told the study.
                if self.scheduler and not repeated:
                    self.scheduler.remember(study.plan.key, asked.number, dict(enumerate(outcome.curve, 1)))
                continue
            self.training[trial_id] = Training(study, asked)
            specs = [spec.to_dict() for spec in asked.specs]
            return {"trial": {"study": study.plan.key, "number": asked.number, "params": params, "specs": specs}}
        return Searcher.FINISHED

    def _job(self, study: Study, spec: TrialSpec) -> Job:
        return replace(self.bases[study.plan.key], spec=spec)

    def _stored(self, study: Study, spec: TrialSpec) -> StoredTrial | None:
        """Return what the store holds of ``spec`` under the present code and data; None if it holds nothing."""
        store = ResultStore(self.bases[study.plan.key].sweep)
        folder = store.claim_folder(spec, study.plan.fingerprint)
        return store.read(folder) if (folder / SPEC_FILE).exists() else None

    def _outcome(self, study: Study, asked: Suggestion) -> ConfigurationOutcome | None:
        return outcome_of([self._stored(study, spec) for spec in asked.specs], study.plan.objectives)

    def _tell(self, study: Study, asked: Suggestion, outcome: ConfigurationOutcome, *, trained: bool) -> bool:
        """Tell the study an outcome. Return whether the study has had this configuration before."""
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
    ray_start: RayStart | None = None,
) -> None:
    """Run ``studies`` until each has its number of trials.

    ``record`` is called after a study has been told an outcome, and ``track`` names trackers. The caller holds the
    lease, and may have begun to start Ray. Raises Stopped if a signal ended the search, UserError if its input is wrong
    or the nodes can't train for this driver, Superseded if another driver has taken over, and OSError if the store or
    the studies' storage failed.
    """
    searchers: list[StudySearcher] = []

    def make(session: Session, guard: Guard) -> tune.Tuner:
        gpu = on_gpus(session.nodes)
        bases = {
            plan.key: job_of(plan.spec, plan.fingerprint, models, store, lease, resources, gpu=gpu)
            for plan in (study.plan for study in studies)
        }
        experiment = experiment_of(store, lease)
        at_a_time = room(session.nodes, resources)
        progress.begin(at_a_time=at_a_time, dashboard=session.dashboard, storage=store.root, experiment=experiment)
        scheduler = PerStudyASHA(studies) if studies[0].plan.scheduler == "asha" else None
        searchers.append(StudySearcher(studies, bases, scheduler, progress, record))
        pack = pack_of(session.nodes, resources)
        metrics = {study.plan.key: study.plan.metric for study in studies}
        # A configuration brings a trial for each search seed. Without packs its seeds train one after another.
        num_places = pack * len(studies[0].plan.seeds) if pack > 1 else 1
        trainable = tune.with_parameters(
            SearchTrainable, bases=bases, metrics=metrics, num_places=num_places, driver=guard.driver
        )
        return tune.Tuner(
            tune.with_resources(trainable, share_of(session.nodes, resources)),
            tune_config=tune.TuneConfig(
                search_alg=searchers[0],
                scheduler=scheduler,
                num_samples=sum(study.plan.planned for study in studies),
                max_concurrent_trials=at_a_time,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=run_config(
                experiment, guard, [RetryCallback(store, progress.note), TrackerCallback(store, feeds)]
            ),
        )

    with Feeds(track, store, progress.note) as feeds:
        run_tuner(make, resources, progress, lease, ray_start)
    broken = searchers[0].broken if searchers else None
    if isinstance(broken, STORAGE_ERRORS):
        raise OSError(f"the studies' storage failed: {first_line(broken)}") from broken
    if broken:
        raise broken


def _name(trial: Trial) -> str:
    values = trial.config["trial"]
    return f"{slug(values['study'])}-{values['number']}"
