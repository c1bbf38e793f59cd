"""The figures of a study: the study's fifteen in its order, numbers that stay, and nothing for what is not there."""

import pytest
from matplotlib.figure import Figure

from analysis.cells import cells
from analysis.figures.captioned import CaptionedFigure
from analysis.figures.figures import figures_of, in_order
from analysis.report.document import Section
from analysis.report.pages import markdown_sections
from analysis.sweep_records import read_sweeps
from tests.support.stores import add, ask
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore

DATASETS = ("acl_arc", "agnews_7k6", "restaurant")
ROWS = [("bert", "full"), ("roberta", "full"), ("scibert", "full"), ("roberta", "adapter"), ("roberta", "lora")]
STUDY = [f"{model}-{method}-{dataset.replace('_', '-')}" for model, method in ROWS for dataset in DATASETS]


@pytest.fixture
def store(tmp_path, make_spec):
    """The study's fifteen cells asked for in the order of its preset, dataset by dataset; none trained."""
    store = ResultStore(tmp_path / "sweep")
    specs = [
        make_spec(model=model, method=method, dataset=dataset, method_params={}, epochs=2)
        for dataset in DATASETS
        for model, method in ROWS
    ]
    ask(store, specs)
    return store, specs


@pytest.mark.slow
def test_the_studys_fifteen_stand_in_its_order_and_naming(store):
    store, specs = store
    for spec in specs:
        add(store, spec, [0.4, 0.5])
    records = read_sweeps([store.root])
    found = figures_of(records, cells(records))
    curves = [captioned.stem for captioned in found if captioned.kind == "curves"]
    assert curves == [f"figure-{number:02d}-{name}" for number, name in enumerate(STUDY, 1)]
    stems = [captioned.stem for captioned in found]
    assert len(set(stems)) == len(stems)
    assert {"overview-acl-arc", "spread-restaurant", "cost-agnews-7k6"} <= set(stems)
    compared = [
        captioned for captioned in found if captioned.kind == "curves" and captioned.stem.endswith("-restaurant")
    ]
    assert len(compared) == len(ROWS)
    assert len({captioned.figure.axes[1].get_ylim() for captioned in compared}) == 1


def test_an_unfinished_cell_keeps_its_number(store):
    store, specs = store
    add(store, specs[-1], [0.4, 0.5])
    records = read_sweeps([store.root])
    (captioned,) = [captioned for captioned in figures_of(records, cells(records)) if captioned.kind == "curves"]
    assert captioned.stem == "figure-15-roberta-lora-restaurant"
    assert "±" not in captioned.caption  # one seed has no spread, so that none is drawn


def test_a_searchs_cells_have_no_figures(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    add(store, make_spec(score_test=False))
    records = read_sweeps([store.root])
    found = cells(records)
    assert found[0].searched
    assert figures_of(records, found) == []


def test_names_that_make_one_stem_have_two_figures(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    for model in ("a/b", "a-b"):
        add(store, make_spec(model=model))
    records = read_sweeps([store.root])
    found = cells(records)
    assert len(in_order(records, found)) == 2
    stems = [captioned.stem for captioned in figures_of(records, found)]
    assert len(set(stems)) == len(stems)


def test_damaged_steps_are_named(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    add(store, make_spec())
    (store.folder(make_spec()) / "steps.csv").write_text("step,train_loss\n1,x\n")
    records = read_sweeps([store.root])
    with pytest.raises(DamagedRecord, match="steps.csv"):
        figures_of(records, cells(records))


@pytest.mark.parametrize(("device", "panels"), [("cpu", 2), ("cuda", 3)])
def test_memory_of_a_cpu_is_no_cost_that_compares_methods(tmp_path, make_spec, device, panels):
    store = ResultStore(tmp_path / "sweep")
    for method in ("full", "lora"):
        add(store, make_spec(method=method, method_params={}), execution={"device": device})
    records = read_sweeps([store.root])
    (cost,) = [captioned for captioned in figures_of(records, cells(records)) if captioned.kind == "cost"]
    assert len(cost.figure.axes) == panels
    assert ("peak memory (MiB)" in [ax.get_xlabel() for ax in cost.figure.axes]) == (device == "cuda")
    assert ("Peak memory on a CPU is left out" in cost.caption) == (device == "cpu")


def test_the_caption_of_a_figure_can_be_read_in_markdown():
    figure = Figure()
    figure.suptitle("Scores")
    captioned = CaptionedFigure("stem", "A point is a seed.", "spread", figure)
    text = markdown_sections([Section("Title", (captioned,), "anchor")])
    assert "![Scores](figures/stem.svg)\n\nA point is a seed.\n" in text
