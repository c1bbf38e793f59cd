"""One verdict for one question: claims and tables use the same comparison, and documents say what the commands say."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from analysis.cells import cells
from analysis.claims.grammar import Claim, Part, Quantifier, Relation, load_claims
from analysis.claims.measured import cell_lookup
from analysis.claims.published import published_lookup, register
from analysis.claims.row import ClaimRow
from analysis.claims.verdicts import Verdict, evaluate
from analysis.compare import Population
from analysis.memory.saving_claim import with_closed_form
from analysis.report.claims_section import claims_section
from analysis.report.pages import markdown_sections
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build
from analysis.tables.specs import default_specs
from tests.conftest import ROOT
from tests.support.predicted import add_predicted
from tests.support.stores import ask
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.store.result_store import ResultStore

FULL, LORA = ClaimRow("tiny-bert", "full"), ClaimRow("tiny-bert", "lora")
CLAIM = Claim("x", "Full wins.", Quantifier.ALL, (Part("full > lora", FULL, Relation.ABOVE, LORA, "demo", "accuracy"),))


@pytest.fixture
def found(tmp_path, make_spec):
    """Full is right on 2 items of 40 more than LoRA with every seed, which is much for seeds and little for items."""
    store = ResultStore(tmp_path / "sweep")
    specs = [make_spec(seed=seed, method=m, method_params={}) for m in ("full", "lora") for seed in range(1, 6)]
    ask(store, specs)
    save_dataset(load_dataset("demo"), store.data_folder)
    for spec in specs:
        right = np.arange(40) < (28 if spec.method == "lora" else 34)
        right[[0, 1, 35, 36]] = spec.method == "lora"
        right[38] = spec.seed % 2
        add_predicted(store, spec, right)
    return cells(read_sweeps([store.root]))


def test_a_claim_is_answered_for_new_text_and_these_items_stand_beside(found):
    (result,) = evaluate([CLAIM], cell_lookup(found))
    assert result.verdict is Verdict.UNDECIDED
    assert result.populations == Population.NEW_TEXT.value
    assert result.splits == "test"
    assert result.needed is not None
    here = result.on_these_items
    assert here.populations == Population.THIS_SET.value
    assert here.tests == "Welch's t over seeds"
    assert here.verdict is Verdict.SUPPORTED
    text = markdown_sections([claims_section([result])])
    assert "new texts from the same source, on test, by crossed" in text
    assert f"{here.verdict.value}, {here.deciding_p} (Welch's t over seeds)" in text


def test_the_claim_and_the_table_use_one_comparison(found):
    (spec,) = default_specs(found, ["accuracy"])
    (versus,) = [entry.versus for entry in build(spec).entries.values() if entry.versus]
    (result,) = evaluate([CLAIM], cell_lookup(found))
    (part,) = result.parts
    assert versus.population is part.tested.population
    assert versus.test == min(part.tested.supporting, part.tested.opposing).test
    assert versus.p == pytest.approx(2 * min(part.tested.p, part.tested.p_against))


def test_without_predictions_the_verdict_says_that_it_holds_for_these_items(found):
    for cell in found:
        for trial in cell.trials:
            (trial.path / "predictions.parquet").unlink()
    (result,) = evaluate([CLAIM], cell_lookup(found))
    assert result.populations == Population.THIS_SET.value
    assert result.on_these_items is None
    assert "no predictions stored" in markdown_sections([claims_section([result])])


# -- the study's nine claims, and what the documents say of them -----------------------------------------------------


@pytest.fixture(scope="module")
def table():
    """The table of verdicts in docs/results.md: two texts by the first words of the claim."""
    text = (ROOT / "docs" / "results.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text[text.index("| claim | the study's") :], re.M)
    return {claim: (printed, minilm) for claim, printed, minilm in rows[1:] if claim[0] != "-"}


@pytest.fixture
def released(tmp_path):
    """A copy of the released study, in which the reading may leave its cache."""
    return shutil.copytree(ROOT / "docs" / "results" / "study-minilm", tmp_path / "study-minilm")


def of_minilm(claim):
    """A claim about methods, said of MiniLM on the two datasets of the preset; None for one about models."""
    parts = tuple(
        replace(part, a=part.a._replace(model="minilm"), b=part.b._replace(model="minilm"))
        for part in claim.parts
        if part.a.model == part.b.model and part.dataset != "agnews_7k6"
    )
    return replace(claim, parts=parts) if parts else None


@pytest.mark.slow
def test_the_documents_say_what_the_commands_say(table, released):
    claims = load_claims()
    printed = evaluate(claims, with_closed_form(published_lookup(register())))
    counts = [sum(one.verdict is verdict for one in printed) for verdict in Verdict]
    assert counts == [0, 1, 5, 3]  # supported, contradicted, undecided, not testable
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert "5 are undecided at 5 seeds, 3 are not testable, and the claim that the adapter saves" in readme
    own = {claim.id: claim for claim in map(of_minilm, claims) if claim}
    judged = dict(zip(own, evaluate(list(own.values()), cell_lookup(cells(read_sweeps([released])))), strict=True))
    assert len(table) == len(claims) == 9
    for (said, here), result in zip(table.values(), printed, strict=True):
        assert said.startswith(result.verdict.value.removesuffix(" at this n"))
        if result.id in judged:
            assert here.startswith(judged[result.id].verdict.value.removesuffix(" at this n"))
            assert ("p = " not in here) or here.endswith(f"p = {judged[result.id].deciding_p}")
        else:
            assert here == "other models"
