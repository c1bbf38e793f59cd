"""The first page says what was trained on what: data, majority class, learning rates and where they come from, loss."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.cells import cells
from analysis.report.audit import audit, audit_all, audit_section, copy_titles, single_copies
from analysis.report.baselines import trivial_sentences
from analysis.report.document import Grid, Paragraph
from analysis.report.setup_section import setup_section, training_sentences
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build
from analysis.tables.specs import default_specs
from tests.conftest import ROOT
from tests.support.stores import add
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore


@pytest.fixture
def store(tmp_path):
    found = ResultStore(tmp_path / "sweep")
    save_dataset(load_dataset("demo"), found.data_folder)
    return found


def train(store, specs, **request):
    for spec in specs:
        add(store, spec, [0.5, 0.6])
    store.add_request({"cells": cells_of(specs), **request})


def setup_of(store):
    records = read_sweeps([store.root])
    return setup_section(records, cells(records), audit(store.root)[0])


def specs_of(make_spec, **settings):
    return [make_spec(method="lora", seed=seed, **settings) for seed in (1, 2)]


def test_the_data_are_said_in_numbers(store, make_spec):
    train(store, specs_of(make_spec))
    told, _ = setup_of(store).blocks
    assert isinstance(told, Paragraph)
    test = load_dataset("demo").splits["test"]
    assert told.text.startswith("Demo: classification with 3 classes; 600 training, 100 validation and 300 test items")
    assert f"those of test in {test['group'].nunique()} groups of related items." in told.text
    share = 100 * (test["label"] == load_dataset("demo").splits["train"]["label"].mode()[0]).mean()
    assert f"has accuracy {share:.2f} % and macro-F1" in told.text


@pytest.mark.slow
def test_how_many_cells_are_below_a_memoriser_of_train_is_said():
    root = ROOT / "docs" / "results" / "study-minilm"
    records, audits = read_sweeps([root]), audit(root)[0]
    found = cells(records)
    told = [block.text for block in setup_section(records, found, audits).blocks if isinstance(block, Paragraph)]
    for one, text in zip(audits, told, strict=True):
        mine = [cell for cell in found if cell.dataset == one.name]
        below = [
            sum(np.mean(list(cell.by_seed(metric).values())) < limit for cell in mine)
            for metric, limit in zip(("accuracy", "macro_f1"), one.baselines["memoriser"], strict=True)
        ]
        assert len(mine) == 3
        told_of = f"mean of {below[0]} of 3 cells here, and its macro-F1 above that of {below[1]}." in text
        # On Restaurant it predicts what the most frequent class does, of which the sentence before tells.
        assert told_of == (one.name == "acl_arc") == (one.baselines["memoriser"] != one.baselines["majority"])


def test_what_a_dataset_s_test_part_is_stands_in_the_setup_and_under_each_table(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    note = "the test part is the split validation, and the validation part is drawn from its training split"
    save_dataset(replace(load_dataset("demo"), note=note), store.data_folder)
    train(store, specs_of(make_spec))
    assert "The test part is the split validation, and the validation" in setup_of(store).blocks[0].text
    found = cells(read_sweeps([store.root]))
    for spec in default_specs(found, ["macro_f1", "accuracy"]):
        assert f"Demo: {note}." in build(spec).notes
    assert load_dataset("demo").note == ""


def test_a_part_of_the_training_rows_is_named(store, make_spec):
    train(store, [*specs_of(make_spec, train_limit=1200), *specs_of(make_spec, val_fraction=0.1)])
    told = setup_of(store).blocks[0].text
    assert "In some cells, at most 1,200 of the training items were used for training." in told
    assert "In some cells, 10 % of the training items were set aside for validation." in told


def test_an_option_that_no_name_says_is_named_once(store, make_spec):
    train(store, specs_of(make_spec, label_smoothing=0.1, patience=2))
    told = setup_of(store).blocks[0].text
    assert told.endswith("Trained with label smoothing 0.1: all. Trained with patience 2: all.")
    train(store, [make_spec(method="full", method_params={}, class_weights="balanced")])
    told = setup_of(store).blocks[0].text
    assert "Trained with label smoothing 0.1: tiny-bert · LoRA." in told
    assert "Trained with class weights balanced: tiny-bert · " in told
    train(store, specs_of(make_spec, patience=2))
    told = setup_of(store).blocks[0].text
    assert "label smoothing" not in told
    assert "Trained with patience 2: tiny-bert · LoRA." in told


def test_a_dataset_without_a_copy_has_unknown_sizes(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    store.root.mkdir()
    train(store, specs_of(make_spec))
    assert "are not known, since the sweep holds no copy of it" in setup_of(store).blocks[0].text


def test_a_copy_that_was_not_audited_has_a_task_and_no_sizes(store, make_spec):
    train(store, specs_of(make_spec))
    records = read_sweeps([store.root])
    told = setup_section(records, cells(records), []).blocks[0].text
    assert told.startswith("Demo: classification. Its copy was not audited. At most 64 of the training items")


@pytest.mark.parametrize(
    ("defaults", "said"),
    [
        ({"lora": 1e-3}, "1e-3 (default, not tuned)"),
        ({"lora": 5e-4}, "1e-3 (set by hand; the default is 5e-4)"),
        ({}, "1e-3 (whether that is the default is not recorded)"),
    ],
)
def test_a_rate_says_whether_it_is_the_default(store, make_spec, defaults, said):
    train(store, specs_of(make_spec, learning_rate=1e-3), default_learning_rates=defaults)
    grid = setup_of(store).blocks[1]
    assert isinstance(grid, Grid)
    ((_, rate, _, loss),) = grid.rows
    assert rate.replace("0.001", "1e-3") == said
    assert loss != ""


def test_a_rate_that_validation_chose_says_among_how_many(store, make_spec):
    specs = [spec for rate in (1e-4, 2e-4) for spec in specs_of(make_spec, learning_rate=rate)]
    for place, spec in enumerate(specs):
        add(store, spec, [0.5 + 0.01 * place])
    store.add_request({"cells": cells_of(specs), "default_learning_rates": {"lora": 1e-4}})
    ((_, rate, _, _),) = setup_of(store).blocks[1].rows
    assert rate.endswith("(chosen on validation among 2 rates)")


def test_the_loss_is_that_of_the_last_epoch(store, make_spec):
    specs = specs_of(make_spec)
    train(store, specs)
    for spec, loss in zip(specs, (0.2, 0.4), strict=True):
        stored = store.read(store.folder(spec))
        store.write_epochs(
            stored.folder, [replace(stored.epochs[0], train_loss=9.0), replace(stored.epochs[1], train_loss=loss)]
        )
    ((_, _, _, shown),) = setup_of(store).blocks[1].rows
    assert shown == "0.300 ± 0.141"


def sentences_of(store):
    records = read_sweeps([store.root])
    return training_sentences(records, cells(records))


def test_the_first_sentences_say_how_long_and_at_which_rates_rows_were_trained(store, make_spec):
    specs = [*specs_of(make_spec, epochs=3, batch_size=16, learning_rate=5e-4),
             make_spec(method="full", method_params={}, epochs=3, batch_size=16, learning_rate=5e-5)]  # fmt: skip
    train(store, specs, default_learning_rates={"lora": 5e-4, "full": 5e-5})
    assert sentences_of(store) == (
        "Every method was trained for 3 epochs in batches of 16. The learning rates are the defaults of the methods "
        "and were not tuned (LoRA 5e-4, full fine-tuning 5e-5)."
    )


def test_the_first_sentences_name_a_trivial_classifier_that_no_row_is_above(store, make_spec):
    audits = audit(store.root)[0]
    ((dataset, baselines),) = {one.name: one.baselines for one in audits}.items()
    best = max(macro for _, macro in baselines.values())

    def told(score):
        for spec in specs_of(make_spec):
            add(store, spec, [score])
        store.add_request({"cells": cells_of(specs_of(make_spec))})
        return trivial_sentences(cells(read_sweeps([store.root])), audits)

    assert dataset == "demo"
    assert told(best + 0.01) == ""
    sentence = told(best - 0.01)
    assert sentence.startswith("On Demo no row has a higher mean macro-F1 than a trivial classifier: one that ")
    assert sentence.endswith(f" has {100 * best:.2f} %.")


def test_rates_of_several_origins_have_a_sentence_each(store, make_spec):
    specs = [spec for rate in (1e-4, 2e-4) for spec in specs_of(make_spec, learning_rate=rate)]
    for place, spec in enumerate(specs):
        add(store, spec, [0.5 + 0.01 * place])
    train(store, [make_spec(method="full", method_params={}, learning_rate=1e-3, epochs=1)])
    store.add_request({"cells": cells_of(specs), "default_learning_rates": {"lora": 1e-4, "full": 5e-5}})
    told = sentences_of(store)
    assert told.startswith("Every method was trained for 1 to 2 epochs in batches of")
    assert "The learning rates of LoRA were chosen on validation among 2 rates." in told
    assert "The learning rates of full fine-tuning were set by hand and were not tuned here (0.001)." in told
    assert "A method whose learning rate was tuned has an advantage over one whose rate was not." in told


def test_rows_that_were_not_trained_alike_are_named_with_their_settings(store, make_spec):
    specs = [*specs_of(make_spec, train_limit=100), make_spec(method="full", method_params={}, train_limit=None)]
    train(store, specs)
    assert sentences_of(store).endswith(
        "The rows on Demo were not trained alike (LoRA: train limit 100; full fine-tuning: train limit none), so "
        "that a difference between them may be due to these settings and not to the methods."
    )


def test_different_copies_of_one_dataset_are_told_apart_and_equal_ones_stand_once(tmp_path):
    demo, stores = load_dataset("demo"), [ResultStore(tmp_path / name) for name in ("a", "b", "c")]
    other = replace(demo, splits={**demo.splits, "test": demo.splits["test"].iloc[:-1]}, content_hash="0" * 16)
    for store, data in zip(stores, (demo, demo, other), strict=True):
        save_dataset(data, store.data_folder)
    found, damaged = audit_all(stores)
    assert (copy_titles(found), single_copies(found), damaged) == (["Demo in a", "Demo in c"], {}, [])
    section = audit_section(found, damaged)
    assert [part.title for part in section.parts] == ["Demo in a", "Demo in c"]
    assert len({part.anchor for part in section.parts}) == 2
    assert copy_titles(audit_all(stores[:2])[0]) == ["Demo"]


def test_trials_that_may_stop_early_were_trained_for_at_most_so_many_epochs(store, make_spec):
    train(store, specs_of(make_spec, epochs=2, patience=1))
    assert sentences_of(store).startswith("Every method was trained for at most 2 epochs in batches of")
