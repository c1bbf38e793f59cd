"""`tunekit run`: flags -> sweep -> plan -> a dry run, a refusal, or a run.

Everything that can be mistyped is checked first, which loads nothing heavy. pandas, PyTorch and Ray are imported when
they are needed.
"""

from collections.abc import Mapping

from tunekit.commands.checks import check_flags, refuse_long, refuse_search, sweep_folder
from tunekit.commands.exit_codes import OK
from tunekit.commands.output import note, paragraph, show_json
from tunekit.planning.args import GridArgs
from tunekit.planning.presets import GRID_PRESETS, GridPreset
from tunekit.planning.resolve import grid_options, resolve_grid


def run_grid_command(args: GridArgs, presets: Mapping[str, GridPreset] = GRID_PRESETS) -> int:
    """Plan, train and show the grid that ``args`` name, and return the exit code. Raises UserError on bad input."""
    check_flags(args)
    sweep, options = resolve_grid(args, presets), grid_options(args, presets)
    root = sweep_folder(args.storage, sweep.name)
    refuse_search(root)

    from tunekit.commands.how_long import device_of, epochs_left, say_estimate, timer_of
    from tunekit.commands.results import grid_tables, incomplete, keeps_nothing
    from tunekit.planning.plan import describe, plan_sweep
    from tunekit.store.result_store import ResultStore

    store = ResultStore(root)
    plan = plan_sweep(sweep, store)
    pending = plan.pending(retry_failed=options.retry_failed)
    if not (args.dry_run and args.format == "json"):
        keeps_nothing(plan, args.keep_models, note)
    if args.dry_run:
        from tunekit.commands.dry_run import grid_as_json, grid_as_text, plan_as_json

        if args.json:
            show_json(plan_as_json(sweep, plan))
        elif args.format == "json":
            show_json(grid_as_json(sweep, plan, store, options))
        else:
            paragraph(grid_as_text(sweep, plan, store, options))
        return OK
    note(describe(sweep, plan, pending))
    if pending:
        device = device_of(sweep, options)
        timer = timer_of(sweep, plan.stored, device)
        refuse_long(say_estimate(epochs_left(pending), timer, device, options, note), args, "laptop")

    from tunekit.commands.training import run_sweep

    plan = run_sweep(sweep, plan, store, options, note)
    grid_tables(store, sweep.specs, args.format)
    return incomplete(plan, note)
