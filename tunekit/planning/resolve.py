"""What a command names: blocks, models and data found and checked, and the plan over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from tunekit.data.base import DATASETS, TextDataset
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError
from tunekit.models.loading import ModelRef, resolve_model
from tunekit.planning import estimate
from tunekit.planning.args import GridArgs, SweepArgs
from tunekit.planning.batching import described
from tunekit.planning.blocks import SETTINGS, Block, load_blocks
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.planning.overrides import override
from tunekit.planning.plan import Plan, PlannedTrial, PlanState, expand, make_plan
from tunekit.schema import Fingerprint, TrialSpec, slug
from tunekit.store.requests import cell_names
from tunekit.store.result_store import ResultStore

P = TypeVar("P")


@dataclass(frozen=True)
class ResolvedSweep:
    """Everything the arguments name, found and checked."""

    name: str
    blocks: list[Block]
    specs: list[TrialSpec]
    models: dict[str, ModelRef]
    own_data: dict[str, TextDataset]
    """The user's own datasets, by their name in the specs."""
    given: dict[str, str]
    """What the command called each model and dataset, by its name in the specs."""

    def sizes(self) -> dict[str, estimate.DatasetSize]:
        """Of each dataset, by name."""
        result = {}
        for name in dict.fromkeys(spec.dataset for spec in self.specs):
            declared = estimate.declared_size(name)
            if declared is None:
                splits = self.own_data[name].splits
                words = splits["train"]["text"].str.split().str.len().mean()
                scored = sum(len(frame) for split, frame in splits.items() if split != "train")
                declared = estimate.DatasetSize(len(splits["train"]), scored, int(1.4 * words) + 2)
            result[name] = declared
        return result


def resolve_grid(args: GridArgs, presets: Mapping[str, Sequence[Block]]) -> ResolvedSweep:
    """The grid that ``args`` names. Raises UserError on anything unknown. Fetches nothing for registered names."""
    if args.config and args.preset:
        raise UserError("--preset and --config exclude each other; give one of them")
    if args.config:
        return resolve_blocks(args, load_blocks(args.config), slug(args.config.stem), args.seeds)
    name = args.preset or "study"
    return resolve_blocks(args, preset_of(name, presets), name, args.seeds)


def preset_of(name: str, presets: Mapping[str, P]) -> P:
    """The preset called ``name``. Raises UserError where there is none."""
    if name not in presets:
        raise UserError(f"unknown preset {name!r}; there are {', '.join(presets)}")
    return presets[name]


def resolve_blocks(args: SweepArgs, blocks: Sequence[Block], name: str, seeds: tuple[int, ...] | None) -> ResolvedSweep:
    """``blocks`` with the command line's choices, under ``name`` or the one that was given. Raises UserError."""
    if args.sweep is not None:
        name = args.sweep
        if name != slug(name):
            raise UserError(
                f"--sweep takes lower-case letters, digits, '.', '_' and '-', as in {slug(name)!r}, got {name!r}"
            )
    blocks = override(
        blocks,
        models=args.models,
        methods=args.methods,
        datasets=args.datasets,
        seeds=seeds,
        learning_rate=args.learning_rate,
        method_params=args.method_params,
        settings={setting: getattr(args, setting) for setting in SETTINGS},
    )
    model_of = cache(resolve_model)
    own_data: dict[str, TextDataset] = {}

    @cache
    def name_dataset(text: str) -> str:
        if text in DATASETS or not (Path(text).exists() or Path(text).suffix or "/" in text):
            DATASETS[text]
            return text
        data = read_user_dataset(
            Path(text),
            text_column=args.text_column,
            pair_column=args.pair_column,
            label_column=args.label_column,
            group_column=args.group_column,
        )
        own_data[data.name] = data
        return data.name

    specs = expand(blocks, lambda text: model_of(text).name, name_dataset)
    models = {(ref := model_of(text)).name: ref for block in blocks for text in block.models}
    given = {model_of(text).name: text for block in blocks for text in block.models}
    given |= {name_dataset(text): text for block in blocks for text in block.datasets}
    return ResolvedSweep(name, blocks, specs, models, own_data, given)


def fingerprint_in(sweep: ResolvedSweep, spec: TrialSpec) -> Fingerprint:
    """The fingerprint of ``spec`` with the sweep's model and data."""
    own = sweep.own_data.get(spec.dataset)
    data_hash = own.content_hash if own else DATASETS[spec.dataset].content_hash
    return fingerprint_of(spec, sweep.models[spec.model].revision, data_hash)


def plan_sweep(
    sweep: ResolvedSweep, store: ResultStore, *, write_cache: bool = False, previous: Plan | None = None
) -> Plan:
    """Return where each of the sweep's trials stands in ``store``.

    ``write_cache`` is that of ``make_plan``; ``previous`` is a plan that was made earlier.
    """
    fingerprints = {spec.trial_id: fingerprint_in(sweep, spec) for spec in sweep.specs}
    return make_plan(sweep.specs, fingerprints, store, write_cache=write_cache, previous=previous and previous.stored)


def describe(sweep: ResolvedSweep, plan: Plan, pending: Sequence[PlannedTrial]) -> str:
    """The plan for people: a line a cell with its states, and what is stale and why."""
    names = cell_names(sweep.specs)
    lines = [f"sweep {sweep.name}: {len(plan.trials)} trials, {len(pending)} to run"]
    width = max(len(name) for name in names.values())
    by_cell: dict[str, list[PlannedTrial]] = {}
    for trial in plan.trials:
        by_cell.setdefault(trial.spec.cell, []).append(trial)
    for cell, name in names.items():
        trials = by_cell[cell]
        counts = [f"{count} {state.value}" for state in PlanState if (count := sum(t.state is state for t in trials))]
        seeds = " ".join(str(trial.spec.seed) for trial in trials)
        lines.append(f"  {name:<{width}}  {', '.join(counts)}  (seeds {seeds})")
    lines += [f"  {line}" for line in described(sweep.specs, sweep.models)]
    for trial, parts in plan.stale:
        lines.append(f"  stale: {trial.spec.label} was made by other {', '.join(parts)}; kept in {trial.folder.name}")
    lines += [f"  damaged, left out: {line}" for line in plan.damaged]
    return "\n".join(lines)
