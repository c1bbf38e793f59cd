"""What more seeds would find: the table of detectable differences, and the line that a dry run prints."""

import pytest

from analysis.statistics.power import detectable_difference
from analysis.statistics.this_set import Spread
from tests.support.stores import add
from tunekit.commands.more_seeds import DETECTABLE, MORE_SEEDS, more_seeds
from tunekit.store.result_store import ResultStore


@pytest.mark.slow
def test_the_table_is_what_the_analysis_computes():
    counts = range(MORE_SEEDS - len(DETECTABLE) + 1, MORE_SEEDS + 1)
    assert counts[0] == 3
    assert [detectable_difference(Spread(1, 1, n, n), n) for n in counts] == pytest.approx(DETECTABLE, abs=5e-5)


def test_more_seeds_detect_less_and_cost_what_they_take(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    specs = [make_spec(seed=seed) for seed in range(1, 6)]
    cell = specs[0].cell
    assert more_seeds(specs, store.frames(), {cell: 60.0}) == []
    for position, spec in enumerate(specs):
        add(store, spec, scores=(0.1, 0.5 + position / 100))
    (line,) = more_seeds(specs, store.frames(), {cell: 60.0})
    assert "5 seeds detect 3.3 points, 20 seeds detect 1.4 points, for 15 more minutes (std of n = 5)" in line
    assert "minutes" not in more_seeds(specs, store.frames(), {cell: None})[0]
    assert more_seeds(specs[:2], store.frames(), {cell: None}) == [], "no test is made with two seeds"
