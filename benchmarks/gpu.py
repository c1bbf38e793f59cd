"""One GPU: steps and packs of ours against Hugging Face's Trainer, floors, and the time that the study would take.

python -m benchmarks gpu --model FOLDER --stages small base --json gpu.json

The stages have time limits of their own, and the file is written each time that one has measured something. All sides
train warm trials on the same rows, one side after the other in turns, and a ratio is of equal precision. Losses are
compared with Trainer's first, with dropout off; where they do not agree there is no ratio. P0 is Trainer as it is. P1
is the fastest of ``peers.GPU_CANDIDATES``, chosen once a model on full fine-tuning in TF32, and then used for all.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.support.floor import floor_of, measured
from benchmarks.support.gpu_compile import compile_kernels, compile_peer
from benchmarks.support.gpu_profile import HOST, profiled
from benchmarks.support.gpu_study import study
from benchmarks.support.harness import Outcome, Ratio, ratio_of
from benchmarks.support.mps import mps, train_by_mps
from benchmarks.support.peers import COMPILED_CANDIDATES, GPU_CANDIDATES, train_peer
from benchmarks.support.small import BASE, write_encoder
from benchmarks.support.stages import Setting, Stage, device_of
from benchmarks.support.trial import BATCH_SIZE, Case, Slice, case_of, train_ours, train_pack
from benchmarks.support.workers import Task, Team
from tunekit.models.catalog import MODELS
from tunekit.models.loading import resolve_model
from tunekit.planning.sizes import shape_of

PRECISIONS = ("fp32", "tf32", "bf16")
STEPS, QUICK_STEPS = 24, 2
"""Batches of a turn."""
WARM_TURNS, REPEATS, QUICK_REPEATS = 3, 5, 2
"""Turns before the first that counts, in which steps are captured, and turns that count."""
CHOICE_REPEATS = 3
QUICK_MODEL = "tiny-bert"
"""Takes the place of both encoders in a quick run."""
AGREE_STEPS, AGREE_ROWS = 20, 8
TOLERANCE: Mapping[str, float] = MappingProxyType({"fp32": 1e-5, "tf32": 5e-3, "bf16": 5e-2})
"""The largest difference of two losses that agree. In TF32 and bf16 both sides round the factors of each product."""
METHODS = ("full", "lora", "adapter")
PACKS = (
    ("small", "lora", 16, "fp32"), ("small", "lora", 16, "tf32"),
    ("base", "lora", 5, "fp32"), ("base", "lora", 5, "bf16"),
    ("small", "adapter", 16, "fp32"), ("small", "adapter", 16, "tf32"),
    ("small", "full", 8, "fp32"), ("small", "full", 8, "tf32"),
)  # fmt: skip
"""Model, method, trials and precision of the packs that are compared with P0's trials one after another."""
QUICK_PACKS = (("small", "lora", 2, "fp32"),)
PROCESSES = ("lora", 16, "tf32")
"""The pack of the small encoder that is compared with as many processes at once."""


@contextmanager
def models_of(setting: Setting, *sizes: str) -> Iterator[dict[str, str]]:
    """Yield the name or folder of each model of ``sizes``. The one of BERT-base's shape is written for the occasion."""
    with tempfile.TemporaryDirectory() as folder:
        models = dict.fromkeys(sizes, QUICK_MODEL if setting.quick else setting.model)
        if "base" in sizes and not setting.quick:
            write_encoder(base := Path(folder) / "base", BASE, setting.model)
            models["base"] = str(base)
        yield models


def one(model: str, method: str, precision: str, setting: Setting, seed: int = 1) -> Case:
    """Return a trial of the benchmark, on a few batches of Restaurant."""
    rows = (QUICK_STEPS if setting.quick else STEPS) * BATCH_SIZE
    return case_of(model, "restaurant", method, rows=rows, seed=seed, precision=precision)


def _name(size: str, setting: Setting) -> str:
    """Return what keys call a model: ``minilm`` for an encoder of MiniLM's shape, whatever its folder is called."""
    if setting.quick:
        return QUICK_MODEL
    if size == "base":
        return "base"
    ref = resolve_model(setting.model)
    return "minilm" if shape_of(ref) == MODELS["minilm"].shape else ref.name


def _steps(setting: Setting) -> int:
    return QUICK_STEPS if setting.quick else STEPS


def _precisions(setting: Setting) -> Sequence[str]:
    return PRECISIONS if device_of(setting) == "cuda" else PRECISIONS[:1]


def _slices(results: Sequence[Any]) -> list[Slice]:
    """Return what each trial gave, of workers that train one trial and of workers that train a pack."""
    return [part for result in results for part in (result if isinstance(result, list) else [result])]


Tasks = Mapping[str, tuple[Task, Sequence[tuple[Any, ...]]]]
"""The task of each side, and the arguments of each of its workers."""


@contextmanager
def held(tasks: Tasks, teams: Mapping[str, Team]) -> Iterator[dict[str, Team]]:
    """Give each side's team its task for the time of the ``with`` block. Yield those teams."""
    for side, (task, arguments) in tasks.items():
        teams[side].hold(task, arguments)
    yield {side: teams[side] for side in tasks}
    for side in tasks:
        teams[side].release()


def speeds_of(teams: Mapping[str, Team], repeats: int) -> dict[str, list[float]]:
    """Return real tokens a second of each team, turn by turn, in the order A B C C B A, after warm turns."""
    for team in teams.values():
        for _ in range(WARM_TURNS):
            team.turn()
    speeds: dict[str, list[float]] = {name: [] for name in teams}
    for repeat in range(repeats):
        for name in list(teams) if repeat % 2 == 0 else reversed(list(teams)):
            turn = teams[name].turn()
            speeds[name].append(float(sum(part.tokens for part in _slices(turn.results)) / turn.seconds))
    return speeds


def disagreement(teams: Mapping[str, Team], model: str, method: str, precision: str, trials: int, device: str) -> float:
    """Return the largest difference between the losses of a pack's first trial and Trainer's, dropout off.

    Both train the same first batches.
    """
    cases = [
        case_of(
            model, "restaurant", method, rows=AGREE_STEPS * AGREE_ROWS, batch_size=AGREE_ROWS, epochs=1, dropout=False,
            precision=precision, seed=seed,
        )
        for seed in range(1, trials + 1)
    ]  # fmt: skip
    tasks: Tasks = {
        "ours": (train_pack, [(cases, device)]),
        "p0": (train_peer, [("p0", cases[0], AGREE_STEPS, device)]),
    }
    with held(tasks, teams) as sides:
        ours, theirs = (_slices(team.turn().results)[0].losses for team in sides.values())
    return float(np.abs(np.subtract(ours, theirs)).max())


def compared(
    key: str, pack: tuple[str, str, int, str], model: str, peers: Mapping[str, str], teams: Mapping[str, Team],
    setting: Setting,
) -> Outcome:  # fmt: skip
    """Return the ratios of a ``pack`` to peers under ``key``, of its step to its floor, and the host's time a step.

    ``pack`` is as in ``PACKS``, and ``peers`` has the peer's name of each other side. Without agreement there is no
    ratio.
    """
    device, steps, (size, method, trials, precision) = device_of(setting), _steps(setting), pack
    difference = disagreement(teams, model, method, precision, trials, device)
    if not difference <= TOLERANCE[precision]:  # a NaN is no agreement either
        return Outcome(figures={f"{key}/no ratio": f"losses differ from Trainer's by {difference:.1e}"})
    cases = [one(model, method, precision, setting, seed) for seed in range(1, trials + 1)]
    tasks: Tasks = {
        "ours": (train_pack, [(cases, device)]),
        **{side: (train_peer, [(peer, cases[0], steps, device)]) for side, peer in peers.items()},
    }
    with held(tasks, teams) as sides:
        speeds = speeds_of(sides, QUICK_REPEATS if setting.quick else REPEATS)
        [profile] = sides["ours"].turn(profiled).results
    # Tokens a second of a pack count all its trials, so that their ratio is that of trials an hour.
    ratios = {f"{key}/{side}": ratio_of(speeds[side], speeds["ours"]) for side in peers}
    reached = measured(precision, device)
    floor, tokens = floor_of(cases, reached)
    seconds = [tokens / speed / steps for speed in speeds["ours"]]
    what = f"{_name(size, setting)}/{method}/{trials}/{precision}"
    ratios[f"floor/{what}"] = ratio_of([floor / steps] * len(seconds), seconds)
    if HOST in profile:
        ratios[f"host/{what}/milliseconds"] = ratio_of([1.0] * len(profile[HOST]), profile[HOST])
    figures = {
        f"{key}/largest difference of losses": difference,
        f"{key}/tokens a second": speeds,
        f"{key}/profile": {
            **profile,
            "ms a step": [1e3 * each for each in seconds],
            "floor ms a step": 1e3 * floor / steps,
            "peak TFLOP/s": reached.flops / 1e12,
            "bandwidth GB/s": reached.bandwidth / 1e9,
        },
    }
    return Outcome(ratios, figures)


def fastest_peer(team: Team, case: Case, setting: Setting) -> tuple[str, dict[str, list[float]]]:
    """Return the name of the fastest of the peers' candidates for P1, and real tokens a second of all of them."""
    device = device_of(setting)
    speeds: dict[str, list[float]] = {}
    for name in GPU_CANDIDATES[:1] if setting.quick else GPU_CANDIDATES:
        with held({name: (train_peer, [(name, case, _steps(setting), device)])}, {name: team}) as sides:
            speeds |= speeds_of(sides, QUICK_REPEATS if setting.quick else CHOICE_REPEATS)
    return max(speeds, key=lambda name: float(np.median(speeds[name]))), speeds


def compilations(setting: Setting) -> Iterator[Outcome]:
    """Yield the seconds that the first epochs of all models, methods and precisions take, side by side.

    They compile the kernels, and what ``torch.compile`` makes for the peers, which later stages find on the disk.
    """
    device, methods = device_of(setting), METHODS[-1:] if setting.quick else METHODS
    with models_of(setting, "small", "base") as models, ExitStack() as stack:
        tasks: dict[str, tuple[Task, tuple[Any, ...]]] = {}
        for size, model in models.items():
            for method, precision in product(methods, _precisions(setting)):
                case = one(model, method, precision, setting)
                tasks[f"{_name(size, setting)}/{method}/{precision}"] = compile_kernels, (case, device)
            for peer in () if setting.quick else COMPILED_CANDIDATES:
                case = one(model, "full", "tf32", setting)
                tasks[f"{_name(size, setting)}/{peer}"] = compile_peer, (peer, case, _steps(setting), device)
        teams = {name: stack.enter_context(Team(1, 1)) for name in tasks}
        for name, (task, arguments) in tasks.items():
            teams[name].hold(task, [arguments])
        for name, team in teams.items():
            yield Outcome(figures={f"compile/{name}": team.turn().results[0]})


def singles(setting: Setting, size: str, methods: Sequence[str]) -> Iterator[Outcome]:
    """Yield the ratios of single trials to P0 and P1, such as ``minilm/restaurant/full/fp32/p0``."""
    device, name = device_of(setting), _name(size, setting)
    with models_of(setting, size) as models, ExitStack() as stack:
        model = models[size]
        teams = {side: stack.enter_context(Team(1, 1)) for side in ("ours", "p0", "p1")}
        chosen_at = "tf32" if device == "cuda" else "fp32"
        fastest, speeds = fastest_peer(teams["p1"], one(model, "full", chosen_at, setting), setting)
        yield Outcome(figures={f"{name}/p1": fastest, f"{name}/candidates for p1, tokens a second": speeds})
        for method, precision in product(methods[-1:] if setting.quick else methods, _precisions(setting)):
            key, peers = f"{name}/restaurant/{method}/{precision}", {"p0": "p0", "p1": fastest}
            yield compared(key, (size, method, 1, precision), model, peers, teams, setting)


def packs(setting: Setting) -> Iterator[Outcome]:
    """Yield trials an hour in a pack over those of P0 one after another, such as ``pack/minilm/lora/16/tf32/p0``."""
    with models_of(setting, "small", "base") as models, Team(1, 1) as ours, Team(1, 1) as p0:
        for pack in QUICK_PACKS if setting.quick else PACKS:
            size, method, trials, precision = pack
            key = f"pack/{_name(size, setting)}/{method}/{trials}/{precision}"
            yield compared(key, pack, models[size], {"p0": "p0"}, {"ours": ours, "p0": p0}, setting)


def processes(setting: Setting) -> Iterator[Outcome]:
    """Yield a pack's trials an hour over those of as many processes at once, each with one trial of ours.

    The processes take turns on the GPU. Where NVIDIA's service for several processes (MPS) is allowed, they run side
    by side once more, under a key that ends in ``mps``.
    """
    device, (method, trials, precision) = device_of(setting), PROCESSES
    trials, precision = (2, "fp32") if setting.quick else (trials, precision)
    key = f"processes/{_name('small', setting)}/{method}/{trials}/{precision}"
    with models_of(setting, "small") as models, Team(1, 1) as packed:
        cases = [one(models["small"], method, precision, setting, seed) for seed in range(1, trials + 1)]
        packed.hold(train_pack, [(cases, device)])

        def outcome(key: str, task: Task, before: tuple[Any, ...] = ()) -> Outcome:
            with Team(trials, 1) as each:
                each.hold(task, [(*before, case, device) for case in cases])
                speeds = speeds_of({"packed": packed, "processes": each}, QUICK_REPEATS if setting.quick else REPEATS)
            ratio: dict[str, Ratio] = {key: ratio_of(speeds["processes"], speeds["packed"])}
            return Outcome(ratio, {f"{key}/tokens a second": speeds})

        yield outcome(key, train_ours)
        with mps() as folder:
            if folder is None:
                yield Outcome(figures={f"{key}/mps": "not here, or not allowed"})
            else:
                yield outcome(f"{key}/mps", train_by_mps, (folder,))


def _study(setting: Setting) -> Iterator[Outcome]:
    with models_of(setting, "base") as models:
        yield from study(setting, models["base"])


STAGES: Mapping[str, Stage] = MappingProxyType(
    {
        "compile": Stage(compilations, 80),
        "small": Stage(partial(singles, size="small", methods=METHODS), 210),
        "packs": Stage(packs, 190),
        "base": Stage(partial(singles, size="base", methods=("full", "lora")), 200),
        "processes": Stage(processes, 80),
        "study": Stage(_study, 200),
    }
)
"""The first three are one call of eight minutes, the others another."""
