"""The built-in sweeps: what `tunekit run --preset NAME` and `tunekit search --preset NAME` train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.planning.blocks import Block
from tunekit.planning.options import KeepModels

STUDY = "study"
"""The preset that is taken where none is named."""
FIRST_SEARCH_SEED = 1001
"""The first seed of a search's trials. Seeds below it stay fresh, to confirm the selected configurations."""


@dataclass(frozen=True, kw_only=True)
class GridPreset:
    """A built-in grid."""

    blocks: Sequence[Block]
    keep_models: KeepModels = "none"
    """The value of --keep-models where the command gives none."""


@dataclass(frozen=True, kw_only=True)
class SearchPreset:
    """A built-in search."""

    blocks: Sequence[Block]
    """The models, datasets and methods to search. The search's own seeds replace the seeds of the blocks."""
    trials: int
    """Trials of each study."""
    confirm_seeds: tuple[int, ...] = ()
    """Fresh seeds on which each study's selected configurations are trained."""
    keep_models: KeepModels = "none"
    """The value of --keep-models where the command gives none."""


AnyPreset = TypeVar("AnyPreset", GridPreset, SearchPreset)

_DATASETS = ("acl_arc", "agnews_7k6", "restaurant")
_METHODS = ("full", "adapter", "lora")
_SEEDS = (1, 2, 3, 4, 5)

GRID_PRESETS: Mapping[str, GridPreset] = MappingProxyType(
    {
        STUDY: GridPreset(
            blocks=[
                Block(models=("bert", "roberta", "scibert"), datasets=_DATASETS, methods=("full",), seeds=_SEEDS),
                Block(models=("roberta",), datasets=_DATASETS, methods=("adapter", "lora"), seeds=_SEEDS),
            ]
        ),
        "laptop": GridPreset(
            blocks=[
                Block(
                    models=("minilm",), datasets=("acl_arc", "restaurant"), methods=_METHODS, seeds=(1, 2, 3), epochs=3
                )
            ]
        ),
        "study-minilm": GridPreset(
            # The study's protocol and ten seeds on one small encoder. The precision is part of the preset, so that its
            # trials have the same ids on every machine.
            blocks=[
                Block(
                    models=("minilm",),
                    datasets=_DATASETS,
                    methods=_METHODS,
                    seeds=tuple(range(1, 11)),
                    precision="tf32",
                )
            ]
        ),
        "demo": GridPreset(
            # The demo's 600 rows need small batches and high rates to get anywhere in 3 epochs.
            blocks=[
                Block(
                    models=("minilm",),
                    datasets=("demo",),
                    methods=_METHODS,
                    seeds=(1, 2),
                    epochs=3,
                    batch_size=8,
                    learning_rate={"full": 1e-4, "adapter": 1e-3, "lora": 1e-3},
                )
            ],
            keep_models="best",
        ),
    }
)

SEARCH_PRESETS: Mapping[str, SearchPreset] = MappingProxyType(
    {
        STUDY: SearchPreset(
            blocks=[Block(models=("roberta",), datasets=_DATASETS, methods=_METHODS, seeds=(FIRST_SEARCH_SEED,))],
            trials=30,
            confirm_seeds=_SEEDS,
        ),
        "demo": SearchPreset(
            blocks=[
                Block(
                    models=("minilm",),
                    datasets=("demo",),
                    methods=_METHODS,
                    seeds=(FIRST_SEARCH_SEED,),
                    epochs=2,
                    batch_size=8,
                    train_limit=240,
                )
            ],
            trials=3,
            confirm_seeds=(1,),
        ),
    }
)


def preset_named(name: str, presets: Mapping[str, AnyPreset]) -> AnyPreset:
    """Return the preset called ``name``. Raises UserError where there is none."""
    if name not in presets:
        raise UserError(f"unknown preset {name!r}{did_you_mean(name, presets)} (there are {', '.join(presets)})")
    return presets[name]
