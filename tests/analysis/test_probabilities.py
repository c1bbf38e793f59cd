"""Calibration, ensembles, overlap of errors and early stopping: against libraries, known truths and a stored run."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, log_loss

from analysis.logits import logits_of, with_logits
from analysis.patience import simulated_patience
from analysis.probabilities import calibration, ensemble_gains, overlaps
from analysis.report.document import Grid, Points
from analysis.report.probabilities_section import (
    calibration_section,
    ensembles_section,
    overlap_section,
    patience_section,
)
from analysis.results import Results, load
from analysis.statistics.calibration import (
    BinnedRun,
    brier,
    calibration_error,
    ensemble,
    error_overlap,
    fitted_temperature,
    log_probabilities,
    negative_log_likelihood,
)
from analysis.statistics.crossed_interval import crossed_interval
from analysis.statistics.patience import stopped
from analysis.statistics.this_set import Sample, mean_interval
from tests.support.stores import GOLDEN
from tunekit.store.records import DamagedRecord


def sure(count: int, temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 4), and gold labels that are drawn from their softmax at ``temperature``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 4))
    probabilities = np.exp(log_probabilities(logits, temperature))
    return logits, (rng.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)


def error_of(log_probs: np.ndarray, gold: np.ndarray) -> float:
    return float(calibration_error(BinnedRun.of(log_probs, gold), np.ones((1, len(gold))))[0])


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_likelihood_and_brier_score_are_scikit_learns(seed: int) -> None:
    logits, gold = sure(50, 1.0, seed)
    log_probs = log_probabilities(logits)
    assert negative_log_likelihood(log_probs, gold).mean() == pytest.approx(
        log_loss(gold, np.exp(log_probs), labels=range(4))
    )
    by_hand = np.mean(
        [((np.exp(row) - np.eye(4)[label]) ** 2).sum() for row, label in zip(log_probs, gold, strict=True)]
    )
    assert brier(log_probs, gold).mean() == pytest.approx(by_hand)


def test_a_calibrated_model_has_no_calibration_error_on_average() -> None:
    squares = [
        error_of(log_probabilities(logits), gold) ** 2 for logits, gold in (sure(300, 1.0, s) for s in range(60))
    ]
    # Without the correction a bin of 20 items has a mean square of about 0.2 / 20; cutting at 0 leaves a little.
    assert np.mean(squares) < 0.05**2


def test_a_model_that_is_too_sure_has_the_error_that_many_items_show() -> None:
    many, gold = sure(200_000, 3.0, 0)
    truth = error_of(log_probabilities(many), gold)
    few = [error_of(log_probabilities(logits), labels) for logits, labels in (sure(500, 3.0, s) for s in range(30))]
    assert np.mean(few) == pytest.approx(truth, abs=0.01)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature: float) -> None:
    logits, gold = sure(20_000, temperature, 1)
    assert fitted_temperature(logits, gold) == pytest.approx(temperature, rel=0.05)


def test_an_ensemble_of_equal_seeds_changes_nothing() -> None:
    log_probs = log_probabilities(sure(20, 1.0, 0)[0])
    assert ensemble(np.stack([log_probs] * 3)) == pytest.approx(log_probs)


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=8, max_size=40))
@settings(deadline=None)
def test_overlap_is_cohens_kappa(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    found = error_overlap(a[None], b[None], np.ones((1, len(a))))[0, 0, 0]
    if len({*a}) < 2 and len({*b}) < 2:
        assert np.isnan(found) or found == 0
    else:
        assert found == pytest.approx(cohen_kappa_score(a, b))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(1, 5))
def test_patience_stops_after_so_many_epochs_without_gain(scores: list[int], patience: int) -> None:
    end = stopped([float(score) for score in scores], patience)
    until = scores[: end.last]
    assert scores[end.kept - 1] == max(until)
    assert end.kept - 1 == until.index(max(until))
    assert end.last == len(scores) or end.last - end.kept == patience
    assert all(
        max(until[:epoch]) > max(until[: epoch - patience]) for epoch in range(patience + 1, end.last)
    )  # no earlier epoch ended it


@pytest.mark.parametrize("bad", [([], 1), ([0.5, float("nan")], 1), ([0.5], 0)])
def test_patience_refuses_what_it_can_not_use(bad: tuple[list[float], int]) -> None:
    with pytest.raises(ValueError, match="patience|finite"):
        stopped(*bad)


@pytest.mark.slow
def test_the_crossed_interval_holds_the_truth() -> None:
    held = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        values = 0.5 + rng.normal(0, 0.05, (5, 1)) + rng.normal(0, 0.5, (1, 200)) + rng.normal(0, 0.3, (5, 200))

        def mean(seeds: list[np.ndarray], weights: np.ndarray, values: np.ndarray = values) -> np.ndarray:
            return weights @ values[seeds[0]].mean(axis=0) / weights.sum(axis=1)

        _, interval = crossed_interval(mean, [5], rng.integers(0, 2, 200), np.arange(200))
        assert interval is not None
        held.append(interval.low <= 0.5 <= interval.high)
    assert 0.91 <= np.mean(held) <= 0.99


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return load(shutil.copytree(GOLDEN, tmp_path_factory.mktemp("golden") / "golden"))


def test_single_seeds_score_what_tables_show_even_where_rounded_logits_are_equal(tmp_path: Path) -> None:
    root = shutil.copytree(GOLDEN, tmp_path / "golden")
    for path in root.glob("trials/*/predictions.parquet"):
        write_logits(path, [[round(logit) for logit in row] for row in pq.read_table(path)["logits"].to_pylist()])
    for cell in load(root).cells():
        found = logits_of(cell, "test")
        assert found is not None
        assert any(len(set(row)) < len(row) for row in found.logits[0])
        for one in ensemble_gains(cell, found):
            sample = cell.sample(one.metric)
            assert sample is not None
            assert one.single == pytest.approx(sample.mean)


def test_a_stored_run_has_all_four_sections(golden: Results) -> None:
    found = with_logits(golden.cells())
    one = calibration(*found[0])
    assert one.scaled_nll is not None
    assert one.nll[1] is not None
    assert one.nll[1].low < one.nll[0] < one.nll[1].high
    gains = ensemble_gains(*found[0])
    assert [gain.together - gain.single for gain in gains] == pytest.approx([gain.gain[0] for gain in gains])
    own = [one for one in overlaps(found) if one.first is one.second]
    assert len(own) == len(found) == 3
    sections = [calibration_section(found), ensembles_section(found), overlap_section(found)]
    sections.append(patience_section(golden.records, golden.cells()))
    for section in sections:
        assert isinstance(section.blocks[1], Grid)
        assert section.blocks[1].rows


def test_patience_of_a_stored_run_is_that_of_its_epochs(golden: Results) -> None:
    epochs = golden.epochs
    for cell in golden.cells():
        for one in simulated_patience(golden.records, cell):
            kept = []
            for trial in cell.completed:
                own = epochs[epochs["trial_id"] == trial.path.name.rsplit("-", 1)[1]]
                end = stopped(own["val_macro_f1"].tolist(), one.patience)
                kept.append(own["test_macro_f1"].iloc[end.kept - 1])
            assert one.score == pytest.approx(np.mean(kept))


def test_every_patience_of_every_cell_stands_in_the_report_or_is_explained(golden: Results) -> None:
    cells = golden.cells()
    records, lost = golden.records, cells[0].title
    epochs = records.epochs.copy()
    paths = [trial.folder for trial in cells[0].completed]
    epochs.loc[epochs["path"].isin(paths), "val_macro_f1"] = np.nan
    section = patience_section(replace(records, epochs=epochs), cells)
    _, grid, points = section.blocks
    assert isinstance(grid, Grid)
    assert isinstance(points, Points)
    stopping = [cell for cell in cells[1:] if any(one.num_stopped for one in simulated_patience(records, cell))]
    assert len(grid.rows) == 3 * len(stopping), "a row for each patience of a cell in which some patience stops a trial"
    assert f"Left out (epochs without validation scores): {lost}." in points.items
    others = " ".join(item for item in points.items if "would have stopped no trial" in item)
    assert all(cell.title in others for cell in cells[1:] if cell not in stopping)
    stopped_early, changes = ([row[grid.head.index(name)] for row in grid.rows] for name in ("stopped early", "change"))
    for count, change in zip(stopped_early, changes, strict=True):
        assert (change == "no change (no trial stops early)") == count.startswith("0 of")
        assert "+0.00 (" not in change
        assert "[" in change or "(" in change, "an interval, or why there is none"


def test_a_change_without_an_interval_says_why(golden: Results) -> None:
    """Three trials that keep the same epoch early as late: the change is 0 in each of them."""
    epochs = golden.records.epochs.assign(val_macro_f1=[1.0 - n / 100 for n in golden.records.epochs["epoch"]])
    section = patience_section(replace(golden.records, epochs=epochs), golden.cells())
    grid = section.blocks[1]
    assert isinstance(grid, Grid)
    texts = {row[-1] for row in grid.rows if row[1] == "1"}
    assert texts <= {
        "no change (the same test score in every trial)", "no change (no trial stops early)",
        "+0.00 (no interval below 3 trials)",
    }  # fmt: skip


def test_cells_in_which_no_patience_stops_a_trial_are_one_line(golden: Results) -> None:
    epochs = golden.records.epochs.assign(val_macro_f1=[n / 100 for n in golden.records.epochs["epoch"]])
    section = patience_section(replace(golden.records, epochs=epochs), golden.cells())
    (points,) = (block for block in section.blocks if isinstance(block, Points))
    assert not any(isinstance(block, Grid) for block in section.blocks)
    (line,) = points.items
    assert all(cell.title in line for cell in golden.cells())
    assert line.startswith("Nothing changes, since a patience of at most 3 epochs would have stopped no trial")


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_the_crossed_interval_is_never_narrower_than_that_over_seeds(spread: float) -> None:
    rng = np.random.default_rng(5)
    values = 0.5 + np.array([-0.1, 0.0, 0.03, 0.1])[:, None] + spread * rng.normal(size=(1, 300))

    def mean(seeds: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
        return weights @ values[seeds[0]].mean(axis=0) / weights.sum(axis=1)

    _, found = crossed_interval(mean, [4], rng.integers(0, 2, 300), np.arange(300))
    here = mean_interval(Sample.of(values.mean(axis=1)))
    assert found is not None
    assert here is not None
    assert found.low <= here.low + 1e-9
    assert found.high >= here.high - 1e-9


def write_logits(path: Path, rows: list[list[float]]) -> None:
    """Put other logits into a file of predictions."""
    table = pq.read_table(path)
    column = table.schema.get_field_index("logits")
    field = table.schema.field("logits")
    changed = pa.array([np.array(row, dtype=np.float16) for row in rows], type=field.type)
    pq.write_table(table.set_column(column, field, changed), path)


@pytest.mark.parametrize("damage", ["infinite", "short"])
def test_damaged_logits_are_named(tmp_path: Path, damage: str) -> None:
    root = shutil.copytree(GOLDEN, tmp_path / "golden")
    cell = load(root).cells()[0]
    path = Path(cell.completed[0].folder) / "predictions.parquet"
    table = pq.read_table(path)
    rows = [
        [float("inf")] * len(row) if damage == "infinite" else row[: 1 + place % 2]
        for place, row in enumerate(table["logits"].to_pylist())
    ]
    write_logits(path, rows)
    with pytest.raises(DamagedRecord, match="logit"):
        logits_of(cell, "test")


def test_a_cell_that_was_scored_on_different_items_is_left_out(tmp_path: Path) -> None:
    root = shutil.copytree(GOLDEN, tmp_path / "golden")
    cells = load(root).cells()
    path = Path(cells[0].completed[0].folder) / "predictions.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("item_id")
    names = pa.array([f"other-{name}" for name in table["item_id"].to_pylist()], type=table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), names), path)
    assert [cell.anchor for cell, _ in with_logits(cells)] == [cell.anchor for cell in cells[1:]]
