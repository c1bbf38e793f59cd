"""What is computed from a sweep's records and from looks at its command; and that a failed command gives no figure."""

from dataclasses import replace

import pytest

from benchmarks.many_packs import Looks, figures_of, watch
from tests.conftest import ROOT
from tunekit.store.result_store import ResultStore

SWEEP = ROOT / "docs/results/packs"


def test_time_of_a_pack_counts_once_and_the_rest_is_beside_training():
    trials, _ = ResultStore(SWEEP).trials()
    assert [trial.summary.execution["pack_size"] for trial in trials] == [2, 2]
    pack = sum(epoch.epoch_seconds for epoch in trials[0].epochs)
    assert [epoch.epoch_seconds for epoch in trials[0].epochs] == [epoch.epoch_seconds for epoch in trials[1].epochs]
    first = trials[0].epochs[0].epoch_seconds
    looks = Looks(
        seconds=[100.0, 110.0 + first, 110.0 + pack, 130.0 + pack],
        completed=[0, 0, 0, 2],
        driver_bytes=[2**20, 2 * 2**20, 3 * 2**20, 2 * 2**20],
        hosts=1,
        first_epoch=110.0 + first,
        first_trial=trials[0].folder.name,
    )
    found = figures_of(SWEEP, looks)
    assert found["seconds from the command to the start of the first epoch"] == pytest.approx(10)
    assert found["seconds of training and scoring, in all processes"] == pytest.approx(pack)
    assert found["seconds beside training, a trial"] == pytest.approx(20 / 2)
    assert found["seconds beside training, an epoch of a trial"] == pytest.approx(20 / 6)
    assert found["share of training and scoring"] == pytest.approx(pack / (pack + 20))
    assert found["driver's MiB at most"] == 3
    two = figures_of(SWEEP, replace(looks, hosts=2))
    assert two["seconds beside training, a trial"] == pytest.approx((2 * (pack + 20) - pack) / 2)


@pytest.mark.slow
def test_a_command_that_fails_gives_no_figure(tmp_path):
    with pytest.raises(RuntimeError, match=r"ended with 2: .*bertt"):
        watch(["run", "--models", "bertt", "--storage", str(tmp_path)], tmp_path / "packs")
