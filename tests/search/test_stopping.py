"""How many epochs ASHA is expected to leave of a study, against what Ray's own scheduler leaves."""

import numpy as np
import pytest

from benchmarks.replays.replay import asha
from tunekit.search.stopping import expected_epochs


def epochs_left(num_trials: int, max_epochs: int, generator: np.random.Generator) -> int:
    """The epochs that Ray's ASHA leaves of trials that run one after another, with independent scores."""
    stops, total = asha(max_epochs), 0
    for trial in range(num_trials):
        for epoch in range(1, max_epochs + 1):
            total += 1
            if stops(trial, epoch, float(generator.random())):
                break
    return total


@pytest.mark.parametrize(("num_trials", "max_epochs"), [(30, 10), (12, 3), (40, 9), (5, 4)])
def test_it_is_about_what_ray_leaves_of_trials_in_any_order(num_trials, max_epochs):
    generator = np.random.default_rng(0)
    seen = np.mean([epochs_left(num_trials, max_epochs, generator) for _ in range(40)])
    assert expected_epochs(num_trials, max_epochs) == pytest.approx(seen, rel=0.15)


def test_the_ends_of_the_range():
    assert expected_epochs(0, 10) == 0
    assert expected_epochs(1, 10) == 10
    assert expected_epochs(7, 1) == 7
    assert 30 < expected_epochs(30, 10) < 30 * 10
