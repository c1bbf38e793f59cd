"""Intervals over seeds and items: worked values, properties, and many simulated studies of each test set.

The studies draw seeds and items from a finite population whose scores are known exactly. A run gives an item the class
with the largest of K latent values: skill for the gold class, difficulty of the item, shared by all rows and in part by
its sentence, a part of the row's own, the seed's skill and liking of a class, and noise of seed and item.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from analysis.statistics import new_text as crossed
from analysis.statistics.new_text import SeedPredictions
from analysis.statistics.this_set import Difference, Interval, Sample, mcnemar, mean_interval

pytestmark = pytest.mark.slow

SEEDS, DRAWS, POOL_SEEDS = 5, 100, 200
ACL_CLASSES = (71, 26, 25, 7, 5, 5)
RESTAURANT_SENTENCES = {1: 285, 2: 192, 3: 73, 4: 31, 5: 14, 6: 3, 7: 1, 13: 1}
METRICS = ("accuracy", "macro_f1")


def interval(metric: str, runs: SeedPredictions, level: float = 0.95, draws: int = DRAWS) -> Interval | None:
    (row,) = crossed.variations([runs], metric, draws)
    return crossed.interval(row, level)


def difference(
    metric: str, a: SeedPredictions, b: SeedPredictions, draws: int = DRAWS, seed: int = 0
) -> Difference | None:
    return crossed.difference(*crossed.variations([a, b], metric, draws, seed))


def seed_scores(runs: SeedPredictions) -> dict[str, np.ndarray]:
    """Accuracy and macro-F1 of each seed, (S,)."""
    gold, predicted, f1 = runs.gold, runs.predicted, []
    for label in range(runs.num_classes):
        hits = ((predicted == label) & (gold == label)).sum(axis=1)
        f1.append(2 * hits / np.maximum((predicted == label).sum(axis=1) + (gold == label).sum(), 1))
    return {"accuracy": (predicted == gold).mean(axis=1), "macro_f1": np.mean(f1, axis=0)}


@dataclass(frozen=True)
class Population:
    """Predictions (POOL_SEEDS, items) of each row on a pool of items, and how a test set is drawn from the pool."""

    rows: dict[str, SeedPredictions]
    draw: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
    num_studies: int

    @cached_property
    def truths(self) -> dict[str, dict[str, float]]:
        """The true score of each row, by metric."""
        scores = {row: seed_scores(runs) for row, runs in self.rows.items()}
        return {name: {row: float(found[name].mean()) for row, found in scores.items()} for name in METRICS}

    def test_sets(self) -> Iterator[dict[str, SeedPredictions]]:
        """Test sets scored by SEEDS seeds of each row, everything drawn with replacement."""
        rng = np.random.default_rng(2024)
        for _ in range(self.num_studies):
            items, groups = self.draw(rng)
            seeds = {row: rng.integers(POOL_SEEDS, size=SEEDS)[:, None] for row in self.rows}
            yield {
                row: replace(pool, gold=pool.gold[items], predicted=pool.predicted[seeds[row], items], groups=groups)
                for row, pool in self.rows.items()
            }

    @cached_property
    def studies(self) -> list["Study"]:
        """What is said of each test set."""
        return [study_of(rows) for rows in self.test_sets()]


PAIRS = (("row", "rival"), ("loud", "quiet"), ("better", "row"))


@dataclass(frozen=True)
class Study:
    """What is said of one test set, by metric."""

    scores: dict[str, dict[str, np.ndarray]]
    """The score of each seed, (SEEDS,), by row."""
    intervals: dict[str, Interval]
    """The interval of the row called row."""
    differences: dict[str, dict[tuple[str, str], Difference]]
    """The difference of each of PAIRS."""


def study_of(rows: dict[str, SeedPredictions]) -> Study:
    scores, intervals, differences = {}, {}, {}
    for metric in METRICS:
        found = dict(zip(rows, crossed.variations(list(rows.values()), metric, DRAWS), strict=True))
        scores[metric] = {row: one.scores for row, one in found.items()}
        intervals[metric] = crossed.interval(found["row"])
        differences[metric] = {(a, b): crossed.difference(found[a], found[b]) for a, b in PAIRS}
    return Study(scores, intervals, differences)


def pool(gold: np.ndarray, groups: np.ndarray, better: float, spread: float) -> dict[str, SeedPredictions]:
    """Rows on the pool: ``better`` is the skill of the better one, ``spread`` scales the seeds' effects."""
    rng = np.random.default_rng(1)
    classes = int(gold.max()) + 1

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((*shape, classes), dtype=np.float32)

    difficulty = 0.75 * normal(len(gold)) + 0.5 * normal(groups.max() + 1)[groups]
    right = np.eye(classes, dtype=np.float32)[gold]
    rows = {}
    for name, (skill, seed_std, noise) in {
        "row": (2.0, 0.05 * spread, 0.25),
        "rival": (2.0, 0.05 * spread, 0.25),
        "better": (better, 0.05 * spread, 0.25),
        "loud": (2.0, 0.12 * spread, 0.4),
        "quiet": (2.0, 0.02 * spread, 0.05),
    }.items():
        base = difficulty + 0.32 * normal(len(gold))
        predicted = np.empty((POOL_SEEDS, len(gold)), dtype=np.int8)
        for seed in range(POOL_SEEDS):
            own_skill = np.float32(skill + seed_std * rng.standard_normal())
            latent = base + own_skill * right + seed_std * normal() + noise * normal(len(gold))
            predicted[seed] = latent.argmax(axis=1)
        rows[name] = SeedPredictions(gold, predicted, groups, classes)
    return rows


def acl_like() -> Population:
    """139 items of six classes, each item a group of its own."""
    gold = np.repeat(np.arange(len(ACL_CLASSES)), 60 * np.array(ACL_CLASSES))
    items = sum(ACL_CLASSES)
    rows = pool(gold, np.arange(len(gold)), better=2.34, spread=1.0)
    return Population(rows, lambda rng: (rng.integers(len(gold), size=items), np.arange(items)), num_studies=1000)


def restaurant_like() -> Population:
    """1,120 items in 600 sentences of one tone each; the classes' sizes follow from the sentences drawn."""
    rng = np.random.default_rng(2)
    lengths = np.array(list(RESTAURANT_SENTENCES))
    counts = np.array(list(RESTAURANT_SENTENCES.values()))
    sentences = 10 * counts
    groups = np.repeat(np.arange(sentences.sum()), np.repeat(lengths, sentences))
    tone = rng.standard_normal(sentences.sum())[groups] + 0.6 * rng.standard_normal(len(groups))
    gold = np.searchsorted(np.quantile(tone, (728 / 1120, 924 / 1120)), tone)
    starts = np.cumsum(sentences * lengths) - sentences * lengths
    test_groups = np.repeat(np.arange(counts.sum()), np.repeat(lengths, counts))

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = [
            (start + length * rng.integers(n, size=count)[:, None] + np.arange(length)).ravel()
            for start, length, n, count in zip(starts, lengths, sentences, counts, strict=True)
        ]
        return np.concatenate(chosen), test_groups

    return Population(pool(gold, groups, better=2.17, spread=0.6), draw, num_studies=500)


@pytest.fixture(scope="module", params=["139 items", "1,120 items"])
def population(request: pytest.FixtureRequest) -> Population:
    return acl_like() if request.param == "139 items" else restaurant_like()


def test_intervals_cover_the_truth_and_are_never_narrower_than_those_over_seeds(population: Population) -> None:
    for metric in METRICS:
        truth, covered = population.truths[metric]["row"], 0
        for study in population.studies:
            found, here = study.intervals[metric], mean_interval(Sample.of(study.scores[metric]["row"]))
            covered += found.low <= truth <= found.high
            assert here is None or found.low <= here.low + 1e-12 and here.high - 1e-12 <= found.high
        assert 0.93 <= covered / population.num_studies <= 0.98, metric


@pytest.mark.parametrize(("a", "b"), [("row", "rival"), ("loud", "quiet")])
def test_a_true_difference_is_rarely_rejected(population: Population, a: str, b: str) -> None:
    """The interval of the difference leaves out the true one; with a true difference of 0 this is the test.

    A test of 5 % rejects more often than allowed here in one of 50 simulations.
    """
    allowed = stats.binom.ppf(0.98, population.num_studies, 0.05)
    for metric in METRICS:
        truth = population.truths[metric][a] - population.truths[metric][b]
        found = [study.differences[metric][a, b].interval for study in population.studies]
        rejected = sum(not one.low <= truth <= one.high for one in found)
        assert rejected <= allowed, metric
    # The last metric is macro-F1.
    of_a, of_b = (np.array([study.scores[metric][row] for study in population.studies]) for row in (a, b))
    ratio = np.sqrt(of_a.var(axis=1, ddof=1).mean() / of_b.var(axis=1, ddof=1).mean())
    welch = stats.ttest_ind(of_a - truth, of_b, axis=1, equal_var=False).pvalue < 0.05
    assert a != "loud" or ratio > 3.5
    assert welch.mean() >= 0.12, "seeds alone should reject far too often here"


def test_a_gap_of_two_stds_is_found(population: Population) -> None:
    """The std is that of one run's score over seeds and items."""
    for metric in METRICS:
        truth = population.truths[metric]["better"] - population.truths[metric]["row"]
        std = np.std([study.scores[metric]["row"][0] for study in population.studies])
        found = sum(study.differences[metric]["better", "row"].p < 0.05 for study in population.studies)
        assert truth / std <= 2.1, metric
        assert found >= 0.7 * population.num_studies, metric


def small(rng: np.random.Generator, seeds: int = 5, items: int = 60) -> SeedPredictions:
    """Predictions of three classes, right on three quarters of the items and by chance elsewhere, two items a group."""
    gold = np.arange(items) % 3
    predicted = np.where(rng.random((seeds, items)) < 0.75, gold, rng.integers(3, size=(seeds, items)))
    return SeedPredictions(gold, predicted, np.arange(items) // 2, 3)


@pytest.fixture
def pair() -> tuple[SeedPredictions, SeedPredictions]:
    rng = np.random.default_rng(3)
    return small(rng), small(rng, seeds=4)


def test_accuracy_is_the_two_way_analysis_of_variance(pair: tuple[SeedPredictions, SeedPredictions]) -> None:
    """Mean squares of the S x I table of hits, each item a group of its own."""
    runs = replace(pair[0], groups=np.arange(60))
    hits = (runs.predicted == runs.gold).astype(float)
    s, i = hits.shape
    mean, rows, columns = hits.mean(), hits.mean(axis=1), hits.mean(axis=0)
    ms_seed = i * np.sum((rows - mean) ** 2) / (s - 1)
    ms_item = s * np.sum((columns - mean) ** 2) / (i - 1)
    ms_rest = np.sum((hits - rows[:, None] - columns + mean) ** 2) / ((s - 1) * (i - 1))
    variance = max(ms_seed + ms_item - ms_rest, ms_seed, ms_item) / (s * i)
    parts = ms_seed**2 / (s - 1) + ms_item**2 / (i - 1) + ms_rest**2 / ((s - 1) * (i - 1))
    half = stats.t.ppf(0.95, variance**2 / (parts / (s * i) ** 2)) * np.sqrt(variance)
    over_seeds = stats.t.ppf(0.95, s - 1) * rows.std(ddof=1) / np.sqrt(s)
    half = max(half, over_seeds)
    found = interval("accuracy", runs, 0.9)
    assert (found.low, found.high, found.level) == pytest.approx((mean - half, mean + half, 0.9))


def test_the_bootstrap_agrees_with_the_jackknife_of_clusters() -> None:
    rng = np.random.default_rng(4)
    a, b = small(rng, items=1200), small(rng, seeds=4, items=1200)

    def leave_one_out(runs: SeedPredictions) -> np.ndarray:
        kept = [runs.groups != group for group in range(600)]
        left = [SeedPredictions(runs.gold[k], runs.predicted[:, k], runs.groups[k], runs.num_classes) for k in kept]
        values = np.array([seed_scores(runs)["macro_f1"] for runs in left])
        return (values - values.mean(axis=0)) * np.sqrt(599 / 600)

    out = [leave_one_out(runs) for runs in (a, b)]
    item = np.sum((out[0].mean(axis=1) - out[1].mean(axis=1)) ** 2)
    seed = [seed_scores(r)["macro_f1"].var(ddof=1) / len(r.predicted) for r in (a, b)]
    rest = [np.sum(np.var(values, axis=1, ddof=1)) / values.shape[1] for values in out]
    variance = max(sum(seed) + item - sum(rest), sum(seed), item)
    result = difference("macro_f1", a, b, draws=4000)
    half = (result.interval.high - result.interval.low) / 2
    assert (half / stats.t.ppf(0.975, result.tests[0].df)) ** 2 == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize("metric", METRICS)
def test_an_interval_for_new_text_is_never_narrower_than_the_one_over_seeds(metric: str) -> None:
    """Four seeds that differ much, on items that add degrees of freedom and little variance."""
    rng = np.random.default_rng(6)
    gold = np.arange(300) % 3
    shares = np.array([0.6, 0.68, 0.72, 0.8])[:, None]
    runs = SeedPredictions(gold, np.where(rng.random(300) < shares, gold, (gold + 1) % 3), np.arange(300) // 2, 3)
    (row,) = crossed.variations([runs], metric)
    found, here = crossed.interval(row), mean_interval(Sample.of(row.scores))
    assert (found.low, found.high) == pytest.approx((here.low, here.high))


def test_macro_f1_counts_the_full_label_set(pair: tuple[SeedPredictions, SeedPredictions]) -> None:
    runs = replace(pair[0], num_classes=4)
    expected = [f1_score(runs.gold, p, labels=range(4), average="macro", zero_division=0) for p in runs.predicted]
    found = interval("macro_f1", runs, draws=50)
    assert (found.low + found.high) / 2 == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("metric", METRICS)
def test_a_difference_changes_sign_with_its_rows(pair: tuple[SeedPredictions, SeedPredictions], metric: str) -> None:
    a, b = pair
    there, back = difference(metric, a, b), difference(metric, b, a)
    assert there.difference == pytest.approx(-back.difference)
    assert there.p == pytest.approx(back.p)
    assert [one.df for one in there.tests] == pytest.approx([one.df for one in back.tests])
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert (there.p < 0.05) == (there.interval.low > 0 or there.interval.high < 0)


@pytest.mark.parametrize("metric", METRICS)
def test_copies_of_items_names_of_groups_and_order_of_seeds_add_nothing(
    pair: tuple[SeedPredictions, SeedPredictions], metric: str
) -> None:
    gold, predicted, groups = pair[0].gold, pair[0].predicted, pair[0].groups
    twice = SeedPredictions(
        np.repeat(gold, 2), np.repeat(predicted[::-1], 2, axis=1), 1000 + 7 * np.repeat(groups, 2), 3
    )
    found, expected = interval(metric, twice), interval(metric, pair[0])
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    apart = interval(metric, replace(twice, groups=np.arange(120)))
    assert apart.high - apart.low < 0.98 * (expected.high - expected.low)


def test_draws_are_seeded(population: Population) -> None:
    rows = next(population.test_sets())
    pair = rows["row"], rows["rival"]
    first, again, other = (difference("macro_f1", *pair, draws=2000, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_is_said_of_two_seeds_or_without_spread(
    pair: tuple[SeedPredictions, SeedPredictions], metric: str
) -> None:
    a, b = pair
    two = replace(b, predicted=b.predicted[:2])
    perfect = replace(a, predicted=np.tile(a.gold, (5, 1)))
    assert interval(metric, two) is difference(metric, a, two) is None
    assert interval(metric, perfect) is difference(metric, perfect, perfect) is None


@pytest.mark.parametrize("metric", METRICS)
def test_collapsed_runs_and_a_class_of_one_item_have_an_interval(metric: str) -> None:
    gold = np.array([0] * 30 + [1] * 9 + [2])
    found = interval(metric, SeedPredictions(gold, np.zeros((3, 40), dtype=int), np.arange(40), 3))
    assert 0 < found.high - found.low < 0.5


@pytest.mark.parametrize("metric", METRICS)
def test_rows_of_other_items_are_refused(pair: tuple[SeedPredictions, SeedPredictions], metric: str) -> None:
    a, b = pair
    for other in (replace(b, gold=b.gold[::-1]), replace(b, groups=b.groups[::-1]), replace(b, num_classes=4)):
        with pytest.raises(ValueError, match="same items"):
            difference(metric, a, other)


def test_what_is_not_a_set_of_runs_is_refused(pair: tuple[SeedPredictions, SeedPredictions]) -> None:
    runs = pair[0]
    for change, words in (
        ({"gold": runs.gold[1:]}, "must be"),
        ({"predicted": runs.predicted[0]}, "must be"),
        ({"predicted": runs.predicted + 1}, "predicted has labels outside"),
        ({"gold": runs.gold - 1}, "gold has labels outside"),
        ({"groups": np.zeros(60, dtype=int)}, "fewer than two groups"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(runs, **change)
    with pytest.raises(ValueError, match="draws is 1"):
        interval("macro_f1", runs, draws=1)


def test_mcnemar_is_exact(pair: tuple[SeedPredictions, SeedPredictions]) -> None:
    gold, a, b = pair[0].gold, pair[0].predicted[0], pair[1].predicted[0]
    right_a, right_b = a == gold, b == gold
    table = [[0, np.sum(right_a & ~right_b)], [np.sum(~right_a & right_b), 0]]
    result = mcnemar(gold, a, b)
    assert (result.b, result.c) == (table[0][1], table[1][0])
    assert result.p == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    assert mcnemar(gold, a, a).p == 1.0
    with pytest.raises(ValueError, match="shape"):
        mcnemar(gold, a, b[1:])
