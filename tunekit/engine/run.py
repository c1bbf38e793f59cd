"""One trial from start to summary: build, resume, train epoch by epoch, record. Knows nothing of Ray."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from io import BytesIO

import numpy as np
import pandas as pd
import torch

from tunekit.engine import checkpoint
from tunekit.engine import kept_weights as kept
from tunekit.engine import memory as memory_peak
from tunekit.engine.build import build_model, check_device, prepare_splits
from tunekit.engine.forward.patching import layers_of
from tunekit.engine.job import Job
from tunekit.engine.memory import predicted_peak
from tunekit.engine.summary import Built, best_epoch, summarise
from tunekit.engine.train import Diverged, LabelledSplit, Member, Pack, TrainedEpoch
from tunekit.engine.watchdog import beat
from tunekit.memory import ADAMW_STATES
from tunekit.memory.graph import FP32
from tunekit.methods.base import count_parameters
from tunekit.planning.batching import restrictions
from tunekit.schema import EpochRecord, Status, TrialSummary
from tunekit.seeding import stream_seed
from tunekit.storage.files import remove_tree
from tunekit.storage.lease import check_current
from tunekit.store.records import read_predictions
from tunekit.store.result_store import PREDICTION_ROWS, ResultStore
from tunekit.tasks import Task, task_of

_NO_ROWS = pd.DataFrame({"epoch": pd.Series(dtype="int64")})
TRAIN_SCORE_ROWS = 1_000
CHECKPOINT_SPACING = 20
"""A checkpoint is written when this many times its write time has passed since the last."""
USUAL_BYTES_PER_SECOND = 5e8
"""How fast checkpoints are thought to be written and hashed until the first of a process is."""


def _be_deterministic(device: torch.device, threads: int) -> None:
    """Make equal specs give equal bits: a fixed number of threads and, on CUDA, kernels without atomics."""
    torch.set_num_threads(threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


class TrialRun:
    """A trial in progress. ``train_epoch`` until ``done``; then ``finish``. Errors leave all that was recorded."""

    def __init__(self, job: Job, log: Callable[[str], None]) -> None:
        self.job, self.spec, self.store = job, job.spec, ResultStore(job.sweep)
        self.task: Task = task_of(job.spec.dataset)
        self.device = torch.device(job.device)
        check_current(job.sweep, job.start)
        for plugin in job.plugins:
            plugin.activate()
        check_device({job.spec.precision}, gpu=self.device.type == "cuda")
        _be_deterministic(self.device, job.threads)
        memory_peak.reset_peak(self.device)
        self.folder = self.store.open_trial(job.spec, job.fingerprint)
        prepared = prepare_splits(job.spec, job.fingerprint, job.model, self.store.data_folder)
        self.data, self.splits = prepared.data, prepared.splits
        used = memory_peak.used_bytes(self.device)
        model = build_model(job.spec, job.model, prepared)
        self.member = Member(job.spec, model, self.splits["train"], self.device, micro_batches=job.micro_batches)
        layers_of(self.member.model).register_forward_pre_hook(beat)
        self.pack = Pack([self.member])
        trainable, total = count_parameters(self.member.model)
        execution = {
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            "threads": job.threads,
            "pack_size": 1,
            "micro_batches": job.micro_batches,
            "attention": self._attention(),
            "precision": job.spec.precision,
        }
        self.built = Built(trainable, total, self._predicted(used), execution)
        for line in restrictions(model.config.model_type, job.spec.method):
            log(line)
        self.records: list[EpochRecord] = []
        self.steps, self.predictions = _NO_ROWS, _NO_ROWS
        self.earlier = self._stored()
        self.write_seconds = FP32 * (1 + ADAMW_STATES) * trainable / USUAL_BYTES_PER_SECOND
        self.last_checkpoint = time.monotonic()
        self._resume(log)
        if job.micro_batches > 1:
            # Other parts, other rounding and dropout: no epoch of a former pass may stand among those from here on.
            records, *frames = self.earlier
            passed = len(self.records)
            self.earlier = (records[:passed], *(frame[frame["epoch"] <= passed] for frame in frames))
        log(f"{job.spec.label}: epoch {len(self.records) + 1} of {job.spec.epochs} begins, {self.built.execution}")

    def _attention(self) -> str:
        """How attention is computed: the library's own on padded batches, ours step by step, or SDPA."""
        context = self.member.context
        return "padded" if context.padded else "explicit" if context.sites.has_pairs else "sdpa"

    def _predicted(self, used: int) -> int | None:
        """Peak bytes by the closed form, with those ``used`` before the model was built; None where it has none."""
        config = self.member.model.config.to_dict()
        num_labels, gpu = len(self.data.label_names), self.device.type == "cuda"
        peak = predicted_peak(self.spec, config, self.splits, num_labels, gpu=gpu)
        return None if peak is None else used + peak

    @property
    def done(self) -> bool:
        """Whether all epochs are recorded."""
        return len(self.records) >= self.spec.epochs

    def _resume(self, log: Callable[[str], None]) -> None:
        """Go on from the newest valid checkpoint, with exactly the history up to it."""
        found, refused = checkpoint.newest_valid(self.folder / "checkpoint")
        for line in refused:
            log(line)
        recorded = self.earlier[0]
        if found is None:
            if recorded:
                log(f"no checkpoint to go on from; {_again(recorded)}")
            return
        steps, predictions = (frame[frame["epoch"] <= found.epoch] for frame in self.earlier[1:])
        if len(steps) != found.step or (self.scored and predictions["epoch"].max() != found.epoch):
            log(f"what stands beside the checkpoint is damaged; starting from the first epoch; {_again(recorded)}")
            return
        checkpoint.restore(found, self.member.model, self.member.optimizer)
        self.member.step = found.step
        self.records = [EpochRecord.from_dict(row) for row in found.history]
        self.steps, self.predictions = steps, predictions
        log(f"going on after epoch {found.epoch} of {self.spec.epochs}; {_again(recorded[found.epoch :])}")

    def _stored(self) -> tuple[list[EpochRecord], pd.DataFrame, pd.DataFrame]:
        """Epochs, steps and predictions that an earlier run left; a file that can't be read counts as none."""
        steps = predictions = _NO_ROWS
        try:
            steps = pd.read_csv(BytesIO((self.folder / "steps.csv").read_bytes())).astype({"epoch": int})
            predictions = read_predictions(self.folder).astype({"epoch": int})
        except (OSError, ValueError, KeyError):
            pass  # what is missing is trained again
        return self.store.read(self.folder).epochs, steps, predictions

    @property
    def scored(self) -> list[str]:
        """Splits that are scored after each epoch."""
        return [name for name in ("val", "test") if name in self.splits and (name == "val" or self.spec.score_test)]

    def train_epoch(self) -> EpochRecord:
        """Train, score and record the next epoch. Raises Diverged; OSError where the store can't be written."""
        start = time.perf_counter()
        trained = self.pack.train_epoch()[0]
        found = {split: self.pack.predict(self.splits[split])[0] for split in self.scored}
        return self.record(trained, found, time.perf_counter() - start)

    def packed(self, size: int) -> None:
        """Note the largest pack that the trial has trained in."""
        self.built.execution["pack_size"] = max(size, self.built.execution["pack_size"])

    def record(self, trained: TrainedEpoch, logits: Mapping[str, np.ndarray], seconds: float) -> EpochRecord:
        """Record an epoch that took ``seconds``: what its training measured, and (N, C) logits of each scored split.

        Raises Diverged; OSError where the store can't be written.
        """
        epoch = len(self.records) + 1
        if not np.isfinite(trained.losses).all():
            bad = int(np.flatnonzero(~np.isfinite(trained.losses))[0])
            step = self.member.step - len(trained.losses) + bad + 1
            raise Diverged(f"the training loss became {trained.losses[bad]} at step {step} (epoch {epoch})")
        measured: dict[str, float | None] = dict.fromkeys(self.task.score_names)
        for split, found in logits.items():
            values = self._scores(self.splits[split], found)
            measured |= {f"{split}_{name}": value for name, value in values.items()}
        frames = [self._prediction_rows(split, epoch, found) for split, found in logits.items()]
        earlier = [r.best_val_macro_f1 for r in self.records if r.best_val_macro_f1 is not None]
        now = measured["val_macro_f1"]
        best = None if now is None else max([now, *earlier])
        record = EpochRecord(
            epoch=epoch,
            step=self.member.step,
            train_loss=trained.train_loss,
            **measured,
            best_val_macro_f1=best,
            learning_rate=trained.learning_rates[-1],
            epoch_seconds=seconds,
            train_tokens_per_second=trained.num_tokens / trained.seconds,
            peak_memory_bytes=memory_peak.peak_bytes(self.device),
        )
        self._record(record, trained, frames)
        return record

    def _scores(self, split: LabelledSplit, logits: np.ndarray) -> dict[str, float]:
        """Return the task's scores of the logits (N, C) of one split. Raises Diverged where one is not finite."""
        values = self.task.scores(split.labels, logits)
        for name, value in values.items():
            if not np.isfinite(value):
                raise Diverged(f"the {self.task.metric(name).label} of a scored split became {value}")
        return values

    def _prediction_rows(self, split: str, epoch: int, logits: np.ndarray) -> pd.DataFrame:
        rows = self.data.splits[split]
        return pd.DataFrame(
            {
                "split": split,
                "epoch": epoch,
                "item_id": rows["item_id"].to_numpy(),
                "group_id": rows["group"].to_numpy(),
                "gold": rows["label"].to_numpy(np.int32),
                "predicted": self.task.predicted(logits),
                "logits": list(logits.astype(np.float16)),
            }
        )

    def _record(self, record: EpochRecord, trained: TrainedEpoch, frames: list[pd.DataFrame]) -> None:
        """Write what the epoch left: side files, then a checkpoint if one is due, then the record that commits it."""
        check_current(self.job.sweep, self.job.start)
        self.records.append(record)
        first = record.step - len(trained.losses) + 1
        new = pd.DataFrame(
            {
                "epoch": record.epoch,
                "step": range(first, record.step + 1),
                "train_loss": trained.losses,
                "learning_rate": trained.learning_rates,
            }
        )
        self.steps = _join(self.steps, new)
        self.predictions = _join(self.predictions, *frames)
        if len(self.predictions) > PREDICTION_ROWS:
            self.predictions = self.predictions[
                self.predictions["epoch"].isin({record.epoch, best_epoch(self.records, self.task)})
            ]
        # Until a resumed run has passed them, epochs recorded before stay on disk: nothing recorded is ever lost.
        epochs, steps, predictions = self.earlier
        self.store.write_steps(self.folder, _join(self.steps, steps[steps["epoch"] > record.epoch]))
        predictions = _join(self.predictions, predictions[predictions["epoch"] > record.epoch])
        if len(predictions):
            self.store.write_predictions(self.folder, predictions)
        keep, identity = self.job.keep_models, kept.identity_of(self.spec, self.job.fingerprint)
        # Before the checkpoint, for what goes on after this epoch does not come back to it.
        if kept.is_kept(keep, self.records, self.spec):
            kept.keep_weights(self.folder, self.member.model, record.epoch, identity)
        if not self.done and time.monotonic() - self.last_checkpoint >= CHECKPOINT_SPACING * self.write_seconds:
            self.save()
        self.store.write_epochs(self.folder, self.records + epochs[record.epoch :])
        kept.drop_others(self.folder, keep, self.records, self.spec)

    def save(self) -> None:
        """A checkpoint of where it stands, at an epoch's end. Raises OSError."""
        started, history = time.monotonic(), [asdict(item) for item in self.records]
        self.store.wait_for_disk(self.folder)
        one, folder = self.member, self.folder / "checkpoint"
        checkpoint.save_checkpoint(folder, one.model, one.optimizer, step=one.step, history=history)
        self.last_checkpoint = time.monotonic()
        self.write_seconds = self.last_checkpoint - started

    def finish(self) -> TrialSummary:
        """Score the fixed part of train, write the summary, drop the checkpoints. Raises Diverged."""
        train = self.splits["train"]
        generator = np.random.default_rng(stream_seed(self.spec.data_seed, "train part"))
        part = train.subset(np.sort(generator.permutation(len(train))[:TRAIN_SCORE_ROWS]))
        train_scores = self._scores(part, self.pack.predict(part)[0])
        summary = summarise(self.records, Status.COMPLETED, task=self.task, built=self.built, train_scores=train_scores)
        check_current(self.job.sweep, self.job.start)
        self.store.write_summary(self.folder, summary)
        remove_tree(self.folder / "checkpoint")
        kept.drop_others(self.folder, self.job.keep_models, self.records, self.spec)
        return summary

    def fail(self, status: Status, error: str) -> TrialSummary:
        """Write the summary of a trial that can't go on; its records stay."""
        check_current(self.job.sweep, self.job.start)
        summary = summarise(self.records, status, task=self.task, built=self.built, error=error)
        self.store.write_summary(self.folder, summary)
        remove_tree(self.folder / "checkpoint")
        kept.drop_others(self.folder, self.job.keep_models, self.records, self.spec)
        return summary


def end(job: Job, status: Status, error: str) -> TrialSummary:
    """Write the summary of a trial that did not complete, from what its folder holds. Raises Superseded, OSError.

    A failed one keeps its checkpoints, from which --retry-failed goes on.
    """
    check_current(job.sweep, job.start)
    store = ResultStore(job.sweep)
    folder = store.open_trial(job.spec, job.fingerprint)
    records = store.read(folder).epochs
    summary = summarise(records, status, task=task_of(job.spec.dataset), built=None, error=error)
    store.write_summary(folder, summary)
    if status is not Status.FAILED:
        remove_tree(folder / "checkpoint")
    kept.drop_others(folder, job.keep_models, records, job.spec)
    return summary


def _again(records: list[EpochRecord]) -> str:
    """What an attempt that broke off costs."""
    seconds = sum(record.epoch_seconds for record in records)
    return f"{len(records)} recorded epochs ({seconds:.1f} s) are trained again"


def _join(*frames: pd.DataFrame) -> pd.DataFrame:
    """The rows of all frames; empty ones, which have no types, left out."""
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept, ignore_index=True) if kept else _NO_ROWS
