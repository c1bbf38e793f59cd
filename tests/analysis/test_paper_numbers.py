"""numbers.tex holds the difference from the best, its interval and p as the table's CSV has them, and the costs."""

import csv
import io

import pytest

from analysis.paper.numbers import entry_numbers, p_text
from analysis.results import load
from analysis.tables.render import comma_separated
from tests.support.stores import add, ask
from tunekit.store.result_store import ResultStore


@pytest.fixture
def table(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    specs = [
        make_spec(method=method, method_params={}, seed=seed)
        for method in ("full", "lora", "head")
        for seed in (1, 2, 3)
    ]
    for number, spec in enumerate(specs):
        if (spec.method, spec.seed) != ("head", 3):
            add(store, spec, [0.8 - number / 50])
    ask(store, specs)
    return load(store.root).table("macro_f1")


def test_a_compared_entry_has_the_numbers_of_the_tables_csv(table):
    rows = {row["row"]: row for row in csv.DictReader(io.StringIO(comma_separated(table)))}
    found = {table.spec.rows[number].label: entry_numbers(entry) for (number, _), entry in table.entries.items()}
    tested = {label for label, row in rows.items() if row["tested"] == "1"}
    assert len(tested) == 1
    for label in tested:
        row, numbers = rows[label], found[label]
        for name in ("difference", "low", "high"):
            assert numbers[name] == f"{100 * float(row[name]):+.2f}"
        assert (numbers["p"], numbers["p-corrected"]) == (p_text(float(row["p"])), p_text(float(row["p_corrected"])))
        said = {"test": row["test"], "correction": row["correction"], "holds-for": row["holds_for"]}
        assert {name: numbers[name] for name in said} == said
        assert "reason" not in numbers
    (short,) = [label for label, row in rows.items() if row["n"] == "2"]
    assert found[short]["reason"] == rows[short]["reason"] != ""
    assert "p" not in found[short]
    (best,) = [label for label, row in rows.items() if row["standing"] == "best"]
    assert "difference" not in found[best]


def test_costs_are_means_over_the_seeds(table):
    for entry in table.entries.values():
        numbers = entry_numbers(entry)
        assert (numbers["minutes"], numbers["mib"], numbers["trainable"]) == ("0.0", "0", "1")


@pytest.mark.parametrize(("p", "text"), [(0.0241, ".024"), (1.0, "1.000"), (0.00099, "< .001"), (0.5, ".500")])
def test_a_p_is_written_as_papers_do(p, text):
    assert p_text(p) == text
