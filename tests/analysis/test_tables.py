"""Cells and their means: only seeds are pooled, n is always said."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from analysis.aggregate import cells
from analysis.tables import grid_table
from tests.test_store import FINGERPRINT, summary
from tunekit.schema import Status
from tunekit.store import ResultStore


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "sweep")


def add(store, spec, value=None, status=Status.COMPLETED):
    scores = {} if value is None else {"test_accuracy": value, "test_macro_f1": value}
    folder = store.begin(spec, FINGERPRINT)
    store.write_summary(folder, replace(summary(status, None), final_scores=scores))


def test_means_are_numpys_and_missing_seeds_are_said(store, make_spec):
    specs = [make_spec(seed=seed) for seed in range(5)]
    values = [0.61, 0.59, 0.65, 0.6]
    for spec, value in zip(specs[:4], values, strict=True):
        add(store, spec, value)
    (cell,) = cells(store, specs, "test_macro_f1")
    assert cell.mean == pytest.approx(np.mean(values))
    assert cell.std == pytest.approx(np.std(values, ddof=1))
    assert shown(store, specs).count("61.25 ± 2.63 (n=4/5)") == 2


def test_failures_take_no_part_in_the_mean_and_are_named(store, make_spec):
    specs = [make_spec(seed=seed) for seed in range(3)]
    add(store, specs[0], 0.5)
    add(store, specs[1], 0.9, Status.DIVERGED)
    assert "50.00 (n=1/3, 1 diverged)" in shown(store, specs)


def test_nothing_but_seeds_is_pooled(store, make_spec):
    specs = [make_spec(learning_rate=rate) for rate in (1e-3, 1e-4)]
    for spec, value in zip(specs, (0.4, 0.6), strict=True):
        add(store, spec, value)
    text = shown(store, specs)
    assert "40.00 (n=1)" in text
    assert "60.00 (n=1)" in text
    assert "learning_rate 0.0001" in text


def shown(store, specs):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(grid_table(store, specs))
    return console.export_text()
