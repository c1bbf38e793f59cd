"""The arguments of a search, checked and turned into a sweep, a plan for each study and the seeds that confirm."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from tunekit.errors import UserError
from tunekit.parsing import not_a_choice
from tunekit.planning.args import Choose, Sampler, Scheduler, SearchArgs
from tunekit.planning.fitting import check_fit, config_of
from tunekit.planning.presets import FIRST_SEARCH_SEED, STUDY, SearchPreset, preset_named
from tunekit.planning.resolve import ResolvedSweep, fingerprint_in, is_ad_hoc, resolve_blocks
from tunekit.schema import TrialSpec, readable
from tunekit.search.optuna_storage import check_url
from tunekit.search.outcome import objective_names, objectives_on
from tunekit.search.space import Space, first_trial, load_space
from tunekit.search.space_fit import check_space, fitted_space
from tunekit.search.study_plan import StudyPlan

VAL_FRACTION = 0.1
"""The share of train that becomes the validation part of a dataset without one, where --val-fraction is not given."""


@dataclass(frozen=True)
class SearchRequest:
    """Everything that the arguments of a search stand for."""

    sweep: ResolvedSweep
    """The models and datasets of the search, and the default configuration of each study as a spec."""
    plans: list[StudyPlan]
    """One plan for each study."""
    confirm_seeds: tuple[int, ...]
    """The seeds on which selected configurations are confirmed; none without confirmation."""
    choose: Choose
    """The role of the configurations in best.yaml."""
    optuna_storage: str | None = None
    """The URL of the studies' database; None for a journal in the sweep's folder."""


def resolve_search(args: SearchArgs, presets: Mapping[str, SearchPreset]) -> SearchRequest:
    """Return the search that ``args`` ask for. Raises UserError on an unknown name and on arguments that contradict."""
    preset = preset_named(args.preset or STUDY, presets)
    for flag, value, known in (
        ("sampler", args.sampler, Sampler),
        ("scheduler", args.scheduler, Scheduler),
        ("choose", args.choose, Choose),
    ):
        if value not in get_args(known):
            raise UserError(not_a_choice(f"--{flag}", value, get_args(known)))
    trials = preset.trials if args.trials is None else args.trials
    for flag, number, least in (
        ("trials", trials, 1),
        ("seeds-per-trial", args.seeds_per_trial, 1),
        ("sampler-seed", args.sampler_seed, 0),
    ):
        if number < least:
            raise UserError(f"--{flag} must be {least} or more, got {number}")
    objectives = None if args.objective is None else objective_names(args.objective)
    if objectives and len(objectives) > 1 and args.scheduler == "asha":
        raise UserError("asha stops trials by one objective; give --scheduler none with several")
    if args.optuna_storage is not None:
        check_url(args.optuna_storage)
    seeds = tuple(range(FIRST_SEARCH_SEED, FIRST_SEARCH_SEED + args.seeds_per_trial))
    confirm = preset.confirm_seeds if args.confirm_seeds is None else args.confirm_seeds
    reused = sorted(set(confirm) & set(seeds))
    if reused:
        raise UserError(
            f"--confirm-seeds {' '.join(map(str, reused))} were searched on; confirm on seeds that were not"
        )
    sweep = resolve_blocks(args, preset.blocks, None if is_ad_hoc(args) else _name(args.preset or STUDY), seeds[:1])
    if is_ad_hoc(args) and args.sweep is None:
        sweep = replace(sweep, name=f"search-{sweep.name}")
    spaces = load_space(args.space, sorted({spec.method for spec in sweep.specs})) if args.space else {}
    plans = [_plan(args, sweep, spec, spaces.get(spec.method, {}), objectives, seeds, trials) for spec in sweep.specs]
    if len({plan.key for plan in plans}) < len(plans):
        raise UserError("two blocks search the same model, dataset and method; leave one of them out")
    return SearchRequest(sweep, plans, tuple(dict.fromkeys(confirm)), args.choose, args.optuna_storage)


def _name(preset: str) -> str:
    """Return the name of a search's sweep, which differs from the name of the grid of the same preset."""
    return "search" if preset == STUDY else f"search-{preset}"


def _plan(
    args: SearchArgs,
    sweep: ResolvedSweep,
    spec: TrialSpec,
    space: Space,
    objectives: tuple[str, ...] | None,
    seeds: tuple[int, ...],
    trials: int,
) -> StudyPlan:
    """Return the plan of one study. Raises UserError without a validation part, and on a wrong space or objective."""
    has_dev = sweep.has_validation(spec.dataset)
    fraction = 0.0 if has_dev else VAL_FRACTION if args.val_fraction is None else args.val_fraction
    if not has_dev and not fraction:
        raise UserError(f"{readable(spec.dataset)} has no dev part to choose on; give a --val-fraction above 0")
    spec = replace(spec, score_test=False, val_fraction=fraction)
    config = config_of(sweep.models[spec.model])

    def check(one: TrialSpec) -> None:
        sweep.check_losses([one])
        if config is not None:
            check_fit(one, config)

    check_space(spec, space, args.space, check)
    space = fitted_space(spec, config, space)
    first = first_trial(spec, space)
    return StudyPlan(
        spec=spec,
        fingerprint=fingerprint_in(sweep, spec),
        space=space,
        default=first.params,
        distributions=first.distributions,
        objectives=objectives_on(spec.dataset, objectives),
        sampler=args.sampler,
        sampler_seed=args.sampler_seed,
        scheduler=args.scheduler,
        seeds=seeds,
        planned=trials,
    )
