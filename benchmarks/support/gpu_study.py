"""What the study's 75 trials would take on one device: computed from timed epochs of each cell's pack, not run whole.

Each cell of the shape (3 datasets x 3 methods, 5 seeds as one pack) trains two epochs as a grid on a GPU does: steps,
scores, records, predictions and checkpoints in a store. The first epoch has the captures in it, and it is recorded
while the second one trains. A cell takes its first epoch and ten times its second: nine epochs, and the record of the
last one, which takes no longer. The study has three encoders for full fine-tuning and one for each other method.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any

from benchmarks.support.harness import Outcome, Ratio
from benchmarks.support.stages import Setting, device_of
from tunekit.engine.job import Job
from tunekit.planning.args import GridArgs
from tunekit.planning.blocks import Block
from tunekit.planning.plan import plan_sweep
from tunekit.planning.resolve import ResolvedSweep, resolve_blocks
from tunekit.storage.lease import acquire
from tunekit.store.result_store import ResultStore
from tunekit.worker.attempt import Attempt
from tunekit.worker.pack_trainer import PackTrainer

STUDY = Block(
    models=("minilm",),
    datasets=("acl_arc", "restaurant", "agnews_7k6"),
    methods=("full", "adapter", "lora"),
    seeds=(1, 2, 3, 4, 5),
    precision="tf32",
)
QUICK = Block(models=("tiny-bert",), datasets=("demo",), methods=("lora",), seeds=(1, 2), epochs=10, train_limit=64)
ENCODERS: Mapping[str, int] = MappingProxyType({"full": 3, "adapter": 1, "lora": 1})
"""How many encoders the study trains with each method."""
TIMED_EPOCHS = 2


def study(setting: Setting, model: str) -> Iterator[Outcome]:
    """Yield the seconds of each cell, and at last ``study/75/tf32/minutes``; ``model`` has BERT-base's shape."""
    block = QUICK if setting.quick else replace(STUDY, models=(model,))
    device, minutes = device_of(setting), 0.0
    with tempfile.TemporaryDirectory() as folder:
        sweep = resolve_blocks(GridArgs(), [block], "study-shape", None)
        store = ResultStore(Path(folder) / sweep.name)
        lease = acquire(store.root)
        try:
            for jobs in jobs_by_cell(sweep, store, lease.start, device):
                pack_trainer, attempts = PackTrainer(len(jobs)), [Attempt(job) for job in jobs]
                seconds: list[float] = []
                for _ in range(TIMED_EPOCHS):
                    start = perf_counter()
                    errors = [error for error in pack_trainer.advance(attempts).values() if error]
                    if errors:
                        raise errors[0]
                    seconds.append(perf_counter() - start)
                for attempt in attempts:
                    attempt.unload()
                spec = jobs[0].spec
                minutes += ENCODERS[spec.method] * (seconds[0] + spec.epochs * seconds[1]) / 60
                figures: dict[str, Any] = {f"study/{spec.dataset}/{spec.method}/seconds an epoch": seconds}
                yield Outcome(figures=figures)
        finally:
            lease.release()
    # One computed figure: it has no repeats, and so no interval.
    yield Outcome({f"study/75/{block.precision or 'fp32'}/minutes": Ratio(minutes, minutes, minutes)})


def jobs_by_cell(sweep: ResolvedSweep, store: ResultStore, start: int, device: str) -> list[list[Job]]:
    """Return the jobs of what is missing in ``store``, those of a cell together; ``start`` is the lease's number."""
    cells: dict[str, list[Job]] = defaultdict(list)
    for trial in plan_sweep(sweep, store).pending(retry_failed=False):
        ref = sweep.models[trial.spec.model]
        job = Job(trial.spec, trial.fingerprint, ref, store.root, start, 1, device, runs_ahead=True)
        cells[trial.spec.cell].append(job)
    return list(cells.values())
