"""Which configuration counts: validation chooses, test never does, and no verdict changes without a word."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.cells import cells
from analysis.claims.grammar import Claim, Part, Quantifier, Relation
from analysis.claims.measured import cell_lookup
from analysis.claims.row import ClaimRow
from analysis.claims.verdicts import Verdict, evaluate, load_claims
from analysis.configurations import by_settings, choose, configurations
from analysis.report.evidence import settings_section
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build
from analysis.tables.render import markdown
from analysis.tables.specs import default_specs, settings_specs
from tests.support.cells import cell_of
from tests.support.stores import add, ask
from tunekit.store.result_store import ResultStore

A = cell_of([0.60, 0.61, 0.62], model="a")
GOOD = cell_of([0.50, 0.51, 0.52], [0.80, 0.81, 0.82], lr=1e-4)
"""The best of b on validation, and not on test."""
LUCKY = cell_of([0.90, 0.91, 0.92], [0.40, 0.41, 0.42], lr=1e-3)
"""The best of b on test, and not on validation."""


def claim_of(tmp_path, statement, configuration=False):
    path = tmp_path / "claims.yaml"
    path.write_text(
        "rows: [a, b, b/lora]\ndatasets: [d]\n"
        + ("configuration: best on validation\n" if configuration else "")
        + f"claims:\n- {{id: x, text: A sentence., quantifier: all, parts: "
        f"[{{statements: '{statement}', datasets: d, metrics: macro_f1}}]}}\n"
    )
    return load_claims(path)


def verdict(tmp_path, found, statement="a > b", configuration=False):
    return evaluate(claim_of(tmp_path, statement, configuration), cell_lookup(found))[0]


# -- the choice ------------------------------------------------------------------------------------------------------


def test_validation_chooses_and_test_does_not():
    choice = choose([LUCKY, GOOD])
    assert choice.chosen is GOOD
    assert choice.how == "best mean macro-F1 on validation of 2 configurations"


@given(st.permutations([GOOD, LUCKY, cell_of([0.7] * 3, [0.1] * 3, lr=5e-5), cell_of([0.7] * 3, [0.2] * 3, lr=2e-5)]))
def test_the_order_of_cells_changes_neither_the_choice_nor_the_order_shown(found):
    assert choose(found).chosen is GOOD
    assert [cell.settings["lr"] for cell in choose(found).cells] == [2e-5, 5e-5, 1e-4, 1e-3]


NOTHING = {
    "there is no validation score": [replace(GOOD, trials=cell_of([0.5] * 3).trials), cell_of([0.6] * 3, lr=1e-3)],
    "lr 1e-4 has no validation score": [cell_of([0.5] * 3, [0.5, 0.5, None], lr=1e-4), LUCKY],
    "lr 1e-4 and lr 0.001 are equally good on validation": [
        cell_of([0.5] * 3, [0.5] * 3, lr=1e-4),
        cell_of([0.6] * 3, [0.5] * 3, lr=1e-3),
    ],
    "they were trained with different code, data or weights": [GOOD, replace(LUCKY, fingerprint="g")],
    "their validation parts differ": [
        cell_of([0.5] * 3, [0.5] * 3, val_fraction=0.1),
        cell_of([0.5] * 3, [0.6] * 3, val_fraction=0.2),
    ],
    "they were trained on different numbers or draws of the training items": [
        cell_of([0.5] * 3, [0.5] * 3, train_limit=100),
        cell_of([0.5] * 3, [0.6] * 3, train_limit=200),
    ],
    "validation is what is shown, and test was not scored": [replace(GOOD, split="val"), replace(LUCKY, split="val")],
    "no configuration has completed without failed trials": [
        cell_of([0.5] * 3, [0.5] * 3, failed=1, lr=1e-4),
        cell_of([0.5] * 3, [0.6] * 3, failed=1, lr=1e-3),
    ],
}


@pytest.mark.parametrize("why", NOTHING)
def test_where_validation_cannot_choose_none_is_chosen_and_the_reason_is_said(why):
    choice = choose(NOTHING[why])
    assert choice.chosen is None
    assert choice.how.startswith(f"2 configurations, none chosen: {why}")


def test_configurations_with_failed_trials_take_no_part_and_are_named():
    better = cell_of([0.9] * 3, [0.95] * 3, failed=1, lr=5e-2)
    choice = choose([GOOD, LUCKY, better])
    assert choice.chosen is GOOD
    assert "lr 0.05 without, since trials failed" in choice.how


def test_settings_are_sorted_by_value_numbers_before_texts():
    found = [cell_of([0.5], lr=value) for value in (1e-3, 2e-5, 1e-4)] + [cell_of([0.5], lr="auto")]
    assert [cell.settings["lr"] for cell in by_settings(found)] == [2e-5, 1e-4, 1e-3, "auto"]


# -- tables ----------------------------------------------------------------------------------------------------------


def test_the_score_table_has_one_row_a_method_and_says_which_settings():
    (spec,) = default_specs([LUCKY, GOOD, cell_of([0.55, 0.56, 0.57], method="lora")], ["macro_f1"])
    table = build(spec)
    assert [row.label for row in spec.rows] == ["full", "lora"]
    assert table.entries[0, "d"].text == "51.00 ± 1.00"
    assert "Configuration of b · full: D lr 1e-4 (best mean macro-F1 on validation of 2 configurations)." in table.notes


def test_without_validation_each_setting_is_a_row_and_none_is_bold_or_tested():
    unchosen = [cell_of([0.70 + n / 10, 0.71 + n / 10, 0.72 + n / 10], lr=10.0**-n) for n in (1, 2)]
    (spec,) = default_specs([*unchosen, cell_of([0.5, 0.51, 0.52], method="lora")], ["macro_f1"])
    table = build(spec)
    assert [row.label for row in spec.rows] == ["full, lr 0.01", "full, lr 0.1", "lora"]
    assert not any(entry.bold or entry.dagger for (number, _), entry in table.entries.items() if number < 2)
    assert all(entry.versus is None or not entry.versus.tested for entry in table.entries.values())
    assert any("2 configurations, none chosen: there is no validation score" in note for note in table.notes)


def test_all_settings_stand_by_their_values_validation_beside_test_and_nothing_is_ranked():
    (spec,) = settings_specs([LUCKY, GOOD, A], ["macro_f1"])
    table = build(spec)
    assert [row.label for row in spec.rows] == ["full, lr 1e-4 (chosen)", "full, lr 0.001"]
    assert list(spec.columns.values()) == ["validation", "test"]
    assert not any(entry.bold or entry.dagger or entry.versus for entry in table.entries.values())
    assert "| full, lr 0.001 | 41.00 ± 1.00 | 91.00 ± 1.00 |" in markdown(table)


def test_the_optimism_of_choosing_settings_on_test_is_shown():
    (grid,) = settings_section([LUCKY, GOOD]).blocks[1:]
    ((_, count, chosen, own, best, top, optimism),) = grid.rows
    assert (count, chosen.text, own, best.text, top, optimism) == (
        "2", "lr 1e-4", "51.00 ± 1.00", "lr 0.001", "91.00 ± 1.00", "+40.00",
    )  # fmt: skip


# -- claims ----------------------------------------------------------------------------------------------------------


def test_a_claim_about_several_configurations_names_one_or_asks_for_the_choice(tmp_path):
    """The worst of several was taken without a word where no validation score was there."""
    bare = verdict(tmp_path, [A, GOOD, LUCKY])
    assert bare.verdict is Verdict.NOT_TESTABLE
    assert "b on d: 2 configurations, none chosen; name one, or write b[best on validation]" in bare.reason
    for statement in ("a > b[best on validation]", "a > b[lr=1e-4]", "a > b[lr=0.0001]"):
        assert verdict(tmp_path, [A, GOOD, LUCKY], statement).verdict is Verdict.SUPPORTED
    assert verdict(tmp_path, [A, GOOD, LUCKY], configuration=True).verdict is Verdict.SUPPORTED
    assert verdict(tmp_path, [A, GOOD, LUCKY], "a > b[lr=1e-3]").verdict is Verdict.CONTRADICTED


def test_a_verdict_says_which_configuration_split_population_and_test_it_used(tmp_path):
    found = verdict(tmp_path, [A, GOOD, LUCKY], "a > b[best on validation]")
    (part,) = found.parts
    assert part.a.configuration == "the only configuration"
    assert part.b.configuration == "lr 1e-4: best mean macro-F1 on validation of 2 configurations"
    assert (part.a.split, part.b.split) == ("test", "test")
    assert (found.splits, found.populations, found.tests) == ("test", "these test items", "Welch's t over seeds")
    assert found.deciding_p.endswith("for")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("a > b[lr=3e-4]", "there is no configuration b[lr=3e-4] on d (there are lr 1e-4, 0.001)"),
        ("a > b[learning=3e-4]", "there is no setting 'learning'"),
        ("b[lr=1e-4] > b[lr=0.0001]", "are one configuration"),
    ],
)
def test_a_configuration_that_is_not_there_is_not_testable_and_named(tmp_path, statement, said):
    found = verdict(tmp_path, [A, GOOD, LUCKY], statement)
    assert found.verdict is Verdict.NOT_TESTABLE
    assert said in found.reason


def test_rows_scored_on_different_splits_are_not_compared(tmp_path):
    found = verdict(tmp_path, [A, replace(GOOD, split="val")])
    assert found.verdict is Verdict.NOT_TESTABLE
    assert "a was scored on test, b on validation" in found.reason


def test_settings_of_one_method_can_be_compared_by_name(tmp_path):
    assert verdict(tmp_path, [GOOD, LUCKY], "b[lr=1e-4] < b[lr=1e-3]").verdict is Verdict.SUPPORTED


SCORES = st.lists(st.integers(10, 90).map(lambda k: k / 100), min_size=3, max_size=3)
CONFIGURATIONS = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=4)


ASKS = Part("a > b", ClaimRow("a", "full"), Relation.ABOVE, ClaimRow("b", "full", best=True), "d", "macro_f1")


def asked(found):
    return evaluate([Claim("x", "A sentence.", Quantifier.ALL, (ASKS,))], cell_lookup(found))[0]


@settings(deadline=None, max_examples=40)
@given(SCORES, CONFIGURATIONS, st.data())
@pytest.mark.slow
def test_no_verdict_changes_without_a_word(of_a, of_b, data):
    """Another order, a worse configuration, or missing validation scores: the same verdict on the same configuration,
    or none, with the reason.
    """
    a = cell_of(of_a, model="a")
    own = [cell_of(test, val, lr=1 + n / 10) for n, (test, val) in enumerate(of_b)]
    before = asked([a, *own])

    shuffled = asked(data.draw(st.permutations([a, *own])))
    assert (shuffled.verdict, shuffled.reason, shuffled.deciding_p) == (
        before.verdict,
        before.reason,
        before.deciding_p,
    )

    lowest = min(np.mean(val) for _, val in of_b) - 0.05
    worse = asked([a, *own, cell_of([0.99, 0.98, 0.97], [lowest] * 3, lr=9.0)])
    choice = choose(own)
    if choice.chosen is not None:
        assert worse.verdict is before.verdict
        assert worse.deciding_p == before.deciding_p
        assert "configuration" in worse.parts[0].b.configuration
    else:
        assert worse.verdict is before.verdict is Verdict.NOT_TESTABLE

    bare = [cell_of(test, lr=cell.settings["lr"]) for (test, _), cell in zip(of_b, own, strict=True)]
    without = asked([a, *bare])
    if len(own) > 1:
        assert without.verdict is Verdict.NOT_TESTABLE
        assert f"b on d: {len(own)} configurations, none chosen: there is no validation score" in without.reason
    else:
        assert without.verdict is before.verdict


def test_two_sweeps_in_either_order_give_one_verdict_and_one_table(tmp_path, make_spec):
    """Folders as a user gives them, read from disk."""
    stores = [ResultStore(tmp_path / name) for name in ("one", "two")]
    for store, rate in zip(stores, (1e-4, 1e-3), strict=True):
        specs = [make_spec(seed=seed, learning_rate=rate) for seed in (1, 2, 3)]
        specs += [make_spec(seed=seed, method="full", method_params={}, learning_rate=5e-5) for seed in (1, 2, 3)]
        ask(store, specs)
        for spec in specs:
            add(store, spec, [0.5 + spec.seed / 100 + 100 * spec.learning_rate])
    shown = []
    for roots in (stores, stores[::-1]):
        found = cells(read_sweeps([store.root for store in roots]))
        tables = [build(spec) for spec in default_specs(found, ["macro_f1"])]
        chosen = {one.first.method: one.chosen.settings["learning_rate"] for one in configurations(found)}
        shown.append((sorted(row.label for row in tables[0].spec.rows), chosen))
    assert shown[0] == shown[1]
    assert shown[0] == (["LoRA", "full fine-tuning"], {"lora": 1e-4, "full": 5e-5})
