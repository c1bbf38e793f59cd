"""Replayed searches: what they train costs what it cost, the best is judged on other seeds, and a table is whole."""

import numpy as np
import pytest

from benchmarks.replays.replay import Trainer, replay_random, replay_tpe
from benchmarks.replays.table import DEFAULT, POINTS, RecordedTable, add_trial, judge, read_table, recorded
from benchmarks.search import MARGIN, Judged
from tunekit.errors import UserError

EPOCHS = 4
FIRST = POINTS.index(dict(DEFAULT))


def curves(best=40):
    """Running bests (64, 4): the nearer to the configuration ``best``, the higher."""
    final = 0.9 - 0.01 * abs(np.arange(len(POINTS)) - best)
    return np.stack([final - 0.1 * (EPOCHS - 1 - epoch) for epoch in range(EPOCHS)], axis=1)


@pytest.fixture
def table():
    """Three seeds; the first one's best is configuration 40, the others' 41."""
    val = np.stack([curves(40), curves(41), curves(41)], axis=1)
    return RecordedTable(val, val - 0.05)


def test_random_trains_every_configuration_once_the_default_first():
    replay = replay_random(curves(), seed=1)
    assert replay.spent == [EPOCHS * n for n in range(1, len(POINTS) + 1)]
    assert replay.chosen[0] == FIRST
    assert replay.chosen[-1] == 40


def test_the_choice_never_gets_worse_on_the_searched_seed():
    known = curves()
    for replay in (replay_random(known, seed=2), replay_tpe(known, seed=2)):
        scores = [known[chosen, -1] for chosen in replay.chosen]
        assert scores == sorted(scores)


@pytest.mark.slow
def test_a_replay_is_its_seed():
    assert replay_tpe(curves(), seed=3).spent == replay_tpe(curves(), seed=3).spent
    assert replay_random(curves(), seed=3).chosen != replay_random(curves(), seed=4).chosen


def test_tpe_pays_for_a_configuration_once():
    replay = replay_tpe(curves(), seed=5)
    steps = np.diff([0, *replay.spent])
    assert set(steps) == {EPOCHS}
    assert len(steps) < len(POINTS)  # some of its 64 suggestions were repeats


def test_a_stopped_trial_costs_what_it_trained_and_is_never_the_choice():
    known = curves()
    trainer = Trainer(known, lambda point, epoch, score: epoch == 2 and point != FIRST)
    for point in (FIRST, 40, 41):
        trainer.train(point)
    assert trainer.replay.spent == [EPOCHS, EPOCHS + 2, EPOCHS + 4]
    assert trainer.replay.chosen == [FIRST] * 3
    assert len(trainer.train(40)) == 2
    assert trainer.replay.spent[-1] == EPOCHS + 4  # asked again, answered free


def test_the_best_is_that_of_the_unseen_seeds(table):
    judged = judge(table, seen=0)
    assert judged.best == 41
    np.testing.assert_allclose(judged.scores, table.test[:, 1, -1])
    assert judged.regrets(judged.best)[40] == pytest.approx(0.01)
    assert judge(table, seen=1).best in (40, 41)


def test_the_standard_error_is_over_seeds(table):
    test = table.test.copy()
    test[:, 1] += 0.02
    judged = judge(RecordedTable(table.val, test), seen=0)
    assert judged.standard_error == pytest.approx(np.std([0.02, 0.0], ddof=1) / 2**0.5)


def test_the_test_score_is_that_of_the_epoch_chosen_on_validation(table):
    val = table.val.copy()
    val[7, 1] = [0.3, 0.8, 0.5, 0.8]
    assert RecordedTable(val, table.test).chosen_test[7, 1] == table.test[7, 1, 1]


def test_epochs_needed_and_the_regret_at_a_budget(table):
    regrets = judge(table, seen=0).regrets(41)
    replay = replay_random(curves(41), seed=6)
    judged = Judged(replay, regrets, len(POINTS) * EPOCHS)
    position = [chosen in np.flatnonzero(regrets <= MARGIN) for chosen in replay.chosen].index(True)
    assert judged.reached
    assert judged.needed == EPOCHS * (position + 1)
    assert judged.regret(judged.needed / judged.cap) <= MARGIN < judged.regret((judged.needed - 1) / judged.cap)
    never = Judged(replay, np.ones(len(POINTS)), judged.cap)
    assert (never.reached, never.needed) == (False, judged.cap)


def test_a_table_is_written_trial_by_trial_and_read_whole(tmp_path):
    path = tmp_path / "search.csv"
    assert recorded(path) == set()
    for seed in (1, 2):
        for place, point in enumerate(POINTS):
            add_trial(path, point, seed, [(0.5 + place / 1000, 0.4), (0.6, 0.5 + seed / 10)])
            if (seed, place) == (1, 3):
                assert len(recorded(path)) == 4
                with pytest.raises(UserError, match="not whole"):
                    read_table(path)
    table = read_table(path)
    assert table.val.shape == (len(POINTS), 2, 2)
    np.testing.assert_allclose(table.val[:, 0, 0], 0.5 + np.arange(len(POINTS)) / 1000)
    np.testing.assert_allclose(table.test[0, :, 1], [0.6, 0.7])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match="not whole"):
        read_table(path)


def test_the_recorded_table_is_whole():
    table = read_table()
    assert table.val.shape == (64, 3, 9)
    for scores in (table.val, table.test):
        assert 0 <= scores.min() <= scores.max() <= 1
