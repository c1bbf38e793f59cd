"""One trial from start to summary: it is built, resumed, trained epoch by epoch, and recorded. No Ray.

``TrialRun`` takes a ``Job`` and writes the trial's folder in the store (``tunekit.store.result_store``).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from tunekit.engine import checkpoint
from tunekit.engine.buffers import Trained
from tunekit.engine.build import build_model, prepare_splits
from tunekit.engine.determinism import be_deterministic
from tunekit.engine.job import Job
from tunekit.engine.kept_weights import identity_of, keeps_weights, remove_superseded_weights, write_weights
from tunekit.engine.losses import class_weights
from tunekit.engine.member import Member
from tunekit.engine.memory import peak_bytes, predicted_peak, reset_peak, used_bytes
from tunekit.engine.precision import check_device
from tunekit.engine.recording import Recording, read_recording
from tunekit.engine.scoring import ScoredEpoch, recording_of, scores_of
from tunekit.engine.summary import BuildFacts, best_epoch, is_complete, summarise
from tunekit.engine.train import Pack, TrainedEpoch
from tunekit.memory import ADAMW_STATES
from tunekit.memory.graph import FP32
from tunekit.methods.base import count_parameters
from tunekit.planning.batching import host_batches, restrictions
from tunekit.schema import SCHEMA_VERSION, EpochRecord, Scalar, Status, TrialSummary
from tunekit.seeding import stream_seed
from tunekit.storage.files import remove_tree
from tunekit.storage.lease import check_current
from tunekit.store.epoch_records import TaskEpochRecord, epoch_record
from tunekit.store.result_store import PREDICTION_ROWS, ResultStore
from tunekit.tasks import Task, task_of

TRAIN_SCORE_ROWS = 1_000
"""The most training examples that are scored at the end of a trial."""
CHECKPOINT_SPACING = 20
"""A checkpoint is written when this many times its write time has passed since the one before.

Where one process writes the checkpoints of K trials one after another, each trial waits K times as long."""
MOST_COPIED_BYTES = 64 * 2**20
"""The most bytes of weights and moments that are copied, so that their checkpoint is written while training goes on.

A GPU's pack has at most 32 trials, so that copies take at most 2 GiB of the host's memory."""
USUAL_BYTES_PER_SECOND = 5e8
"""The speed at which checkpoints are assumed to be written and hashed, until a process has written its first."""


class TrialRun:
    """A trial in progress: call ``train_epoch`` until ``done``, then ``finish``.

    What was recorded stays in the store, whatever error a call raises.
    """

    def __init__(self, job: Job, log: Callable[[str], None]) -> None:
        """Build the trial of ``job`` and go on from its newest valid checkpoint; ``log`` is given lines for people.

        Raises UserError where the model, the data or the method can't be had, and Superseded where a later start of
        the driver owns the sweep.
        """
        self.job, self.spec, self.store = job, job.spec, ResultStore(job.sweep)
        self.task: Task = task_of(job.spec.dataset)
        self.device = torch.device(job.device)
        check_current(job.sweep, job.start)
        for plugin in job.plugins:
            plugin.activate()
        check_device({job.spec.precision}, gpu=self.device.type == "cuda")
        be_deterministic(self.device, job.threads)
        reset_peak(self.device)
        self.folder = self.store.open_trial(job.spec, job.fingerprint)
        prepared = prepare_splits(job.spec, job.fingerprint, job.model, self.store.data_folder)
        self.data, self.splits, self.constants = prepared.data, prepared.splits, prepared.constants
        self.cut_line = prepared.cut_line(job.spec)
        used = used_bytes(self.device)
        model = build_model(job.spec, job.model, prepared)
        train = self.splits["train"]
        weights = class_weights(job.spec, train.labels, self.data.label_names)
        self.member = Member(
            job.spec, model, train, self.device, micro_batches=job.micro_batches, class_weights=weights
        )
        self.pack = Pack([self.member], log)
        trainable, total = count_parameters(self.member.model)
        execution: dict[str, Scalar | None] = {
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            "threads": job.threads,
            "pack_size": 1,
            "micro_batches": job.micro_batches,
            "attention": self.member.attention,
            "precision": job.spec.precision,
        }
        self.facts = BuildFacts(trainable, total, self._predicted(used), execution)
        kind, method = model.config.model_type, job.spec.method
        on_gpu = host_batches(kind, method) if self.device.type == "cuda" else None
        for line in [*restrictions(kind, method), *([on_gpu] if on_gpu else [])]:
            log(line)
        self.recorded = Recording()
        self.earlier = read_recording(self.store, self.folder)
        self.write_seconds = FP32 * (1 + ADAMW_STATES) * trainable / USUAL_BYTES_PER_SECOND
        self.last_checkpoint = time.monotonic()
        self.trials_in_process = 1
        """How many trials this process trains, as a pack or by turns, this one included."""
        self._resume(log)
        if job.micro_batches > 1:
            # Other parts mean other rounding and dropout, so that no epoch that an earlier run recorded may stand
            # among those from here on.
            self.earlier = self.earlier.until(len(self.records))
        log(f"{job.spec.label}: epoch {len(self.records) + 1} of {job.spec.epochs} begins, {self.facts.execution}")

    def _predicted(self, used: int) -> int | None:
        """Return peak bytes by the closed form, plus the bytes ``used`` before; None without a closed form."""
        config = self.member.model.config.to_dict()
        num_labels, gpu = len(self.data.label_names), self.device.type == "cuda"
        peak = predicted_peak(self.spec, config, self.splits, num_labels, gpu=gpu)
        return None if peak is None else used + peak

    @property
    def records(self) -> list[EpochRecord]:
        """The records of all epochs, including those before the checkpoint that the run went on from."""
        return self.recorded.epochs

    @property
    def done(self) -> bool:
        """Whether all epochs are recorded, or patience has ended the trial."""
        return is_complete(self.records, self.spec)

    def _resume(self, log: Callable[[str], None]) -> None:
        """Go on from the newest valid checkpoint, with exactly the history up to it."""
        found, refused = checkpoint.newest_valid(self.folder / "checkpoint")
        for line in refused:
            log(line)
        recorded = self.earlier.epochs
        if found is None:
            if recorded:
                log(f"no checkpoint to go on from; {_again(recorded)}")
            return
        passed = self.earlier.until(found.epoch)
        if len(passed.steps) != found.step or (self.scored and passed.predictions["epoch"].max() != found.epoch):
            log(f"what stands beside the checkpoint is damaged; starting from the first epoch; {_again(recorded)}")
            return
        checkpoint.restore(found, self.member.trained)
        self.member.step = found.step
        epochs = [epoch_record({"schema_version": SCHEMA_VERSION, **row}) for row in found.history]
        self.recorded = Recording(epochs, passed.steps, passed.predictions)
        last = epochs[-1]
        self.constants = dict(last.constants) if isinstance(last, TaskEpochRecord) else self.constants
        log(f"going on after epoch {found.epoch} of {self.spec.epochs}; {_again(recorded[found.epoch :])}")

    @property
    def scored(self) -> list[str]:
        """The names of the splits that are scored after each epoch."""
        return [name for name in ("val", "test") if name in self.splits and (name == "val" or self.spec.score_test)]

    def train_epoch(self) -> EpochRecord:
        """Train, score and record the next epoch, and return its record.

        Raises Diverged, and OSError where the store can't be written.
        """
        return self.record(self.train())

    def train(self) -> ScoredEpoch:
        """Train and score the next epoch, and record nothing of it."""
        start = time.perf_counter()
        trained = self.pack.train_epoch()[0]
        logits = {split: self.pack.predict(self.splits[split])[0] for split in self.scored}
        return self.scored_epoch(trained, logits, time.perf_counter() - start)

    def scored_epoch(self, trained: TrainedEpoch, logits: Mapping[str, Any], seconds: float) -> ScoredEpoch:
        """Return the epoch that the trial, alone or in a pack, has just trained."""
        return ScoredEpoch(trained, logits, self.member.step, seconds, peak_bytes(self.device))

    @property
    def pack_size(self) -> int:
        """The number of trials in the largest pack that the trial has trained in."""
        return int(self.facts.execution["pack_size"] or 1)

    def join_pack(self, size: int) -> None:
        """Note that the trial trains in a pack of ``size`` trials, and free what it trained alone with."""
        self.pack.free_steps()
        self.facts.execution["pack_size"] = max(size, self.pack_size)

    @property
    def must_wait(self) -> bool:
        """Whether the epoch trained last must be recorded before the next one begins and changes the weights.

        It must after the last epoch, where the best or all epochs' weights are kept for export, and where a checkpoint
        is due that is too large for a copy on the host.
        """
        if self.member.epochs_left == 0 or self.job.keep_models in ("best", "all"):
            return True
        return self._checkpoint_is_due and self.member.state_bytes > MOST_COPIED_BYTES

    @property
    def _checkpoint_is_due(self) -> bool:
        """Whether a checkpoint is due after the epoch trained last."""
        # Trials that record while training goes on write side by side, so that one write time serves them all.
        beside = self.job.runs_ahead and self.job.keep_models not in ("best", "all")
        share = 1 if beside and self.member.state_bytes <= MOST_COPIED_BYTES else self.trials_in_process
        waited = time.monotonic() - self.last_checkpoint
        return self.member.epochs_left > 0 and waited >= CHECKPOINT_SPACING * self.write_seconds * share

    def record(self, scored: ScoredEpoch) -> EpochRecord:
        """Record the epoch trained last, and return its record.

        Raises Diverged, and OSError where the store can't be written.
        """
        return self._record(scored, self.member.trained if self._checkpoint_is_due else None)

    def recorder(self, scored: ScoredEpoch) -> Callable[[], EpochRecord]:
        """Return a function that does what ``record`` does, and may run in another thread while the trial trains on.

        It is not for an epoch that ``must_wait``.
        """
        return partial(self._record, scored, self.member.state_on_host() if self._checkpoint_is_due else None)

    def _record(self, scored: ScoredEpoch, state: Mapping[str, Trained] | None) -> EpochRecord:
        """Record ``scored``, with a checkpoint of ``state``, if there is one."""
        newest, self.constants = recording_of(scored, self.records, self.data, self.task, self.constants)
        self._write(newest, state)
        return newest.epochs[0]

    def _write(self, newest: Recording, state: Mapping[str, Trained] | None) -> None:
        """Write what the ``newest`` epoch left: side files, weights, a checkpoint, then the record that commits it."""
        check_current(self.job.sweep, self.job.start)
        recorded = self.recorded.then(newest)
        records, epoch = recorded.epochs, len(recorded.epochs)
        if len(recorded.predictions) > PREDICTION_ROWS:
            recorded = recorded.with_predictions_of({epoch, best_epoch(records, self.task)})
        whole = recorded.then(self.earlier.after(epoch))
        self.store.write_steps(self.folder, whole.steps)
        if len(whole.predictions):
            self.store.write_predictions(self.folder, whole.predictions)
        # Before the checkpoint: a run that goes on from the checkpoint does not train this epoch again.
        if keeps_weights(self.job.keep_models, records, self.spec):
            write_weights(self.folder, self.member.model, epoch, identity_of(self.spec, self.job.fingerprint))
        if state is not None:
            self.save(records, state)
        self.store.write_epochs(self.folder, whole.epochs)
        self.recorded = recorded
        remove_superseded_weights(self.folder, self.job.keep_models, records, self.spec)

    def save(self, records: Sequence[EpochRecord], state: Mapping[str, Trained]) -> None:
        """Write a checkpoint of ``state``, the state after the last of ``records``. Raises OSError."""
        started, step = time.monotonic(), len(records) * self.member.steps_per_epoch
        history = [item.row() for item in records]
        self.store.wait_for_disk(self.folder)
        checkpoint.save_checkpoint(self.folder / "checkpoint", state, step=step, history=history)
        self.last_checkpoint = time.monotonic()
        self.write_seconds = self.last_checkpoint - started

    def finish(self) -> TrialSummary:
        """Score a fixed part of train, write the summary and return it; the checkpoints are removed.

        Raises Diverged, and OSError where the store can't be written.
        """
        train = self.splits["train"]
        generator = np.random.default_rng(stream_seed(self.spec.data_seed, "train part"))
        part = np.sort(generator.permutation(len(train))[:TRAIN_SCORE_ROWS])
        outputs = self.task.outputs(self.pack.predict(train.subset(part))[0], self.constants)
        examples, names = self.data.splits["train"].iloc[part], self.data.label_names
        train_scores = scores_of(examples, outputs, names, self.task, self.constants)
        summary = summarise(self.records, Status.COMPLETED, task=self.task, facts=self.facts, train_scores=train_scores)
        return self._end(summary)

    def fail(self, status: Status, error: str) -> TrialSummary:
        """Write the summary of a trial that can't go on and return it; what was recorded stays."""
        return self._end(summarise(self.records, status, task=self.task, facts=self.facts, error=error))

    def _end(self, summary: TrialSummary) -> TrialSummary:
        check_current(self.job.sweep, self.job.start)
        self.store.write_summary(self.folder, summary)
        remove_tree(self.folder / "checkpoint")
        remove_superseded_weights(self.folder, self.job.keep_models, self.records, self.spec)
        return summary


def _again(records: Sequence[EpochRecord]) -> str:
    """Return a clause for people on the epochs of ``records``, which no checkpoint followed."""
    seconds = sum(record.epoch_seconds or 0.0 for record in records)
    return f"{len(records)} recorded epochs ({seconds:.1f} s) are trained again"
