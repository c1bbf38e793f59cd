"""What the planner says a trial takes, in time and in memory, against trials in processes of their own and stores.

Time is processor time, so that a busy machine changes it little. Without ``--stores`` the trials of the preset ``demo``
with seed 1 are trained, and small trials of MiniLM and of a 4-layer encoder on other data, with other batches. With
``--stores`` the epochs of stored trials are compared as well, by the clock of the machine that trained them.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.harness import Outcome
from benchmarks.support.small import SMALL, write_encoder
from benchmarks.support.whole_trial import measure
from tunekit.commands.costs import peak_of
from tunekit.data.base import DATASETS
from tunekit.memory import Shape
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef, resolve_model
from tunekit.planning import machine
from tunekit.planning.blocks import expand
from tunekit.planning.estimate import START_SECONDS, Timer, span
from tunekit.planning.presets import GRID_PRESETS
from tunekit.planning.sizes import declared_size, shape_of
from tunekit.planning.speed import ProcessorSpeed
from tunekit.schema import TrialSpec
from tunekit.storage.paths import location
from tunekit.store.frames import Frames
from tunekit.store.result_store import ResultStore


def run(quick: bool, stores: Sequence[Path] = ()) -> Outcome:
    """Return predictions, measurements and their ratios; quick: one trial of a tiny model."""
    with tempfile.TemporaryDirectory() as folder:
        write_encoder(Path(folder), SMALL)
        models = {ref.name: ref for ref in map(resolve_model, ("tiny-bert", "minilm", folder))}
        small = next(name for name in models if name not in MODELS)
        cases = [spec_of("tiny-bert", "demo", "lora", train_limit=64, epochs=1)] if quick else cases_of(small)
        speed = ProcessorSpeed(machine.cpu_flops_per_second())
        nothing = ResultStore(location(folder) / "none").frames()
        timer = timer_for(cases, {name: shape_of(ref) for name, ref in models.items()}, nothing, speed)
        rows = [compared(spec, models[spec.model], timer) for spec in cases]
    figures: dict[str, Any] = {"GFLOP/s of the probe": speed.flops_per_second / 1e9, "trials": rows}
    for what in ("seconds", "peak"):
        errors = np.abs(np.log([row[f"{what} predicted"] / row[f"{what} measured"] for row in rows]))
        figures[f"{what}, factor between prediction and measurement"] = {
            "median": float(np.exp(np.median(errors))), "largest": float(np.exp(errors.max())),
        }  # fmt: skip
    if not quick:
        figures["preset demo"] = whole_demo(timer, rows)
    figures |= {f"store {path.name}": stored_epochs(path, speed) for path in stores}
    return Outcome(figures=figures)


def spec_of(model: str, dataset: str, method: str, **changes: Any) -> TrialSpec:
    """Return a spec of a method's defaults."""
    return TrialSpec(
        **{
            "model": model, "dataset": dataset, "method": method, "method_params": complete_params(method, {}),
            "seed": 1, "learning_rate": METHODS[method].learning_rate, **changes,
        }
    )  # fmt: skip


def demo_specs() -> list[TrialSpec]:
    """Return the trials of the preset ``demo``."""
    return expand(GRID_PRESETS["demo"].blocks, str, str)


def cases_of(small: str) -> list[TrialSpec]:
    """Return the trials that are measured; ``small`` is the name of the 4-layer encoder."""
    cases = [spec for spec in demo_specs() if spec.seed == 1]
    for method in ("full", "lora", "adapter"):
        cases.append(spec_of("minilm", "acl_arc", method, train_limit=128, batch_size=16, epochs=1))
        sealed = spec_of("minilm", "restaurant", method, train_limit=192, batch_size=64, max_length=64, epochs=1)
        cases.append(replace(sealed, score_test=False))
    cases += [spec_of(small, "acl_arc", method, train_limit=256, epochs=2) for method in ("full", "lora")]
    return [*cases, spec_of("minilm", "agnews_7k6", "full", train_limit=96, epochs=1, score_test=False)]


def timer_for(specs: Sequence[TrialSpec], shapes: Mapping[str, Shape], stored: Frames, speed: ProcessorSpeed) -> Timer:
    """Return a timer for ``specs`` of registered data, whose models have ``shapes``."""
    sizes = {name: declared_size(name) for name in dict.fromkeys(spec.dataset for spec in specs)}
    return Timer(sizes, shapes, stored, speed)


def compared(spec: TrialSpec, ref: ModelRef, timer: Timer) -> dict[str, Any]:
    """Train ``spec`` and return what was predicted before and what was measured."""
    timing = timer.trial(spec)
    assert timing is not None, "a speed tells every time"
    peak, _ = peak_of(spec, ref, timer.sizes[spec.dataset], gpu=False)
    found = measure(spec, ref.path or ref.name)
    return {
        "trial": f"{spec.label}, batch {spec.batch_size}, {spec.max_length} tokens at most, {spec.epochs} epochs",
        "seconds predicted": timing.seconds, "seconds measured": found.seconds,
        "peak predicted": peak, "peak of the summary": found.predicted_bytes, "peak measured": found.peak_bytes,
    }  # fmt: skip


def whole_demo(timer: Timer, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how long the preset is said to take here, and how long its trials' processor seconds take."""
    specs = demo_specs()
    timing = timer.run([(spec, spec.epochs) for spec in specs], machine.cores())
    assert timing is not None, "a speed tells every time"
    first = [spec for spec in specs if spec.seed == 1]
    each = {spec.method: row["seconds measured"] for spec, row in zip(first, rows, strict=False)}
    busy = sum(each[spec.method] for spec in specs)
    return {
        "said": span(timing.low, timing.high), "seconds predicted": timing.seconds,
        "seconds of its trials' processor time": START_SECONDS + busy / min(machine.cores(), len(specs)),
    }  # fmt: skip


def stored_epochs(path: Path, speed: ProcessorSpeed) -> list[dict[str, Any]]:
    """Return a row a cell of the sweep in ``path`` whose model and data are registered, of epochs on a processor.

    Each has the seconds of an epoch that are predicted here, and the median of those that are stored.
    """
    store = ResultStore(location(str(path)))
    nothing = ResultStore(location(os.devnull)).frames()
    stored = store.frames(store.cache_folder, write_cache=False)
    rows = []
    for cell, seconds in Timer({}, {}, stored, None, on_gpu=False).cells.items():
        values = json.loads(cell)
        if values["model"] not in MODELS or values["dataset"] not in DATASETS or "settings" in values:
            continue
        spec = TrialSpec.from_dict({**values, "seed": 0})
        timing = timer_for([spec], {spec.model: MODELS[spec.model].shape}, nothing, speed).epoch(spec)
        assert timing is not None, "a speed tells every time"
        row = {"cell": f"{spec.model} {spec.dataset} {spec.method}", "epochs": len(seconds)}
        rows.append({**row, "seconds predicted": timing.seconds, "seconds stored": float(np.median(seconds))})
    return rows
