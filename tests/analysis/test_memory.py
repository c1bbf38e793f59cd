"""The study's formulas, what is right in them, and memory in reports."""

import json
import re
from dataclasses import replace

import pytest

from analysis.__main__ import main
from analysis.cells import cells
from analysis.claims.verdicts import Verdict
from analysis.figures.memory_figures import saved_share
from analysis.memory.comparison import BATCHES, LENGTHS, compare_memory, read_measured
from analysis.memory.report import memory_report
from analysis.memory.saving_claim import saving_verdict
from analysis.memory.study_formulas import EXAMPLE, H_ADAPTER, PRINTED, adapter, adapter_with_backbone, full, num_params
from analysis.report.evidence import predictions_section
from analysis.sweep_records import read_sweeps
from tests.conftest import ROOT
from tests.support.stores import add
from tunekit.memory import BatchSizes, Shape, Work, saved_bytes
from tunekit.store.result_store import ResultStore

RECORD = ROOT / "benchmarks" / "results" / "memory.json"


def test_the_printed_coefficients_are_megabytes_and_the_first_is_not_even_that():
    assert num_params(EXAMPLE) == 2_927_646_720
    assert [one.verdict for one in PRINTED] == ["wrong", *["wrong: it is MB, not MiB"] * 4]
    assert replace(PRINTED[1], text="1.76e-2").verdict == "right"
    assert replace(PRINTED[0], text="4.5e4").verdict == "right"


def test_by_its_formulas_the_adapter_saves_less_than_three_quarters_without_activations():
    share = 1 - adapter(EXAMPLE, H_ADAPTER).constant / full(EXAMPLE).constant
    assert share == pytest.approx(0.7297, abs=1e-4)


@pytest.mark.parametrize("width", [120, 30])
def test_the_corrected_terms_are_the_engines_own_with_masks_of_one_byte(width):
    """A layer's part of the graph; layer norms' statistics are left out by the study's."""
    batch, length = 3, 17
    tokens, h = batch * length, EXAMPLE.hidden_size

    def kept(method: str, layers: int) -> int:
        params = {"reduction_factor": h // width} if method == "adapter" else {}
        shape: Shape = replace(EXAMPLE, num_hidden_layers=layers)
        sizes = BatchSizes.from_lengths((length,) * batch)
        return saved_bytes(Work(shape=shape, method=method, params=params, num_labels=2, sizes=sizes))

    one = replace(EXAMPLE, num_hidden_layers=1)
    for method, terms in (("full", full(one)), ("adapter", adapter_with_backbone(one, width))):
        layer = kept(method, 3) - kept(method, 2)
        assert layer - 16 * tokens == terms.activations(batch, length)


@pytest.mark.slow
def test_one_verdict_on_the_saved_memory_wherever_it_is_shown(tmp_path, capsys):
    verdict = saving_verdict()
    assert verdict.verdict is Verdict.CONTRADICTED
    assert "holds in 0 of 20 workloads" in verdict.reason
    assert main(["published", "--out", str(tmp_path)]) == 0
    (line,) = [one for one in (tmp_path / "report.md").read_text().splitlines() if "saves at least 3/4" in one]
    assert "| contradicted |" in line
    capsys.readouterr()
    assert main(["memory"]) == 0
    assert f"{verdict.text} Verdict: contradicted." in capsys.readouterr().out
    readme = (ROOT / "README.md").read_text()
    assert "the claim that the adapter saves at least 3/4 of the memory is contradicted" in " ".join(readme.split())


def test_saving_falls_with_length_where_the_study_says_it_grows():
    frame = compare_memory("roberta", None)
    assert len(frame) == 3 * len(BATCHES) * len(LENGTHS)
    for method in ("adapter", "lora"):
        shares = (
            saved_share(frame, "ours").query(f"method == {method!r} and batch == 32").sort_values("length")["share"]
        )
        assert shares.is_monotonic_decreasing
        assert shares.max() < 0.75
    claimed = saved_share(frame, "study").query("method == 'adapter' and batch == 32").sort_values("length")["share"]
    assert claimed.is_monotonic_increasing


def test_the_table_of_the_memory_page_is_what_the_command_prints():
    frame = compare_memory("roberta", None)
    share = {
        (source, row.method, row.length): f"{100 * row.share:.1f} %"
        for source in ("study", "ours")
        for row in saved_share(frame, source).query("batch == 32").itertuples()
    }
    page = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.* %) \| (.* %) \| (.* %) \|$", page, re.M)
    assert [int(length) for length, *_ in rows] == [32, 128, 512]
    for length, *shown in rows:
        columns = (("study", "adapter"), ("ours", "adapter"), ("ours", "lora"))
        assert shown == [share[*column, int(length)] for column in columns]


def test_the_recorded_measurements_are_what_the_closed_form_says_to_half_a_percent():
    measured = read_measured(RECORD)
    for model in ("bert", "roberta", "minilm"):
        frame = compare_memory(model, measured)
        assert frame["kept_measured"].notna().all()
        assert ((frame["ours_kept"] / frame["kept_measured"] - 1).abs() <= 0.005).all()
        assert frame["accelerate"].notna().all()


@pytest.mark.slow
def test_memory_prints_and_writes_and_refuses_what_it_does_not_know(tmp_path, capsys):
    assert main(["memory"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"full, of b l\^2 +1.84e-2 +0.01758 +0.01843 +wrong: it is MB, not MiB", out)
    assert not re.search(r"<a id|^#|\|-", out, re.M), "Markdown is no text for a terminal"
    assert "Nothing measured is given" in out
    assert main(["memory", "--measured", str(RECORD), "--out", str(tmp_path)]) == 0
    assert {path.name for path in (tmp_path / "figures").glob("*.svg")} == {"memory.svg", "memory-saving.svg"}
    assert "Nothing measured is given" not in (tmp_path / "report.md").read_text()
    assert main(["memory", "--model", "gpt2"]) == 2
    assert "unknown model 'gpt2'" in capsys.readouterr().err
    assert main(["memory", "--model", "distilbert"]) == 2
    assert "no closed form of the memory of model 'distilbert' is known" in capsys.readouterr().err
    (tmp_path / "other.json").write_text(json.dumps({"figures": {}}))
    assert main(["memory", "--measured", str(tmp_path / "other.json")]) == 2
    assert "is no record of measured memory" in capsys.readouterr().err


@pytest.mark.slow
def test_every_figure_names_what_it_draws():
    _, figures = memory_report("minilm", None)
    assert [captioned.kind for captioned in figures] == ["memory", "memory"]
    assert all(ax.get_xlabel() == "tokens a sequence" for ax in figures[1].figure.axes)


def test_predicted_stands_beside_real_only_where_it_was_recorded(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    specs = [make_spec(seed=seed) for seed in (1, 2)]
    for spec in specs:
        add(store, spec, execution={"device": "cpu"})
    assert predictions_section(cells(read_sweeps([store.root]))).blocks == ()
    summary = store.folder(specs[0]) / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "predicted_memory_bytes": 14}))
    grid = predictions_section(cells(read_sweeps([store.root]))).blocks[1]
    assert [row[1:] for row in grid.rows] == [("cpu", "1", "0", "0", "+100.0 to +100.0")]
