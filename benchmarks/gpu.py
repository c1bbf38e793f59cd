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

from benchmarks.support.floor import floor_seconds, measured
from benchmarks.support.gpu_compile import compile_kernels, compile_peer
from benchmarks.support.gpu_profile import profile_ours
from benchmarks.support.gpu_study import study
from benchmarks.support.harness import Outcome, ratio_of
from benchmarks.support.peers import COMPILED_CANDIDATES, GPU_CANDIDATES, train_peer
from benchmarks.support.small import BASE, write_encoder
from benchmarks.support.stages import Setting, Stage, device_of
from benchmarks.support.trial import BATCH_SIZE, Case, Slice, case_of, model_of, prepared_of, train_ours, train_pack
from benchmarks.support.workers import Task, Team
from tunekit.methods.base import count_parameters
from tunekit.models.shapes import Shape
from tunekit.planning.sizes import texts_of
from tunekit.planning.work import training_parts

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
    ("small", "adapter", 16, "fp32"), ("small", "adapter", 16, "tf32"),
    ("small", "full", 8, "fp32"), ("small", "full", 8, "tf32"),
    ("base", "lora", 5, "bf16"),
)  # fmt: skip
"""Model, method, trials and precision of the packs that are compared with P0's trials one after another."""
FLOORS = (
    ("base", "lora", 5, "fp32"), ("base", "lora", 5, "bf16"),
    ("small", "lora", 16, "fp32"), ("small", "lora", 16, "tf32"),
)  # fmt: skip
"""The packs that are held against the floor of their step."""
QUICK_PACKS = (("small", "lora", 2, "fp32"),)
PROCESSES = ("lora", 16, "tf32")
"""The pack of the small encoder that is compared with as many processes at once."""


@contextmanager
def models_of(setting: Setting) -> Iterator[dict[str, str]]:
    """Yield each model's name or folder by its size. The one of BERT-base's shape is written for the occasion."""
    with tempfile.TemporaryDirectory() as folder:
        if setting.quick:
            yield {"small": QUICK_MODEL, "base": QUICK_MODEL}
        else:
            write_encoder(base := Path(folder) / "base", BASE, setting.model)
            yield {"small": setting.model, "base": str(base)}


def one(model: str, method: str, precision: str, setting: Setting, seed: int = 1) -> Case:
    """Return a trial of the benchmark, on a few batches of Restaurant."""
    rows = (QUICK_STEPS if setting.quick else STEPS) * BATCH_SIZE
    return case_of(model, "restaurant", method, rows=rows, seed=seed, precision=precision)


def _name(size: str, setting: Setting) -> str:
    if setting.quick:
        return QUICK_MODEL
    return "base" if size == "base" else Path(setting.model).name


def _steps(setting: Setting) -> int:
    return QUICK_STEPS if setting.quick else STEPS


def _precisions(setting: Setting) -> Sequence[str]:
    return PRECISIONS if device_of(setting) == "cuda" else PRECISIONS[:1]


def _slices(results: Sequence[Any]) -> list[Slice]:
    """Return what each trial gave, of workers that train one trial and of workers that train a pack."""
    return [part for result in results for part in (result if isinstance(result, list) else [result])]


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


def compared(
    tasks: Mapping[str, tuple[Task, Sequence[tuple[Any, ...]]]], teams: Mapping[str, Team], repeats: int
) -> dict[str, list[float]]:
    """Return real tokens a second of each side, turn by turn. ``tasks`` holds each side's task and arguments."""
    for side, (task, arguments) in tasks.items():
        teams[side].hold(task, arguments)
    speeds = speeds_of({side: teams[side] for side in tasks}, repeats)
    for side in tasks:
        teams[side].release()
    return speeds


def disagreement(teams: Mapping[str, Team], model: str, method: str, precision: str, device: str) -> float:
    """Return the largest difference between our losses and Trainer's over the same first batches, dropout off."""
    case = case_of(
        model, "restaurant", method, rows=AGREE_STEPS * AGREE_ROWS, batch_size=AGREE_ROWS, epochs=1, dropout=False,
        precision=precision,
    )  # fmt: skip
    teams["ours"].hold(train_ours, [(case, device)])
    teams["p0"].hold(train_peer, [("p0", case, AGREE_STEPS, device)])
    losses = [teams[side].turn().results[0].losses for side in ("ours", "p0")]
    for side in ("ours", "p0"):
        teams[side].release()
    return float(np.abs(np.subtract(*losses)).max())


def fastest_peer(team: Team, case: Case, setting: Setting) -> tuple[str, dict[str, list[float]]]:
    """Return the name of the fastest of the peers' candidates for P1, and real tokens a second of all of them."""
    device = device_of(setting)
    speeds: dict[str, list[float]] = {}
    for name in GPU_CANDIDATES[:1] if setting.quick else GPU_CANDIDATES:
        task = (train_peer, [(name, case, _steps(setting), device)])
        speeds |= compared({name: task}, {name: team}, QUICK_REPEATS if setting.quick else CHOICE_REPEATS)
    return max(speeds, key=lambda name: float(np.median(speeds[name]))), speeds


def compilations(setting: Setting) -> Iterator[Outcome]:
    """Yield the seconds that the first epochs of all models, methods and precisions take, side by side.

    They compile the kernels, and what ``torch.compile`` makes for the peers, which later stages find on the disk.
    """
    device, methods = device_of(setting), METHODS[-1:] if setting.quick else METHODS
    with models_of(setting) as models, ExitStack() as stack:
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
    device, name, steps = device_of(setting), _name(size, setting), _steps(setting)
    with models_of(setting) as models, ExitStack() as stack:
        model = models[size]
        teams = {side: stack.enter_context(Team(1, 1)) for side in ("ours", "p0", "p1")}
        chosen_at = "tf32" if device == "cuda" else "fp32"
        fastest, speeds = fastest_peer(teams["p1"], one(model, "full", chosen_at, setting), setting)
        yield Outcome(figures={f"{name}/p1": fastest, f"{name}/candidates for p1, tokens a second": speeds})
        for method in methods[-1:] if setting.quick else methods:
            for precision in _precisions(setting):
                key = f"{name}/restaurant/{method}/{precision}"
                difference = disagreement(teams, model, method, precision, device)
                figures: dict[str, Any] = {f"{key}/largest difference of losses": difference}
                if not difference <= TOLERANCE[precision]:
                    yield Outcome(figures=figures | {f"{key}/no ratio": "losses differ from Trainer's"})
                    continue
                case = one(model, method, precision, setting)
                tasks: dict[str, tuple[Task, Sequence[tuple[Any, ...]]]] = {
                    "ours": (train_ours, [(case, device)]),
                    "p0": (train_peer, [("p0", case, steps, device)]),
                    "p1": (train_peer, [(fastest, case, steps, device)]),
                }
                speeds = compared(tasks, teams, QUICK_REPEATS if setting.quick else REPEATS)
                ratios = {f"{key}/{side}": ratio_of(speeds[side], speeds["ours"]) for side in ("p0", "p1")}
                figures |= {f"{key}/tokens a second": speeds, f"{key}/profile": _profile(teams["ours"], [case], device)}
                yield Outcome(ratios, figures)


def _profile(team: Team, cases: Sequence[Case], device: str) -> dict[str, Any]:
    team.hold(profile_ours, [(cases, device)])
    [found] = team.turn().results
    team.release()
    assert isinstance(found, dict)
    return found


def packs(setting: Setting) -> Iterator[Outcome]:
    """Yield trials an hour in a pack over those of P0 one after another, such as ``pack/minilm/lora/16/tf32/p0``."""
    device, repeats = device_of(setting), QUICK_REPEATS if setting.quick else REPEATS
    with models_of(setting) as models, Team(1, 1) as ours, Team(1, 1) as p0:
        for size, method, trials, precision in QUICK_PACKS if setting.quick else PACKS:
            cases = [one(models[size], method, precision, setting, seed) for seed in range(1, trials + 1)]
            tasks: dict[str, tuple[Task, Sequence[tuple[Any, ...]]]] = {
                "ours": (train_pack, [(cases, device)]),
                "p0": (train_peer, [("p0", cases[0], _steps(setting), device)]),
            }
            # Tokens a second of a pack count all its trials, so that their ratio is that of trials an hour.
            speeds = compared(tasks, {"ours": ours, "p0": p0}, repeats)
            key = f"pack/{_name(size, setting)}/{method}/{trials}/{precision}"
            figures = {f"{key}/tokens a second": speeds, f"{key}/profile": _profile(ours, cases, device)}
            yield Outcome({f"{key}/p0": ratio_of(speeds["p0"], speeds["ours"])}, figures)


def processes(setting: Setting) -> Iterator[Outcome]:
    """Yield a pack's trials an hour over those of as many processes at once, each with one trial of ours."""
    device, (method, trials, precision) = device_of(setting), PROCESSES
    trials, precision = (2, "fp32") if setting.quick else (trials, precision)
    with models_of(setting) as models, Team(1, 1) as packed, Team(trials, 1) as each:
        cases = [one(models["small"], method, precision, setting, seed) for seed in range(1, trials + 1)]
        tasks: dict[str, tuple[Task, Sequence[tuple[Any, ...]]]] = {
            "packed": (train_pack, [(cases, device)]),
            "processes": (train_ours, [(case, device) for case in cases]),
        }
        repeats = QUICK_REPEATS if setting.quick else REPEATS
        speeds = compared(tasks, {"packed": packed, "processes": each}, repeats)
        key = f"processes/{_name('small', setting)}/{method}/{trials}/{precision}"
        yield Outcome(
            {key: ratio_of(speeds["processes"], speeds["packed"])}, figures={f"{key}/tokens a second": speeds}
        )


def floors(setting: Setting) -> Iterator[Outcome]:
    """Yield the time of a pack's step over its floor, such as ``floor/base/lora/5/bf16``; 1 is the least."""
    device, repeats = device_of(setting), QUICK_REPEATS if setting.quick else REPEATS
    with models_of(setting) as models, Team(1, 1) as ours:
        for size, method, trials, precision in QUICK_PACKS if setting.quick else FLOORS:
            cases = [one(models[size], method, precision, setting, seed) for seed in range(1, trials + 1)]
            model, prepared = model_of(cases[0]), prepared_of(cases[0])
            shape, lengths = Shape.from_config(model.config.to_dict()), prepared.splits["train"].tokens.lengths
            num_labels = len(prepared.data.label_names)
            found = measured(precision, device)
            # The parts of all steps of a turn together: weights are read once a step, which their number puts right.
            parts = training_parts(shape, method, cases[0].spec.method_params, num_labels, texts_of(lengths))
            floor = floor_seconds(
                parts, shape, steps=_steps(setting), tokens=int(lengths.sum()), trained=count_parameters(model)[0],
                trials=trials, precision=precision, device=found,
            )  # fmt: skip
            speeds = compared({"ours": (train_pack, [(cases, device)])}, {"ours": ours}, repeats)["ours"]
            seconds = [trials * int(lengths.sum()) / speed for speed in speeds]
            key = f"floor/{_name(size, setting)}/{method}/{trials}/{precision}"
            figures = {
                f"{key}/peak TFLOP/s": found.flops / 1e12, f"{key}/bandwidth GB/s": found.bandwidth / 1e9,
                f"{key}/floor ms a step": 1e3 * floor / _steps(setting),
                f"{key}/ms a step": [1e3 * each / _steps(setting) for each in seconds],
            }  # fmt: skip
            yield Outcome({key: ratio_of([floor] * len(seconds), seconds)}, figures)


def _study(setting: Setting) -> Iterator[Outcome]:
    with models_of(setting) as models:
        yield from study(setting, models["base"])


STAGES: Mapping[str, Stage] = MappingProxyType(
    {
        "compile": Stage(compilations, 100),
        "small": Stage(partial(singles, size="small", methods=METHODS), 220),
        "packs": Stage(packs, 120),
        "processes": Stage(processes, 60),
        "base": Stage(partial(singles, size="base", methods=("full", "lora")), 210),
        "floors": Stage(floors, 90),
        "study": Stage(_study, 180),
    }
)
"""The first four are one call of eight minutes, the others another."""
