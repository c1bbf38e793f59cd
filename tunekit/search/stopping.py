"""Early stopping by asynchronous successive halving, ASHA: its settings, and the epochs that a study then trains."""

REDUCTION_FACTOR = 3
"""One in REDUCTION_FACTOR trials that reach a rung goes on (eta of Li et al., 2020, arXiv:1810.05934)."""
GRACE_EPOCHS = 1
"""The epochs that every trial trains, which is the first rung; each next rung has REDUCTION_FACTOR times as many."""


def expected_epochs(num_trials: int, max_epochs: int) -> float:
    """Return about how many epochs ``num_trials`` trials of at most ``max_epochs`` train together under ASHA."""
    total, before, rung, reached = 0.0, 0, GRACE_EPOCHS, num_trials
    while rung < max_epochs and reached:
        total += reached * (rung - before)
        before, rung, reached = rung, rung * REDUCTION_FACTOR, round(_going_on(reached))
    return total + reached * (max_epochs - before)


def _going_on(reached: int) -> float:
    """Return the expected number of trials that go on, of ``reached`` trials at a rung, if scores come in any order.

    The first trial goes on. Trial i goes on if its score is at least the quantile 1 - 1 / REDUCTION_FACTOR of the
    i - 1 scores before it, which Ray interpolates: it does with a probability of (1 + 1 / i) / REDUCTION_FACTOR.
    """
    return 1 + sum((1 + 1 / place) / REDUCTION_FACTOR for place in range(2, reached + 1))
