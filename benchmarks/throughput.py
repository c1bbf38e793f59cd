"""Real training tokens a second of warm trials: ours against Hugging Face's Trainer, in fp32 on two cores.

Each side uses the machine as it would in a grid. Ours and P0: a trial a core, which is what Ray Tune gives. P1 and P1g:
the better of a trial a core and one trial over two. All workers of a side train at the same time, an epoch of a few
batches a turn, and a side's turn lasts until its last worker is done. Sides take turns. Evaluation is not in it.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.harness import Outcome, Ratio, ratio_of
from benchmarks.support.small import SMALL, write_encoder
from benchmarks.support.trial import BATCH_SIZE, Case, Slice, case_of, order_of, prepared_of, train_ours
from benchmarks.support.workers import Task, Team

METHODS = ("full", "adapter", "lora")
PEERS = ("p0", "p1", "p1g")
CORES = 2
STEPS: Mapping[str, int] = {"restaurant": 4, "agnews_7k6": 2}
"""Batches of a turn; those of AG News are twice as long."""
SHORT: Mapping[str, str] = {"restaurant": "restaurant", "agnews_7k6": "agnews"}
AGREE_STEPS, AGREE_ROWS = 20, 8
"""Batches whose losses are compared, and their rows."""
TOLERANCE = 1e-5
MEMORY_STEPS = 20


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    models: Sequence[str]
    datasets: Sequence[str]
    methods: Sequence[str]
    repeats: int


@dataclass(frozen=True)
class Setting:
    """What all sides train."""

    model: str
    """A name or a folder."""
    dataset: str
    method: str
    steps: int
    """Batches of a turn."""

    @property
    def key(self) -> str:
        """``minilm/restaurant/lora``."""
        return f"{Path(self.model).name}/{SHORT[self.dataset]}/{self.method}"


def run(quick: bool, model: str = "minilm") -> Outcome:
    """Ratios of tokens a second such as ``minilm/restaurant/lora/p0``, and ``memory/lora/p1`` of peak resident bytes.

    ``model`` may be a folder. Raises ValueError where losses do not agree: then no ratio is given.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        small = Path(folder) / "small"
        write_encoder(small, SMALL)
        models = (model, str(small))
        size = Size(models[1:], ("restaurant",), ("lora",), 2) if quick else Size(models, tuple(STEPS), METHODS, 5)
        sides = {name: stack.enter_context(Team(CORES, 1)) for name in ("ours", *PEERS)}
        wide = {} if quick else {name: stack.enter_context(Team(1, CORES)) for name in ("p1", "p1g")}
        ratios: dict[str, Ratio] = {}
        figures: dict[str, Any] = {"precision": "fp32", "cores": CORES, "batch_size": BATCH_SIZE}
        for path in size.models:
            chosen = dict(sides)
            if not quick:
                faster = _wide_over_narrow(sides["p1"], wide["p1"], path)
                figures[f"{Path(path).name}/p1, one trial over two cores against two trials"] = faster
                chosen |= wide if faster > 1 else {}
            for dataset in size.datasets:
                for method in size.methods:
                    setting = Setting(path, dataset, method, STEPS[dataset])
                    compare(chosen, setting, size.repeats, ratios, figures)
    for method in ("lora",) if quick else ("lora", "adapter"):
        figures[f"memory/{method}"] = peaks = peak_bytes("tiny-bert" if quick else model, method)
        ratios[f"memory/{method}/p1"] = ratio_of([peaks["ours"]], [peaks["p1"]])
    return Outcome(ratios, figures)


def compare(
    sides: Mapping[str, Team], setting: Setting, repeats: int, ratios: dict[str, Ratio], figures: dict[str, Any]
) -> None:
    """Add the ratios of ``setting``, and what stands behind them. Raises ValueError where losses do not agree."""
    key = setting.key
    figures[f"{key}/largest difference of losses"] = agree(sides, setting)
    speeds, padding = _measure(sides, setting, repeats)
    figures[f"{key}/tokens a second"] = speeds
    figures[f"{key}/padded over real"] = padding
    # Peer over ours in seconds a token.
    per_token = {name: [1 / speed for speed in found] for name, found in speeds.items()}
    ratios |= {
        f"{key}/{side}": ratio_of(per_token["ours"], found) for side, found in per_token.items() if side != "ours"
    }


def _cases(team: Team, setting: Setting, rows: int | None) -> list[Case]:
    """A trial a worker; each has rows and a seed of its own."""
    return [
        case_of(setting.model, setting.dataset, setting.method, rows=rows, seed=number, data_seed=number)
        for number in range(1, len(team.workers) + 1)
    ]


def _hold(team: Team, side: str, setting: Setting) -> None:
    """Give the workers of ``team`` their trials and let them warm up."""
    steps = setting.steps
    if side == "ours":
        team.hold(train_ours, [(case,) for case in _cases(team, setting, steps * BATCH_SIZE)])
    else:
        from benchmarks.support.peers import train_peer

        rows = None if side == "p1g" else steps * BATCH_SIZE
        team.hold(train_peer, [(side, case, steps) for case in _cases(team, setting, rows)])
    team.turn()


def _speed(team: Team) -> float:
    """Real tokens a second of one turn."""
    found = team.turn()
    return float(sum(result.tokens for result in found.results) / found.seconds)


def _measure(
    sides: Mapping[str, Team], setting: Setting, repeats: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Tokens a second of each side, turn by turn, in the order A B C D D C B A; and how much P0 and P1 pad."""
    for side, team in sides.items():
        _hold(team, side, setting)
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for repeat in range(repeats):
        for side in list(sides) if repeat % 2 == 0 else reversed(list(sides)):
            speeds[side].append(_speed(sides[side]))
    for team in sides.values():
        team.release()
    return speeds, {"p0 and p1": _padding(_cases(sides["p0"], setting, setting.steps * BATCH_SIZE))}


def _padding(cases: Sequence[Case]) -> float:
    """Places over tokens of the padded batches of all ``cases``, first timed epoch."""
    places = tokens = 0
    for case in cases:
        batches = prepared_of(case).splits["train"].tokens.lengths[order_of(case, 2)].reshape(-1, BATCH_SIZE)
        places += int(batches.max(axis=1).sum()) * BATCH_SIZE
        tokens += int(batches.sum())
    return places / tokens


def _wide_over_narrow(narrow: Team, wide: Team, model: str) -> float:
    """How many times as fast one P1 trial over two cores is as two on a core each: median of 3 turns in turns."""
    teams = {"narrow": narrow, "wide": wide}
    for team in teams.values():
        _hold(team, "p1", Setting(model, "restaurant", "lora", STEPS["restaurant"]))
    speeds: dict[str, list[float]] = {name: [] for name in teams}
    for _ in range(3):
        for name, team in teams.items():
            speeds[name].append(_speed(team))
    for team in teams.values():
        team.release()
    return float(np.median(speeds["wide"]) / np.median(speeds["narrow"]))


def agree(sides: Mapping[str, Team], setting: Setting) -> float:
    """Largest difference between our losses and Trainer's over the same first batches, dropout off.

    Raises ValueError where it is above ``TOLERANCE``.
    """
    from benchmarks.support.peers import train_peer

    case = case_of(
        setting.model, setting.dataset, setting.method, rows=AGREE_STEPS * AGREE_ROWS, batch_size=AGREE_ROWS,
        epochs=1, dropout=False,
    )  # fmt: skip
    losses: dict[str, Slice] = {}
    tasks: dict[str, tuple[Task, tuple[Any, ...]]] = {
        "ours": (train_ours, (case,)),
        "p1": (train_peer, ("p1", case, AGREE_STEPS)),
    }
    for side, (task, arguments) in tasks.items():
        sides[side].hold(task, [arguments] * len(sides[side].workers))
    for side in tasks:
        losses[side] = sides[side].turn().results[0]
        sides[side].release()
    difference = float(np.abs(np.subtract(losses["ours"].losses, losses["p1"].losses)).max())
    if losses["ours"].tokens != losses["p1"].tokens or difference > TOLERANCE:
        raise ValueError(f"{setting.key}: losses differ from Trainer's by {difference:.1e}; no ratio")
    return difference


def peak_bytes(model: str, method: str) -> dict[str, Any]:
    """Peak resident bytes of a fresh process that trains ``MEMORY_STEPS`` batches, ours and P1's."""
    from benchmarks.support.peers import train_peer

    case = case_of(model, "restaurant", method, rows=MEMORY_STEPS * BATCH_SIZE)
    found = {}
    for side, task, arguments in (("ours", train_ours, (case,)), ("p1", train_peer, ("p1", case, MEMORY_STEPS))):
        with Team(1, 1, fresh=True) as team:
            team.hold(task, [arguments])
            team.turn()
            found[side] = team.workers[0].peak_bytes()
    return found
