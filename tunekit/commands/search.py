"""`tunekit search`: flags -> studies -> a dry run, a refusal, or a run; then the choice and its confirming trials.

Everything that can be mistyped is checked first, which loads nothing heavy. pandas, PyTorch and Ray are imported when
they are needed.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.commands.checks import check_flags, refuse_grid, refuse_long, sweep_folder
from tunekit.commands.exit_codes import INCOMPLETE, OK
from tunekit.commands.output import Say, note, paragraph, show_json
from tunekit.parsing import how_many, number
from tunekit.planning.args import SearchArgs
from tunekit.planning.batching import described
from tunekit.planning.changed_settings import changed_settings
from tunekit.planning.presets import SEARCH_PRESETS, SearchPreset
from tunekit.schema import with_later_fields
from tunekit.search.request import SearchRequest, resolve_search
from tunekit.store.search_records import TrialState

if TYPE_CHECKING:
    from tunekit.search.study import Study


def run_search_command(args: SearchArgs, presets: Mapping[str, SearchPreset] = SEARCH_PRESETS) -> int:
    """Plan, train and show the search that ``args`` name, and return the exit code. Raises UserError on bad input."""
    check_flags(args)
    request = resolve_search(args, presets)
    root = sweep_folder(args.storage, request.sweep.name)
    refuse_grid(root)

    from tunekit.commands.how_long import device_of, say_estimate, timer_of
    from tunekit.commands.results import incomplete, search_tables
    from tunekit.commands.searching import ended_trials, expected_trials, run_search
    from tunekit.store.result_store import ResultStore

    store = ResultStore(root)
    ended = ended_trials(store)
    if args.json or (args.dry_run and args.format == "json"):
        show_json(search_as_json(request, ended))
        return OK
    lines, options = [search_as_text(request, ended)], args.run_options()
    if args.dry_run:
        lines += request.sweep.data_lines()
    timing = None
    if expected := expected_trials(request, ended):
        device = device_of(request.sweep, options)
        timer = timer_of(request.sweep, store.frames(store.cache_folder, write_cache=False), device)
        timing = say_estimate(expected, timer, device, options, lines.append)
    if args.dry_run:
        paragraph("\n".join(lines))
        return OK
    for line in lines:
        note(line)
    refuse_long(timing, args, "demo")
    studies, plan = run_search(request, store, options, note)
    search_tables(store, args.format)
    return incomplete(plan, note) or empty_studies(studies, note)


def empty_studies(studies: Sequence["Study"], say: Say) -> int:
    """Name each study in which no trial completed. Return the exit code, 0 only without such a study."""
    code = OK
    for study in studies:
        if TrialState.COMPLETE not in {one.state for one in study.summary().trials}:
            say(f"{study.plan.name}: no trial completed; widen the space, or read the trials' log.txt")
            code = INCOMPLETE
    return code


def search_as_text(request: SearchRequest, ended: Mapping[str, int]) -> str:
    """Return the search for people; ``ended`` has the number of ended trials by study."""
    first = request.plans[0]
    objectives = " or ".join(dict.fromkeys(",".join(one.name for one in plan.objectives) for plan in request.plans))
    studies = "1 study" if len(request.plans) == 1 else f"{len(request.plans)} studies"
    lines = [
        f"search {request.sweep.name}: {studies} of {how_many(first.planned, 'trial')}, "
        f"sampler {first.sampler}, scheduler {first.scheduler}, objective {objectives}, "
        f"search seeds {' '.join(map(str, first.seeds))}; test is not scored"
    ]
    for plan in request.plans:
        carved = f", {100 * plan.spec.val_fraction:g} % of train carved as dev" if plan.spec.val_fraction else ""
        lines.append(f"  {plan.name}: {ended.get(plan.key, 0)} of {plan.planned} trials ended{carved}")
        default = {**with_later_fields(plan.spec.to_dict()), **plan.spec.method_params}
        for name, values in plan.definition()["space"].items():
            lines.append(f"    {name}: {_range(values)}; default {number(default[name])}")
    # The lines above have the ranges, that test is not scored, and the part that is carved.
    said = {plan.spec.cell: {*plan.definition()["space"], "score_test", "val_fraction"} for plan in request.plans}
    lines += [f"  {line}" for line in changed_settings([plan.spec for plan in request.plans], said)]
    lines += [f"  {line}" for line in described(request.sweep.specs, request.sweep.models)]
    if request.confirm_seeds:
        seeds = " ".join(map(str, request.confirm_seeds))
        lines.append(
            "  then the default, the best and the 1se choice (fewest weights within one standard error of the best) of "
            f"each study are trained on fresh seeds ({seeds}) and scored on test"
        )
    return "\n".join(lines)


def _range(values: Mapping[str, Any]) -> str:
    if values["type"] == "categorical":
        return " ".join(map(number, values["choices"]))
    return f"{number(values['low'])} to {number(values['high'])}{', logarithmic' if values['log'] else ''}"


def search_as_json(request: SearchRequest, ended: Mapping[str, int]) -> dict[str, Any]:
    """Return the search for programs; ``ended`` has the number of ended trials by study."""
    return {
        "sweep": request.sweep.name,
        "studies": [
            {
                "study": plan.key,
                "planned": plan.planned,
                "ended": ended.get(plan.key, 0),
                "default": dict(plan.default),
                **plan.definition(),
            }
            for plan in request.plans
        ],
        "confirm_seeds": list(request.confirm_seeds),
        "datasets": {name: one.to_dict() for name, one in request.sweep.data_summaries().items()},
    }
