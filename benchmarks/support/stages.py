"""Benchmarks of several stages, each in a process of its own with a time limit. What is measured is kept at once.

Time on a GPU is scarce, so a stage that hangs or fails costs no more than its limit, and loses nothing of what it or
another stage has measured before.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import monotonic

import torch

from benchmarks.support.harness import Outcome
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean

ERROR = "/error of the stage"
"""How the key of a figure ends that is the error of a stage."""


@dataclass(frozen=True)
class Setting:
    """What the command asks of every stage."""

    quick: bool
    """Whether to take small sizes, which show only that the stage runs."""
    model: str
    """The small encoder: a registered name, or a folder with its weights."""


@dataclass(frozen=True)
class Stage:
    """One part of a benchmark."""

    run: Callable[[Setting], Iterator[Outcome]]
    """Yields what it measures, piece by piece."""
    seconds: float
    """How long the stage may take. It is ended then."""


def device_of(setting: Setting) -> str:
    """Return ``cuda``, or ``cpu`` for a quick run without one. Raises UserError without CUDA for any other run."""
    if torch.cuda.is_available():
        return "cuda"
    if not setting.quick:
        raise UserError("this benchmark measures a GPU, and torch finds none here; --quick shows on a CPU that it runs")
    return "cpu"


def chosen(stages: Mapping[str, Stage], names: Sequence[str]) -> dict[str, Stage]:
    """Return the stages called ``names`` in their order, all of them for none. Raises UserError for another name."""
    for name in names:
        if name not in stages:
            raise UserError(f"there is no stage {name!r}{did_you_mean(name, stages)} (there are {', '.join(stages)})")
    return {name: stages[name] for name in names or stages}


def run_stages(
    stages: Mapping[str, Stage], setting: Setting, earlier: Outcome, keep: Callable[[Outcome], None]
) -> Outcome:
    """Run ``stages`` one after another. Return all that they measured, over what is in ``earlier``.

    The error of a stage that did not end well is a figure. ``keep`` is called with all that there is so far, each time
    that a stage has measured something. Raises UserError where the machine has no GPU to measure.
    """
    device_of(setting)
    # The errors of stages that run again are old.
    kept = {key: value for key, value in earlier.figures.items() if key not in {f"{name}{ERROR}" for name in stages}}
    found = Outcome(earlier.ratios, kept)
    for name, stage in stages.items():
        began = monotonic()
        for new in _in_a_process(stage, setting):
            if isinstance(new, str):
                new = Outcome(figures={f"{name}{ERROR}": new})
            found = Outcome({**found.ratios, **new.ratios}, {**found.figures, **new.figures})
            keep(found)
        seconds = {f"{name}/seconds of the stage": round(monotonic() - began, 1)}
        found = Outcome(found.ratios, {**found.figures, **seconds})
        keep(found)
    return found


def _in_a_process(stage: Stage, setting: Setting) -> Iterator[Outcome | str]:
    """Yield what ``stage`` measures in a new process, and the text of the error that ended it, where one did."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, stage.run, setting))
    process.start()
    theirs.close()
    end = monotonic() + stage.seconds
    try:
        while True:
            if not ours.poll(max(0.0, end - monotonic())):
                yield f"the stage took more than its {stage.seconds:g} seconds and was ended"
                return
            found = ours.recv()
            if found is None:
                return
            yield found
    except EOFError:  # the process was killed
        process.join()
        yield f"the process of the stage ended with exit code {process.exitcode}"
    finally:
        _end(process)


def _end(process: BaseProcess) -> None:
    """End ``process`` and the workers that it has started."""
    if process.is_alive() and process.pid is not None:
        # A process that has come as far as ``_serve`` leads a group, which holds its workers.
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.join()


def _serve(connection: Connection, run: Callable[[Setting], Iterator[Outcome]], setting: Setting) -> None:
    os.setpgrp()
    try:
        for found in run(setting):
            connection.send(found)
    except BaseException:
        connection.send(traceback.format_exc())  # part of the record, as the output of a borrowed machine may be cut
        raise
    finally:
        connection.send(None)
