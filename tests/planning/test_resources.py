"""What a trial asks of nodes of different kinds, and how many find room."""

import pytest

from tunekit.errors import UserError
from tunekit.planning.resources import Node, Resources, check_room, on_gpus, pack_of, room, share_of

HEAD = Node("0", "head", 0, 0)
SMALL, LARGE = Node("1", "small", 3, 0), Node("2", "large", 16, 0)
ONE_GPU, FOUR_GPUS = Node("3", "one", 8, 1), Node("4", "four", 48, 4)


@pytest.mark.parametrize(
    ("nodes", "resources", "trials"),
    [
        ([HEAD, SMALL, LARGE], Resources(), 19),
        # A trial never spreads over nodes: of 3 cores one stays idle.
        ([HEAD, SMALL, LARGE], Resources(cpus_per_trial=2), 9),
        ([HEAD, SMALL, LARGE], Resources(cpus_per_trial=2, max_concurrent=4), 4),
        ([HEAD, SMALL, LARGE], Resources(pack=3), 57),
        # With a GPU anywhere, nodes without one are left idle.
        ([HEAD, LARGE, ONE_GPU, FOUR_GPUS], Resources(), 5),
        ([HEAD, LARGE, ONE_GPU, FOUR_GPUS], Resources(trials_per_device=4), 20),
        # Few cores beside many GPUs.
        ([Node("5", "lean", 2, 4)], Resources(), 2),
        ([HEAD], Resources(), 0),
    ],
)
def test_room(nodes, resources, trials):
    assert room(nodes, resources) == trials


def test_shares():
    mixed = [LARGE, ONE_GPU]
    assert share_of([SMALL], Resources(cpus_per_trial=2)) == {"cpu": 2, "gpu": 0}
    assert share_of(mixed, Resources(cpus_per_trial=2, trials_per_device=8)) == {"cpu": 0.25, "gpu": 0.125}
    assert (on_gpus(mixed), on_gpus([SMALL])) == (True, False)
    assert pack_of([SMALL], Resources(trials_per_device=8)) == 1


def test_a_trial_that_no_node_can_take_is_refused():
    check_room([HEAD, LARGE], Resources(cpus_per_trial=16))
    with pytest.raises(UserError, match="17 cores, the largest node has 16; lower --cpus-per-trial"):
        check_room([HEAD, SMALL, LARGE], Resources(cpus_per_trial=17))
    with pytest.raises(UserError, match="16 cores beside a GPU, the largest node has 8"):
        check_room([LARGE, ONE_GPU], Resources(cpus_per_trial=16))
