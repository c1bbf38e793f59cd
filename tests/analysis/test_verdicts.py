"""Claims: the file, the logic of parts, Holm and directions, and the study's nine over its own tables."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.claims.grammar import Part, Quantifier, Relation
from analysis.claims.measured import Measured
from analysis.claims.published import published_lookup, register
from analysis.claims.row import ClaimRow
from analysis.claims.std_tests import std_p
from analysis.claims.verdicts import Claim, Verdict, at_least, evaluate, load_claims
from analysis.statistics.multiple import holm
from analysis.statistics.this_set import Sample, welch

pytestmark = pytest.mark.slow

A, B = ClaimRow("a", "full"), ClaimRow("b", "full")


def claim(*relations, quantifier=Quantifier.ALL, name="x", **part):
    """A claim with one part a relation, each on a dataset of its own: d0, d1, ..."""
    parts = [Part("said", A, relation, B, f"d{i}", "accuracy", **part) for i, relation in enumerate(relations)]
    return Claim(name, "A sentence.", quantifier, tuple(parts))


def above(gaps, std=0.01, n=5):
    """A lookup in which a beats b by ``gaps[i]`` on dataset di; a gap of None is a missing cell."""

    def lookup(model, method, dataset, metric):
        gap = gaps[int(dataset[1:])]
        return None if gap is None else Sample(0.5 + gap * (model == "a"), std, n)

    return lookup


def one(claim_, lookup):
    return evaluate([claim_], measured(lookup))[0]


def measured(lookup):
    """A lookup for claims out of one that gives the sample for (model, method, dataset, metric) or None."""

    def look(row, dataset, metric):
        sample = lookup(row.model, row.method, dataset, metric)
        runs = {str(n): value for n, value in enumerate(sample.values)} if sample else None
        return Measured(runs=runs, sample=sample)

    return look


# -- logic -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.data())
def test_partial_conjunction_is_the_largest_p_for_all_and_bonferroni_for_one(p_values, data):
    number = data.draw(st.integers(1, len(p_values)))
    assert at_least(p_values, len(p_values)) == max(p_values)
    assert at_least(p_values, 1) == min(1, len(p_values) * min(p_values))
    assert at_least(p_values, number) <= min(1, len(p_values) * max(p_values))


def test_all_is_as_weak_as_its_weakest_part():
    strong, weak = one(claim(Relation.ABOVE), above([0.05])), one(claim(Relation.ABOVE), above([0.005]))
    both = one(claim(Relation.ABOVE, Relation.ABOVE), above([0.05, 0.005]))
    assert strong.verdict is Verdict.SUPPORTED
    assert both.verdict is Verdict.UNDECIDED
    assert both.p == pytest.approx(weak.p)


def test_support_is_not_corrected_for_parts_but_contradiction_is():
    parts = [Relation.ABOVE] * 6
    assert one(claim(*parts), above([0.03] * 6)).p == pytest.approx(one(claim(Relation.ABOVE), above([0.03])).p)
    p = one(claim(Relation.ABOVE), above([-0.03])).p_against
    assert one(claim(*parts), above([0.03] * 5 + [-0.03])).p_against == pytest.approx(6 * p)


def test_one_part_the_other_way_contradicts_all_but_not_most():
    relations, gaps = [Relation.ABOVE] * 5, [0.05, 0.05, 0.05, 0.05, -0.05]
    against_all = one(claim(*relations), above(gaps))
    most = one(claim(*relations, quantifier=Quantifier.MOST), above(gaps))
    assert (against_all.verdict, most.verdict) == (Verdict.CONTRADICTED, Verdict.SUPPORTED)
    assert "the other way" in against_all.reason
    opposite = one(claim(*relations, quantifier=Quantifier.MOST), above([-gap for gap in gaps]))
    assert opposite.verdict is Verdict.CONTRADICTED


def test_half_is_not_most():
    half = claim(*[Relation.ABOVE] * 4, quantifier=Quantifier.MOST)
    assert half.required == 3
    assert one(half, above([0.05, 0.05, -0.05, -0.05])).verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize(
    ("relation", "gap", "expected"),
    [
        (Relation.ABOVE, 0.05, Verdict.SUPPORTED),
        (Relation.ABOVE, -0.05, Verdict.CONTRADICTED),
        (Relation.ABOVE, 0.001, Verdict.UNDECIDED),
        (Relation.BELOW, -0.05, Verdict.SUPPORTED),
        (Relation.BELOW, 0.05, Verdict.CONTRADICTED),
        (Relation.WITHIN, 0.001, Verdict.SUPPORTED),
        (Relation.WITHIN, 0.05, Verdict.CONTRADICTED),
        (Relation.WITHIN, -0.05, Verdict.CONTRADICTED),
        (Relation.WITHIN, 0.02, Verdict.UNDECIDED),
    ],
)
def test_directions(relation, gap, expected):
    result = one(claim(relation, margin=0.02), above([gap])) if relation is Relation.WITHIN else None
    result = result or one(claim(relation), above([gap]))
    assert result.verdict is expected
    assert (result.needed is not None) == (expected is Verdict.UNDECIDED)


def test_one_sided_p_is_scipys_and_within_is_the_equivalence_test():
    x, y = [0.71, 0.74, 0.70, 0.77, 0.72], [0.70, 0.69, 0.73, 0.66, 0.70]
    a, b = Sample.of(x), Sample.of(y)
    greater, less = (stats.ttest_ind(x, y, equal_var=False, alternative=side).pvalue for side in ("greater", "less"))
    assert [one_side.p for one_side in welch(a, b).one_sided()] == pytest.approx([greater, less])
    part = replace(claim(Relation.WITHIN, margin=0.06).parts[0])
    result = one(Claim("x", "t", Quantifier.ALL, (part,)), lambda model, *_: a if model == "a" else b)
    assert result.p == pytest.approx(welch(a, b).equivalence(0.06))


def test_a_factor_scales_the_second_row():
    def memory(model, method, dataset, metric):
        return Sample(0.2, 0.01, 5) if model == "a" else Sample(1.0, 0.02, 5)

    assert one(claim(Relation.BELOW, factor=0.25), memory).verdict is Verdict.SUPPORTED
    assert one(claim(Relation.BELOW, factor=0.15), memory).verdict is Verdict.CONTRADICTED


def test_holm_runs_over_the_testable_claims_only():
    lookup = above([0.02, 0.012, None])
    claims = [replace(claim(Relation.ABOVE), parts=claim(*[Relation.ABOVE] * 3).parts[i : i + 1]) for i in range(3)]
    alone = [one(item, lookup).p for item in claims[:2]]
    first, second, missing = evaluate(claims, measured(lookup))
    assert [first.p, second.p] == pytest.approx(holm(alone))
    assert (missing.verdict, missing.p, missing.p_against) == (Verdict.NOT_TESTABLE, None, None)
    assert evaluate([], measured(lookup)) == []


def test_missing_parts_can_not_support_all_but_may_be_spared_by_most():
    gaps = [0.05, 0.05, 0.05, 0.05, None]
    relations = [Relation.ABOVE] * 5
    absent = one(claim(*relations), above(gaps))
    assert absent.verdict is Verdict.NOT_TESTABLE
    assert "no accuracy of a, b on d4" in absent.reason
    most = one(claim(*relations, quantifier=Quantifier.MOST), above(gaps))
    assert most.verdict is Verdict.SUPPORTED
    assert "no accuracy of a, b on d4" in most.reason


@pytest.mark.parametrize(
    ("sample", "reason"),
    [(Sample(0.5, 0.1, 2), "n = 2"), (Sample(0.5, None, 5), "no standard deviation")],
)
def test_too_little_is_not_testable_and_says_why(sample, reason):
    result = one(claim(Relation.ABOVE), lambda *_: sample)
    assert result.verdict is Verdict.NOT_TESTABLE
    assert reason in result.reason


def test_rows_that_do_not_vary_are_not_tested_and_the_reason_is_the_true_one():
    constant = {"a": Sample(0.6, 0.0, 5), "b": Sample(0.5, 0.0, 5)}
    result = one(claim(Relation.ABOVE), lambda model, *_: constant[model])
    assert result.verdict is Verdict.NOT_TESTABLE
    assert "neither row varies over its seeds" in result.reason
    spread = one(claim(Relation.STD_BELOW), lambda model, *_: constant[model])
    assert "does not vary" in spread.reason


@pytest.mark.parametrize("alpha", [0, 0.4, 1])
def test_alpha_is_checked(alpha):
    with pytest.raises(ValueError, match="alpha"):
        evaluate([], above([]), alpha)


# -- what seeds don't move -------------------------------------------------------------------------------------------

BYTES = ("peak_memory_bytes", "num_trainable_params")


def memory_of(of_a, of_b):
    return lambda model, *_: Sample.of(of_a if model == "a" else of_b)


@pytest.mark.parametrize("metric", BYTES)
def test_what_seeds_do_not_move_is_compared_and_not_tested(metric):
    """42 % saved in every run is no 3/4: contradicted, and no number of seeds would say otherwise."""
    quarter = claim(Relation.BELOW, factor=0.25)
    quarter = replace(quarter, parts=(replace(quarter.parts[0], metric=metric),))
    for runs in (1, 2, 5):
        result = one(quarter, memory_of([58.0] * runs, [100.0] * runs))
        assert result.verdict is Verdict.CONTRADICTED
        assert (result.p, result.p_against, result.needed, result.deciding_p) == (None, None, None, "")
        assert "a has 0.58 of the value of b, so that the statement holds in 0 of" in result.reason
        assert result.populations == "what was compared"
        assert one(quarter, memory_of([20.0] * runs, [100.0] * runs)).verdict is Verdict.SUPPORTED
    assert one(quarter, memory_of([24.0, 26.0], [100.0, 100.0])).verdict is Verdict.UNDECIDED


def test_what_is_compared_is_no_member_of_holms_family():
    lookup = above([0.02])
    tested = claim(Relation.ABOVE)
    compared = replace(tested, id="y", parts=(replace(tested.parts[0], metric="peak_memory_bytes"),))
    alone = one(tested, lookup)
    assert [result.p for result in evaluate([tested, compared], measured(lookup))] == [alone.p, None]


def test_a_standard_deviation_of_what_seeds_do_not_move_is_not_compared():
    spread = claim(Relation.STD_BELOW)
    spread = replace(spread, parts=(replace(spread.parts[0], metric="peak_memory_bytes"),))
    assert "seeds do not move peak_memory_bytes" in one(spread, memory_of([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])).reason


# -- the p of the verdict's own direction ----------------------------------------------------------------------------


@given(st.sampled_from([Relation.ABOVE, Relation.BELOW]), st.floats(-0.1, 0.1))
def test_the_p_that_is_shown_is_that_of_the_verdicts_direction(relation, gap):
    result = one(claim(relation), above([gap]))
    p, _, direction = result.deciding_p.partition(" ")
    if result.verdict is Verdict.SUPPORTED:
        assert direction == "for"
    if result.verdict is Verdict.CONTRADICTED:
        assert direction == "against"
    assert (float(p) <= 0.05) == (result.verdict is not Verdict.UNDECIDED) or float(p) == 0.05
    assert float(p) == pytest.approx(min(result.p, result.p_against), rel=0.05, abs=5e-4)


# -- standard deviations ---------------------------------------------------------------------------------------------


def test_f_ratio_without_raw_values():
    p, p_against, test = std_p(Sample(0.5, 0.01, 5), Sample(0.5, 0.03, 5))
    assert p == pytest.approx(stats.f.cdf(1 / 9, 4, 4))
    assert p + p_against == pytest.approx(1)
    assert test.startswith("F ratio")


def test_bonett_by_hand():
    """Five seeds: the trimmed mean is the median. Deviations -2..2 and twice that."""
    a, b = Sample.of([0.48, 0.49, 0.50, 0.51, 0.52]), Sample.of([0.46, 0.48, 0.50, 0.52, 0.54])
    fourth, squares = 34 + 16 * 34, 10 + 40  # in units of 1e-8 and 1e-4
    error = math.sqrt(2 * (10 * fourth / squares**2 - 2 / 5) / 4)
    p, p_against, test = std_p(a, b)
    assert p == pytest.approx(stats.norm.cdf(math.log(1 / 4) / error))
    assert (p + p_against, test) == (pytest.approx(1), "Bonett")


@pytest.mark.parametrize("draw", ["normal", "t", "gamma"])
@pytest.mark.parametrize("sizes", [(5, 5), (3, 5), (5, 10)])
def test_bonett_holds_its_level_and_finds_a_ratio_of_four(draw, sizes):
    rng = np.random.default_rng(7)
    draws = {
        "normal": rng.standard_normal,
        "t": lambda size: rng.standard_t(4, size),
        "gamma": lambda s: rng.gamma(2, 1, s),
    }
    rows = [(draws[draw](sizes[0]), draws[draw](sizes[1])) for _ in range(600)]
    null = [std_p(Sample.of(x), Sample.of(y))[:2] for x, y in rows]
    for side in (0, 1):
        assert np.mean([p[side] <= 0.05 for p in null]) <= 0.08
    found = np.mean([std_p(Sample.of(x / 4), Sample.of(y))[0] <= 0.05 for x, y in rows])
    assert found >= (0.5 if min(sizes) >= 5 else 0.25)


# -- the study's nine ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published():
    return {verdict.id: verdict for verdict in evaluate(load_claims(), published_lookup(register()))}


def test_over_its_own_tables_none_of_the_nine_is_shown(published):
    """At n = 5: every claim of scores has a part whose difference is well within the seeds' noise."""
    assert {name: verdict.verdict for name, verdict in published.items()} == {
        "roberta_beats_bert": Verdict.UNDECIDED,  # ACL-ARC accuracy: 0.29 points, stds 2.81 and 1.35
        "scibert_best_on_acl": Verdict.UNDECIDED,  # best on ACL-ARC holds; Restaurant macro-F1 is 0.16 below BERT
        "adapter_beats_full_on_restaurant": Verdict.UNDECIDED,  # 0.33 and 0.72 points, p near 0.14
        "peft_higher_train_loss": Verdict.NOT_TESTABLE,
        "peft_smaller_std": Verdict.UNDECIDED,  # 10 of 12 smaller, but the seventh smallest p is 0.11
        "lora_beats_adapter_on_acl": Verdict.UNDECIDED,  # AG News: 0.05 points, stds 0.46 and 0.74
        "adapter_saves_memory": Verdict.NOT_TESTABLE,
        "peft_less_train_time": Verdict.NOT_TESTABLE,
        "peft_overfits_less": Verdict.NOT_TESTABLE,
    }


def test_the_parts_say_where_the_study_is_right(published):
    best = [part for part in published["scibert_best_on_acl"].parts if part.part.relation is Relation.ABOVE]
    assert [part.verdict for part in best] == [Verdict.SUPPORTED] * 4
    beats = {(part.part.dataset, part.part.metric): part.verdict for part in published["roberta_beats_bert"].parts}
    assert [key for key, verdict in beats.items() if verdict is Verdict.SUPPORTED] == [
        ("restaurant", "accuracy"),
        ("restaurant", "macro_f1"),
    ]
    smaller = [part for part in published["peft_smaller_std"].parts if part.points(True)]
    assert len(smaller) == 10
    assert sorted(part.p for part in published["peft_smaller_std"].parts)[6] == pytest.approx(
        stats.f.cdf((0.46 / 0.90) ** 2, 4, 4)
    )


def test_published_p_by_hand(published):
    """RoBERTa against BERT on ACL-ARC: 0.29 points over sqrt((1.35^2 + 2.81^2) / 5) = 1.394 is t = 0.208, df 5.75."""
    part = published["roberta_beats_bert"].parts[0]
    assert part.p == pytest.approx(stats.t.sf(0.29 / math.hypot(1.35, 2.81) * math.sqrt(5), 5.75), abs=2e-4)
    assert part.tested.difference == pytest.approx(0.0029)
    assert part.tested.interval.low < 0 < part.tested.interval.high


def test_what_is_missing_is_named(published):
    expected = {
        "peft_higher_train_loss": "no train_loss of roberta/adapter, roberta, roberta/lora on acl_arc, agnews_7k6",
        "adapter_saves_memory": "no peak_memory_bytes of roberta/adapter, roberta on acl_arc",
        "peft_less_train_time": "no train_seconds of",
        "peft_overfits_less": "no overfit of",
    }
    assert all(text in published[name].reason for name, text in expected.items())


def test_the_seeds_named_would_decide_the_claim(published):
    """With the same means and stds at the upper number of seeds, the undecided claim of the adapter is supported."""
    verdict = published["adapter_beats_full_on_restaurant"]
    low, high = verdict.needed
    assert 5 < low < high
    lookup = published_lookup([replace(score, n=high) for score in register()])
    found = {item.id: item for item in evaluate(load_claims(), lookup)}
    assert found["adapter_beats_full_on_restaurant"].verdict is Verdict.SUPPORTED


def test_training_figures_decide_the_other_claims():
    means = {
        "train_loss": (0.1, 0.2),
        "overfit": (0.2, 0.1),
        "train_seconds": (100, 50),
        "peak_memory_bytes": (9e9, 3e9),
    }

    def lookup(model, method, dataset, metric):
        if metric not in means:
            return None
        mean = means[metric][method != "full"]
        return Sample.of(mean * (1 + share) for share in (-0.02, -0.01, 0, 0.01, 0.02))

    found = {verdict.id: verdict.verdict for verdict in evaluate(load_claims(), measured(lookup))}
    assert [name for name, verdict in found.items() if verdict is Verdict.SUPPORTED] == [
        "peft_higher_train_loss",
        "peft_less_train_time",
        "peft_overfits_less",
    ]
    assert found["adapter_saves_memory"] is Verdict.CONTRADICTED  # a third is left, not a quarter
    assert found["roberta_beats_bert"] is Verdict.NOT_TESTABLE
