"""A search's best.yaml names a dataset that was made of a DataFrame; the copy in the search's folder is read."""

import json
from dataclasses import replace

import pytest

from tunekit.data.base import content_hash
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.errors import UserError
from tunekit.planning.args import GridArgs
from tunekit.planning.presets import GRID_PRESETS
from tunekit.planning.resolve import resolve_grid


def test_a_config_file_finds_the_copy_of_own_data_beside_it(tmp_path):
    demo = load_dataset("demo")
    digest = content_hash(demo.splits, demo.label_names)
    own = replace(demo, name=f"mine-{digest}", display_name="mine", content_hash=digest)
    block = {"models": ["tiny-bert"], "datasets": [own.name, "demo"], "methods": ["full"], "seeds": [1]}
    (tmp_path / "best.yaml").write_text(json.dumps([block]))
    args = GridArgs(config=tmp_path / "best.yaml")
    with pytest.raises(UserError, match=f"unknown dataset 'mine-{digest}'"):
        resolve_grid(args, GRID_PRESETS)
    save_dataset(own, tmp_path / "data", with_text=True)
    sweep = resolve_grid(args, GRID_PRESETS)
    assert [spec.dataset for spec in sweep.specs] == [own.name, "demo"]
    assert list(sweep.own_data) == [own.name]
    assert sweep.own_data[own.name].splits["train"].equals(own.splits["train"])
    (tmp_path / "data" / f"{own.name}.parquet").write_bytes(b"")
    with pytest.raises(UserError, match="cannot read"):
        resolve_grid(args, GRID_PRESETS)
