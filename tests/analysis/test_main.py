"""The command line: what it writes, and one line for each bad input."""

import re

import pytest

from analysis.__main__ import main
from tests.support.stores import add, ask
from tunekit.store.result_store import ResultStore

PRINTED = [
    "| BERT | 77.41 ± 2.81† | 92.55 ± 0.33† | 83.45 ± 0.64 |",
    "| SciBERT | **74.82 ± 5.85** | 91.27 ± 0.24 | 74.29 ± 1.00 |",
    "| Adapter | 74.68 ± 1.72† | 92.55 ± 0.46† | **86.35 ± 0.14** |",
    "| LoRA | 63.21 ± 1.03† | 92.48 ± 0.74† | 77.62 ± 0.47 |",
]


@pytest.mark.slow
def test_published_tables_come_out_digit_for_digit(tmp_path, capsys):
    assert main(["published", "--out", str(tmp_path)]) == 0
    for number, line in enumerate(PRINTED, 1):
        assert line in (tmp_path / "tables" / f"table-{number}.md").read_text()
    assert "fits only if runs were rounded" in (tmp_path / "tables" / "table-3.md").read_text()
    assert "undecided" in (tmp_path / "report.md").read_text()
    capsys.readouterr()


@pytest.mark.slow
def test_a_sweep_becomes_tables_and_a_report(tmp_path, make_spec, capsys):
    store = ResultStore(tmp_path / "sweep")
    specs = [make_spec(seed=seed, learning_rate=rate) for seed in (1, 2, 3) for rate in (1e-3, 1e-4)]
    ask(store, specs)
    for spec in specs:
        add(store, spec, [0.5 + spec.seed / 100 + spec.learning_rate])
    assert main([str(store.root), "--out", str(tmp_path / "out")]) == 0
    report = (tmp_path / "out" / "report.md").read_text()
    assert "6 trials: 6 completed. They form 2 cells" in report
    assert "52.10 ± 1.00" in report
    assert {path.suffix for path in (tmp_path / "out" / "tables").iterdir()} == {".md", ".tex", ".csv", ".html"}
    assert len(list((tmp_path / "out" / "figures").glob("figure-*.svg"))) == 2
    assert (store.root / "cache" / "records.bin").exists()
    assert {path.suffix for path in (tmp_path / "out" / "figures").iterdir()} == {".svg", ".pdf"}
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize(("figures", "suffixes"), [(["none"], set()), (["png"], {".png"})])
def test_figures_are_written_in_the_formats_asked_for(tmp_path, make_spec, capsys, figures, suffixes):
    store = ResultStore(tmp_path / "sweep")
    spec = make_spec()
    ask(store, [spec])
    add(store, spec)
    out = tmp_path / "out"
    assert main([str(store.root), "--out", str(out), "--figures", *figures]) == 0
    capsys.readouterr()
    assert {path.suffix for path in out.glob("figures/*")} == suffixes
    assert ("<svg" in (out / "report.html").read_text()) == bool(suffixes)
    links = re.findall(r"\]\((figures/[^)]*)\)", (out / "report.md").read_text())
    assert bool(links) == bool(suffixes)
    assert all((out / link).exists() for link in links)


def test_none_is_the_only_format_where_it_is_given(tmp_path, make_spec, capsys):
    store = ResultStore(tmp_path / "sweep")
    add(store, make_spec())
    assert main([str(store.root), "--out", str(tmp_path / "out"), "--figures", "none", "png"]) != 0
    assert "none alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["{sweep}", "--metric", "f2"], "there is no metric 'f2'"), (["{sweep}/no"], "holds no sweep"),
     (["{sweep}", "--against", "published"], "the study published none of these"),
     (["{sweep}", "--metric", "mcc"], "predictions"), (["{sweep}", "--select", "best"], "best-val")],
)  # fmt: skip
def test_bad_input_is_one_line(tmp_path, make_spec, capsys, arguments, said):
    store = ResultStore(tmp_path / "sweep")
    add(store, make_spec())
    given = [argument.format(sweep=store.root) for argument in arguments]
    assert main([*given, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_the_captions_say_which_epoch_was_taken(tmp_path, make_spec, capsys):
    store = ResultStore(tmp_path / "sweep")
    add(store, make_spec(), [0.7, 0.2])
    assert main([str(store.root), "--out", str(tmp_path / "out"), "--select", "best-test"]) == 0
    assert "so too high" in (tmp_path / "out" / "tables" / "all-macro-f1.md").read_text()
    capsys.readouterr()


@pytest.mark.slow
def test_published_values_stand_beside_ours(tmp_path, make_spec, capsys):
    store = ResultStore(tmp_path / "sweep")
    for seed in (1, 2):
        add(store, make_spec(model="roberta", dataset="restaurant", method="lora", seed=seed), [0.79])
    assert main([str(store.root), "--out", str(tmp_path / "out"), "--against", "published"]) == 0
    report = (tmp_path / "out" / "report.md").read_text()
    assert re.search(r"\| 79.00 ± 0.00 \(n = 2\) \| 77.62 ± 0.47 \(n = 5\) \| the study, Table 4 \| \+1.38 \|", report)
    assert "not testable: 2 seeds here, and a test takes 3" in report
    capsys.readouterr()


def test_no_sweep_at_all_is_one_line(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "error: missing SWEEP (tunekit report --help lists the flags)\n"
