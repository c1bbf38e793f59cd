"""The register of published numbers comes out as printed."""

from decimal import Decimal

import pytest

from analysis.claims.published import elsewhere, published_lookup, register, tables
from analysis.claims.row import ClaimRow

# A row's accuracies on ACL-ARC, AG News and Restaurant, then its macro-F1s.
PRINTED = """
bert    full    77.41±2.81 92.55±0.33 83.45±0.64 65.46±3.15 92.51±0.33 74.45±1.15
roberta full    77.70±1.35 93.26±0.90 86.02±0.60 66.70±2.89 93.21±0.91 78.05±1.24
scibert full    81.44±1.79 91.32±0.25 83.14±0.50 74.82±5.85 91.27±0.24 74.29±1.00
roberta adapter 74.68±1.72 92.55±0.46 86.35±0.14 61.63±3.21 92.53±0.45 78.77±0.41
roberta lora    74.96±0.93 92.50±0.74 85.62±0.30 63.21±1.03 92.48±0.74 77.62±0.47
"""
DATASETS = ("acl_arc", "agnews_7k6", "restaurant")
COLUMNS = [(dataset, metric) for metric in ("accuracy", "macro_f1") for dataset in DATASETS]

# The bold row of each column in print.
BOLD = {
    1: ["SciBERT", "RoBERTa", "RoBERTa"],
    2: ["SciBERT", "RoBERTa", "RoBERTa"],
    3: ["RoBERTa (full)", "RoBERTa (full)", "Adapter"],
    4: ["RoBERTa (full)", "RoBERTa (full)", "Adapter"],
}


def test_every_score_is_as_printed_and_none_is_missing():
    printed = {
        (model, method, *column): text.replace("±", " ± ")
        for model, method, *scores in map(str.split, PRINTED.strip().splitlines())
        for column, text in zip(COLUMNS, scores, strict=True)
    }
    found = {(score.model, score.method, score.dataset, score.metric): score.text for score in register()}
    assert found == printed
    assert len(register()) == 36


def test_tables_stand_in_print_order():
    by_model = [("bert", "full", "BERT"), ("roberta", "full", "RoBERTa"), ("scibert", "full", "SciBERT")]
    by_method = [("roberta", "full", "RoBERTa (full)"), ("roberta", "adapter", "Adapter"), ("roberta", "lora", "LoRA")]
    assert [(table.number, table.metric) for table in tables()] == [
        (1, "accuracy"),
        (2, "macro_f1"),
        (3, "accuracy"),
        (4, "macro_f1"),
    ]
    for table in tables():
        assert [(row.model, row.method, row.label) for row in table.rows] == (
            by_model if table.number < 3 else by_method
        )
        assert table.datasets == DATASETS
        assert table.labels == ("ACL-ARC", "AG News", "Restaurant")
        assert all(score.metric == table.metric for row in table.rows for score in row.scores)


def test_the_same_cells_are_bold():
    for table in tables():
        columns = zip(*table.bold(), strict=True)
        labels = [row.label for row in table.rows]
        bold = [[label for label, best in zip(labels, column, strict=True) if best] for column in columns]
        assert bold == [[label] for label in BOLD[table.number]]


def test_samples_are_fractions_of_five_runs():
    lookup = published_lookup(register())
    sample = lookup(ClaimRow("roberta", "adapter"), "restaurant", "accuracy").sample
    assert sample is not None
    assert (sample.mean, sample.std, sample.n, sample.values) == (0.8635, 0.0014, 5, ())
    assert lookup(ClaimRow("bert", "lora"), "restaurant", "accuracy").sample is None
    assert lookup(ClaimRow("roberta", "full"), "acl_arc", "train_loss").sample is None


def test_one_cell_has_one_value():
    first = register()[0]
    other = type(first)(**{**vars(first), "mean": Decimal("77.42")})
    with pytest.raises(ValueError, match="bert full acl_arc accuracy is published with two values"):
        published_lookup([first, other])


def test_numbers_from_elsewhere_stay_apart():
    scores = elsewhere()
    assert {score.table for score in scores} == {None}
    assert {(s.model, s.dataset, s.metric, s.text, s.source) for s in scores} >= {
        ("scibert", "acl_arc", "macro_f1", "70.98", "SciBERT paper, Table 1, same split"),
        ("roberta", "acl_arc", "macro_f1", "63.0 ± 5.8", "arXiv 2004.10964"),
        ("bert", "restaurant", "accuracy", "82.40", "DR-BERT paper"),
    }
    assert len(scores) == 9
    assert published_lookup(scores)(ClaimRow("roberta", "full"), "acl_arc", "macro_f1").sample is None  # n is not known
