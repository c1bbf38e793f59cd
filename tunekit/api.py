"""The functions for a notebook or a script: plan a sweep, run it, load the records of sweeps, train one trial, search.

Scores are fractions in [0, 1], times are in seconds, and memory is in bytes. Every fault of the input or the machine
raises ``UserError`` with one line that says what to do.
"""

import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.errors import UserError
from tunekit.planning import plugins
from tunekit.planning.args import SearchArgs
from tunekit.planning.blocks import Block
from tunekit.planning.options import options_from
from tunekit.planning.presets import SearchPreset
from tunekit.planning.resolve import ResolvedSweep, find_sweep
from tunekit.schema import TrialSpec
from tunekit.signals import Stopped
from tunekit.storage.lease import Superseded
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place
from tunekit.store.records import DamagedRecord

if TYPE_CHECKING:
    from analysis.results import Results
    from tunekit.data.base import TextDataset
    from tunekit.planning.args import Choose, Sampler, Scheduler

Folder = str | os.PathLike[str] | ObjectPath
"""A sweep's folder: ``ray_results/mine``, ``s3://BUCKET/PREFIX/mine``, ``gs://...`` or ``az://CONTAINER/PREFIX/mine``."""


def plan(*blocks: Block, plugin: Sequence[str | os.PathLike[str]] = ()) -> ResolvedSweep:
    """Return the sweep over all trials of ``blocks``, its models, datasets and methods found and checked.

    ``plan.specs`` has the trials in the order in which they are trained, each once. ``str(plan)`` has a line for each
    cell (all settings but the seed) with its seeds, and a notebook shows the same as a table. ``plugin`` are Python
    files that register methods, datasets or models. Nothing is written, and nothing but datasets of the hub is fetched.

    Raises UserError where a name is unknown, a setting is out of range, or data can't be read.
    """
    _check_blocks("tk.plan", blocks)
    plugins.load([Path(file) for file in plugin])
    return find_sweep(blocks, None)


def run(plan: ResolvedSweep, folder: Folder, **options: Any) -> "Results":
    """Train the trials of ``plan`` that ``folder`` lacks on Ray, as ``tunekit run`` does, and return all its results.

    ``folder`` is the sweep's: its name is the sweep's name. Another call trains what is missing and nothing else.
    Ray is started on this machine and stopped again, unless it runs already or RAY_ADDRESS names a cluster.
    ``options`` are the fields of ``tunekit.planning.options.RunOptions``: ``max_concurrent``, ``cpus_per_trial``,
    ``trials_per_device``, ``pack``, ``track``, ``keep_models`` and ``retry_failed``. A trial that fails raises nothing:
    ``Results.trials`` has its status and its error.

    Raises UserError where an option is unknown or of another type, where ``folder`` holds a search, or where the
    storage, the data or the machine can't be used; KeyboardInterrupt where the run was interrupted, and the same call
    goes on from there.
    """
    from tunekit.commands.checks import check_options, refuse_search
    from tunekit.commands.output import note
    from tunekit.commands.training import run_sweep
    from tunekit.planning.plan import plan_sweep
    from tunekit.store.result_store import ResultStore

    if not isinstance(plan, ResolvedSweep):
        raise UserError(
            f"tk.run takes a plan, not {_kind(plan)}; call tk.plan first, as in tk.run(tk.plan(block), folder)"
        )
    chosen, root = options_from(options), _root(folder)
    with _one_line():
        check_options(chosen)
        refuse_search(root)
        store, sweep = ResultStore(root), replace(plan, name=root.name)
        run_sweep(sweep, plan_sweep(sweep, store), store, chosen, note)
    return load(root)


def load(*sweeps: Folder) -> "Results":
    """Return the results of one or more sweeps. A trial that several of them hold counts once.

    ``Results`` has ``trials`` (a DataFrame with one row a trial), ``epochs`` (one row an epoch), ``table(metric)``,
    ``curves(dataset)`` and ``report(folder)``. Raises UserError where a folder holds no sweep.
    """
    from analysis.results import load as read

    if any(isinstance(one, list | tuple) for one in sweeps):
        raise UserError("tk.load takes no list of sweeps; pass them one by one, as in tk.load(a, b)")
    return read(list(sweeps))


def train(spec: TrialSpec, folder: Folder | None = None, *, data: "TextDataset | None" = None) -> "Results":
    """Train one trial in this process, without Ray, and return its results.

    Hyperparameters of the method that ``spec`` leaves out take the method's defaults, as in a block.

    The records are written to ``folder``, a sweep's folder, if one is given; a trial that the folder holds as completed
    is not trained again. Without a folder, the records are written to a temporary one, which is removed together with
    the returned results. ``data`` is the dataset of ``spec`` where it is the user's own (``tunekit.dataset``).

    The trial trains on the GPU if there is one. Otherwise it has the threads that PyTorch has in this process: one for
    each core, unless ``torch.set_num_threads`` or the variable ``OMP_NUM_THREADS`` says otherwise. ``tunekit.run``
    gives each trial one thread (``cpus_per_trial``). The last digits of scores may change with the number of threads,
    which the trial's summary records.

    Raises UserError where the trial fails, memory runs out, or ``folder`` holds a search. A trial that diverges raises
    nothing: its status says so.
    """
    from tunekit.commands.one_trial import train_one

    if not isinstance(spec, TrialSpec):
        raise UserError(f"tk.train takes a TrialSpec, such as one of tk.plan(...).specs, not {_kind(spec)}")
    with ExitStack() as stack:
        if folder is None:
            root: Place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunekit-"))) / "trial"
        else:
            root = _root(folder)
        with _one_line():
            train_one(spec, root, data)
        results = load(root)
        # The results read predictions when a table asks for them, so the temporary folder lives as long as they do.
        weakref.finalize(results, stack.pop_all().close)
    return results


def run_search(
    *blocks: Block,
    folder: Folder,
    trials: int,
    confirm_seeds: Sequence[int] = (),
    space: str | os.PathLike[str] | None = None,
    seeds_per_trial: int = 1,
    sampler: "Sampler" = "tpe",
    scheduler: "Scheduler" = "asha",
    objective: str | None = None,
    choose: "Choose" = "best",
    optuna_storage: str | None = None,
    **options: Any,
) -> "Results":
    """Search the hyperparameters of each model, dataset and method of ``blocks``, and return the results in ``folder``.

    The search chooses on validation alone. ``trials`` is the number of trials of each study in all, earlier runs
    counted. Search seeds from 1001 replace the seeds of ``blocks``. The choices are then trained on ``confirm_seeds``
    and scored on test, and ``folder/best.yaml`` holds them for ``tunekit run --config``. The other arguments are the
    flags of ``tunekit search`` of the same names; ``options`` are those of ``run``.

    Raises UserError where an argument is unknown or at odds with another, where ``folder`` holds a grid, or as ``run``
    does.
    """
    from tunekit.commands.checks import check_options, refuse_grid
    from tunekit.commands.output import note
    from tunekit.commands.searching import run_search as search
    from tunekit.search.request import resolve_search
    from tunekit.store.result_store import ResultStore

    _check_blocks("tk.run_search", blocks)
    chosen, root = options_from(options), _root(folder)
    args = SearchArgs(
        preset="blocks",
        trials=trials,
        confirm_seeds=tuple(confirm_seeds),
        space=None if space is None else Path(space),
        seeds_per_trial=seeds_per_trial,
        sampler=sampler,
        scheduler=scheduler,
        objective=objective,
        choose=choose,
        optuna_storage=optuna_storage,
    )
    with _one_line():
        check_options(chosen)
        refuse_grid(root)
        request = resolve_search(args, {"blocks": SearchPreset(blocks=blocks, trials=trials)})
        search(replace(request, sweep=replace(request.sweep, name=root.name)), ResultStore(root), chosen, note)
    return load(root)


def _check_blocks(call: str, blocks: Sequence[object]) -> None:
    """Raise UserError, which names ``call``, where there is no block, or where one of ``blocks`` is something else."""
    if not blocks:
        raise UserError(f"{call} needs at least one block, as in {call}(tk.Block(models=..., datasets=..., ...))")
    for block in blocks:
        if not isinstance(block, Block):
            raise UserError(
                f"{call} takes blocks, not {_kind(block)}; pass them one by one, as in {call}(first, second)"
            )


def _kind(value: object) -> str:
    """Return the type of ``value`` in words: ``a value of type list``."""
    return f"a value of type {type(value).__name__}"


def _root(folder: Folder) -> Place:
    """Return a sweep's folder as a path. Raises UserError where its object store can't be used."""
    from tunekit.commands.checks import usable
    from tunekit.storage.paths import location

    return usable(location(folder))


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn errors of disks and servers into UserError and a signal into KeyboardInterrupt, so that a notebook goes on.

    The seconds of events count from here.
    """
    from tunekit.commands.output import CLOCK

    CLOCK.restart()
    try:
        yield
    except Stopped as stopped:
        stopped.go_on()
        raise KeyboardInterrupt("interrupted; the same call goes on from here") from None
    except (OSError, Superseded, DamagedRecord) as error:
        raise UserError(str(error)) from error
