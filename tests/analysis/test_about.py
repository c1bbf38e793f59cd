"""What a report says of its own numbers: what its comparisons hold for, and counts in the singular and the plural."""

import pytest

from analysis.names import left_out, not_ended
from analysis.report.document import Points
from analysis.report.summary import about_section, left_out_section
from analysis.results import load
from tests.support.predicted import add_predicted
from tests.support.stores import add, ask
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.store.result_store import ResultStore

NEW, HERE = "New texts from the same source: ", "These test items: "
ONE_EACH = "Each method was trained with one configuration of settings"


def said(store):
    results = load(store.root)
    found = results.cells()
    (points,) = about_section(results.records, found, [results.table("macro_f1")], "last").blocks
    assert isinstance(points, Points)
    return " ".join(points.items)


def specs_of(make_spec, seeds=(1, 2, 3), **settings):
    return [
        make_spec(method=method, method_params={}, seed=s, **settings) for method in ("full", "lora") for s in seeds
    ]


def test_what_is_tested_on_these_items_is_not_said_of_new_text(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    specs = specs_of(make_spec)
    ask(store, specs)
    for place, spec in enumerate(specs):
        add(store, spec, [0.9 - 0.05 * place])
    told = said(store)
    assert HERE in told
    assert NEW not in told
    assert ONE_EACH in told
    other = specs_of(make_spec, learning_rate=0.5)
    ask(store, other)
    for place, spec in enumerate(other):
        add(store, spec, [0.8 - 0.05 * place])
    assert ONE_EACH not in said(store)


def test_what_is_tested_on_stored_predictions_is_said_of_new_text(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    specs = specs_of(make_spec)
    ask(store, specs)
    save_dataset(load_dataset("demo"), store.data_folder)
    for place, spec in enumerate(specs):
        add_predicted(store, spec, [(n * 7 + place) % 10 > place for n in range(60)])
    told = said(store)
    assert NEW in told
    assert "The training data and the settings stay as they are" in told
    assert HERE not in told


def test_what_is_not_tested_has_no_population(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    specs = specs_of(make_spec, seeds=(1, 2))
    ask(store, specs)
    for spec in specs[1:]:
        add(store, spec)
    (store.trials_folder / "stray").mkdir()
    told = said(store)
    assert NEW not in told
    assert HERE not in told
    assert "1 trial that was asked for has not ended: the results are not final." in told
    assert "1 thing is left out or doubtful; the section on what is left out names each." in told
    (part,) = left_out_section(load(store.root).records).parts
    assert part.title == "Folder without a spec.json left out: 1 case"
    assert "1 trial that was asked for has not ended" in repr(load(store.root))


@pytest.mark.parametrize(("count", "number"), [(1, ("is", "was", "has")), (2, ("are", "were", "have"))])
def test_a_count_of_one_is_singular(count, number):
    plural = "s" if count > 1 else ""
    assert left_out(count) == f"{count} thing{plural} {number[0]} left out or doubtful"
    assert not_ended(count) == f"{count} trial{plural} that {number[1]} asked for {number[2]} not ended"
