"""The components of variance that a benchmark reads off predictions, on predictions whose components are known."""

import numpy as np
import pytest

from analysis.statistics.new_text import SeedPredictions
from benchmarks.observed import Components, components, simulated, study

KNOWN = Components(accuracy=0.7, seed=0.0009, item=0.08, habit=0.04, rest=0.09)
ITEMS = SeedPredictions(np.arange(4000) % 3, np.zeros((1, 4000), dtype=int), np.arange(4000), 3)


def test_components_are_those_that_a_study_was_simulated_with():
    rng = np.random.default_rng(0)
    found = [components(study(KNOWN, ITEMS, 10, 0.0, rng)) for _ in range(20)]
    for name in ("accuracy", "item", "habit", "rest", "seed"):
        mean = np.mean([getattr(one, name) for one in found])
        assert mean == pytest.approx(getattr(KNOWN, name), rel=0.12), name


def test_the_variance_of_a_difference_has_one_part_a_cause():
    parts = KNOWN.of_difference(seeds=5, items=100)
    assert parts == pytest.approx({"seeds": 2 * 0.0009 / 5, "habits": 2 * 0.04 / 100, "rest": 2 * 0.09 / 500})


@pytest.mark.slow
def test_tables_without_a_difference_seldom_err_and_seeds_alone_often_do():
    few = SeedPredictions(ITEMS.gold[:150], ITEMS.predicted[:, :150], ITEMS.groups[:150], 3)
    found = simulated(KNOWN, few, 20, 60, 5)
    assert found["accuracy"]["wrong"] <= 12 < found["accuracy, on these items"]["wrong"]
