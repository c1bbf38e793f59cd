"""Find and check the blocks, models and data that a command names. Nothing is fetched for registered names."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from tunekit.data.base import DATASETS, TextDataset
from tunekit.data.copies import load_dataset
from tunekit.data.hub_catalog import SUITES
from tunekit.data.sources import DataSource
from tunekit.data.summary import DataSummary, summarise
from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef
from tunekit.parsing import how_many
from tunekit.planning.args import GridArgs, SweepArgs
from tunekit.planning.blocks import SETTINGS, Block, expand, load_blocks
from tunekit.planning.changed_settings import changed_settings
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.planning.fitting import check_fit, config_of
from tunekit.planning.loss_checks import check_classes, check_loss
from tunekit.planning.model_checks import check_models
from tunekit.planning.model_names import find_model
from tunekit.planning.options import RunOptions
from tunekit.planning.overrides import override
from tunekit.planning.own_data import find_data, with_columns
from tunekit.planning.presets import STUDY, GridPreset, preset_named
from tunekit.schema import Fingerprint, TrialSpec, slug
from tunekit.store.requests import cell_names

OWN_DATA = re.compile(r"[^/]+-[0-9a-f]{12}")
"""The form of the name of a user's own dataset: a slug and the content hash."""
LONGEST_NAME = 60
"""The most characters of a sweep's name that is made from its content. A longer one is cut and ends in a hash."""


@dataclass(frozen=True, repr=False)
class ResolvedSweep:
    """A sweep whose models, data and methods were found and checked."""

    name: str
    """The sweep's name, which is its folder's name in the storage."""
    blocks: list[Block]
    specs: list[TrialSpec]
    """All trials, each once, in the order in which they are trained."""
    models: dict[str, ModelRef]
    """The models by their names in the specs."""
    own_data: dict[str, TextDataset]
    """The user's own datasets by their names in the specs."""
    original_names: dict[str, Any]
    """The name of each model and dataset in a config file, by its name in the specs."""

    def __str__(self) -> str:
        """Return a line for each cell with its seeds, and the settings that are not at their default."""
        rows = self._cells()
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  seeds {' '.join(map(str, seeds))}" for name, seeds in rows]
        return "\n".join([self._headline(), *(f"  {line}" for line in [*lines, *self._notes()])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the same as a table, for notebooks."""
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{' '.join(map(str, seeds))}</td></tr>" for name, seeds in self._cells()
        )
        head = f"<caption>{escape(self._headline())}</caption><tr><th>cell</th><th>seeds</th></tr>"
        return f"<table>{head}{rows}</table>" + "".join(f"<p>{escape(line)}</p>" for line in self._notes())

    def data_summaries(self) -> dict[str, DataSummary]:
        """Return the summary of each dataset of the user's own, by its name in the specs."""
        return {name: summarise(data) for name, data in self.own_data.items()}

    def data_lines(self) -> list[str]:
        """Return the summaries of the user's own datasets as lines for people."""
        return [f"{summary.name}: {line}" for summary in self.data_summaries().values() for line in summary.lines()]

    def _notes(self) -> list[str]:
        """Return the lines on settings and data below the cells."""
        return [*changed_settings(self.specs), *self.data_lines()]

    def _headline(self) -> str:
        return f"sweep {self.name}: {how_many(len(self.specs), 'trial')} in {how_many(len(self._cells()), 'cell')}"

    def _cells(self) -> list[tuple[str, list[int]]]:
        """Return the name and the seeds of each cell."""
        names = cell_names(self.specs)
        return [(name, [spec.seed for spec in self.specs if spec.cell == cell]) for cell, name in names.items()]

    def display_names(self) -> dict[str, dict[str, str]]:
        """Return the names of the sweep's models and methods in tables, under ``models`` and ``methods`` by name."""
        methods = dict.fromkeys(spec.method for spec in self.specs)
        return {
            "models": {name: MODELS[name].display_name for name in self.models if name in MODELS},
            "methods": {name: METHODS[name].display_name for name in methods},
        }

    def label_names(self, dataset: str) -> tuple[str, ...]:
        """Return the names of the labels of a dataset, by its name in the specs."""
        return (self.own_data.get(dataset) or DATASETS[dataset]).label_names

    def has_validation(self, dataset: str) -> bool:
        """Return whether a dataset, by its name in the specs, has a validation part of its own."""
        own = self.own_data.get(dataset)
        return "val" in (own.splits if own else DATASETS[dataset].num_rows)

    def check_losses(self, specs: Iterable[TrialSpec]) -> None:
        """Raise UserError where the loss that one of ``specs`` asks for does not fit its data.

        Which labels the training data has is checked for the user's own datasets only: a plan reads no others.
        """
        for spec in {spec.cell: spec for spec in specs}.values():
            check_loss(spec, self.label_names(spec.dataset))
            if own := self.own_data.get(spec.dataset):
                check_classes(spec, own)

    def default_learning_rates(self) -> dict[str, float]:
        """Return the learning rate that each of the sweep's methods takes where none is given."""
        return {name: METHODS[name].learning_rate for name in dict.fromkeys(spec.method for spec in self.specs)}


def resolve_grid(args: GridArgs, presets: Mapping[str, GridPreset]) -> ResolvedSweep:
    """Return the grid that ``args`` names. Raises UserError on anything unknown."""
    if args.config and args.preset:
        raise UserError("--preset and --config exclude each other; give one of them")
    if args.config:
        blocks = [_with_stored_data(block, args.config.parent / "data") for block in load_blocks(args.config)]
        return resolve_blocks(args, blocks, name_of_config(args.config), args.seeds)
    preset = preset_named(args.preset or STUDY, presets)
    return resolve_blocks(args, preset.blocks, args.preset or (None if is_ad_hoc(args) else STUDY), args.seeds)


def _with_stored_data(block: Block, folder: Path) -> Block:
    """Return ``block`` with the user's own datasets read from ``folder``, where a sweep keeps a copy of them.

    A search's best.yaml names a dataset that was made of a DataFrame by its copy. Other names stay. Raises UserError
    where a copy is damaged.
    """
    names = [name for name in block.datasets if isinstance(name, str) and OWN_DATA.fullmatch(name)]
    stored = {
        name: load_dataset(name, folder)
        for name in names
        if name not in DATASETS and (folder / f"{name}.json").is_file()
    }
    datasets = (stored.get(data, data) if isinstance(data, str) else data for data in block.datasets)
    return replace(block, datasets=tuple(datasets))


def grid_options(args: GridArgs, presets: Mapping[str, GridPreset]) -> RunOptions:
    """Return how the grid of ``args`` is run: its flags, and the preset's options where it names a preset."""
    preset = None if args.preset is None else preset_named(args.preset, presets)
    return args.run_options(preset.keep_models if preset else "none")


def is_ad_hoc(args: SweepArgs) -> bool:
    """Return whether ``args`` name models, methods or datasets and no preset: a sweep of the user's own."""
    return args.preset is None and any((args.models, args.methods, args.datasets, args.suite))


def name_of_config(path: Path) -> str:
    """Return the name of the sweep that a YAML file describes: the stem of the file's name.

    The sweep of a search's best.yaml is named after the search: ray_results/search-demo/best.yaml gives
    search-demo-best.
    """
    path = path.absolute()
    return slug(f"{path.parent.name}-best" if path.stem == "best" else path.stem)


def name_of_specs(specs: Sequence[TrialSpec], suites: Mapping[str, str]) -> str:
    """Return a sweep's name made of the models, datasets and methods that it holds, as in minilm-demo-full-lora.

    ``suites`` maps each dataset that was asked for by a suite to the suite's name, which then replaces it.
    """
    parts = [getattr(spec, axis) for axis in ("model", "dataset", "method") for spec in specs]
    parts = [suites.get(part, part) for part in parts]
    name = "-".join(dict.fromkeys(parts))
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - len(digest) - 1]}-{digest}"


def resolve_blocks(
    args: SweepArgs, blocks: Sequence[Block], name: str | None, seeds: tuple[int, ...] | None
) -> ResolvedSweep:
    """Return the sweep over ``blocks`` with the command line's choices. Its name is that of --sweep, else ``name``.

    Where neither is given, the sweep is named by what it holds. Raises UserError on anything unknown.
    """
    if args.sweep is not None and args.sweep != slug(args.sweep):
        raise UserError(
            f"--sweep takes lower-case letters, digits, '.', '_' and '-', as in {slug(args.sweep)!r}, "
            f"got {args.sweep!r}"
        )
    blocks = override(
        blocks,
        models=args.models,
        methods=args.methods,
        datasets=_datasets(args),
        seeds=seeds,
        learning_rate=args.learning_rate,
        method_params=args.method_params,
        settings={setting: getattr(args, setting) for setting in SETTINGS},
    )
    return find_sweep(with_columns(blocks, args), args.sweep or name, args.suite)


def _datasets(args: SweepArgs) -> tuple[str, ...] | None:
    """Return the datasets that the command line names, those of a suite first; None where it names none."""
    if args.suite is None:
        return args.datasets
    return tuple(dict.fromkeys([*SUITES[args.suite], *(args.datasets or ())]))


def find_sweep(blocks: Sequence[Block], name: str | None, suite: str | None = None) -> ResolvedSweep:
    """Return the sweep over ``blocks``, its models and data found and checked. Raises UserError on anything unknown.

    Without a ``name`` the sweep is named by what it holds, the datasets of ``suite`` by the name of the suite.
    """
    model_of, data = cache(find_model), find_data(blocks)
    specs = expand(data.blocks, lambda text: model_of(text).name, data.names.__getitem__)
    models = {(ref := model_of(text)).name: ref for block in blocks for text in block.models}
    configs = {name: config_of(ref) for name, ref in models.items()}
    for spec in {spec.cell: spec for spec in specs}.values():
        if (config := configs[spec.model]) is not None:
            check_fit(spec, config)
    check_models(specs, models, data.own)
    original_names: dict[str, Any] = {model_of(text).name: text for block in blocks for text in block.models}
    original_names |= {
        named: entry.to_value() if isinstance(entry, DataSource) else entry for entry, named in data.names.items()
    }
    suites = {data.names[one]: suite for one in SUITES[suite]} if suite else {}
    sweep = ResolvedSweep(name or name_of_specs(specs, suites), data.blocks, specs, models, data.own, original_names)
    sweep.check_losses(specs)
    return sweep


def fingerprint_in(sweep: ResolvedSweep, spec: TrialSpec) -> Fingerprint:
    """Return the fingerprint of ``spec`` with the sweep's model and data."""
    own = sweep.own_data.get(spec.dataset)
    data_hash = own.content_hash if own else DATASETS[spec.dataset].content_hash
    return fingerprint_of(spec, sweep.models[spec.model].revision, data_hash)
