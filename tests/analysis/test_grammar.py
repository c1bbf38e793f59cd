"""The claims file: what its statements come down to, and what is refused."""

import pytest

from analysis.claims.grammar import Quantifier, Relation, load_claims
from analysis.claims.row import ClaimRow, parse_row
from tunekit.errors import UserError

A, B = ClaimRow("a", "full"), ClaimRow("b", "full")
HEAD = "rows: [a, b, c, a/lora]\ndatasets: [d, e]\nclaims:\n"
CLAIM = "- {id: x, text: A sentence., quantifier: all, parts: [{statements: %s, datasets: %s, metrics: %s}]}\n"


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_grammar(tmp_path):
    text = HEAD + (
        "- id: x\n  text: A sentence.\n  quantifier: most\n  note: a reading\n  parts:\n"
        "  - {statements: a best, among: [a, b, c], datasets: all, metrics: macro_f1}\n"
        "  - {statements: ['a/lora < 0.75 * b', std(a) > std(b)], datasets: d, metrics: train_loss}\n"
        "  - {statements: a within 1.5 points of b, datasets: [e], metrics: [accuracy]}\n"
    )
    (found,) = load_claims(write(tmp_path, text))
    assert [(p.statement, p.a, p.relation, p.b, p.dataset, p.metric, p.factor, p.margin) for p in found.parts] == [
        ("a > b", A, Relation.ABOVE, B, "d", "macro_f1", 1, 0),
        ("a > b", A, Relation.ABOVE, B, "e", "macro_f1", 1, 0),
        ("a > c", A, Relation.ABOVE, ClaimRow("c", "full"), "d", "macro_f1", 1, 0),
        ("a > c", A, Relation.ABOVE, ClaimRow("c", "full"), "e", "macro_f1", 1, 0),
        ("a/lora < 0.75 * b", ClaimRow("a", "lora"), Relation.BELOW, B, "d", "train_loss", 0.75, 0),
        ("std(a) > std(b)", A, Relation.STD_ABOVE, B, "d", "train_loss", 1, 0),
        ("a within 1.5 points of b", A, Relation.WITHIN, B, "e", "accuracy", 1, pytest.approx(0.015)),
    ]
    assert (found.quantifier, found.required, found.note) == (Quantifier.MOST, 4, "a reading")
    assert parse_row("org/name/full") == ClaimRow("org/name", "full")


def test_scores_are_those_of_the_datasets_task(tmp_path):
    text = HEAD.replace("[d, e]", "[demo-regression, demo]") + (
        "- id: x\n  text: A sentence.\n  quantifier: all\n  parts:\n"
        "  - {statements: a best, among: [a, b], datasets: demo-regression, metrics: [rmse, pearson]}\n"
        "  - {statements: a within 0.3 of b, datasets: demo-regression, metrics: [rmse]}\n"
        "  - {statements: a within 2 points of b, datasets: demo, metrics: [micro_f1]}\n"
    )
    (found,) = load_claims(write(tmp_path, text))
    assert [(p.statement, p.relation, p.metric, p.margin) for p in found.parts] == [
        ("a < b", Relation.BELOW, "rmse", 0),
        ("a > b", Relation.ABOVE, "pearson", 0),
        ("a within 0.3 of b", Relation.WITHIN, "rmse", 0.3),
        ("a within 2 points of b", Relation.WITHIN, "micro_f1", pytest.approx(0.02)),
    ]


OF_NUMBERS = HEAD.replace("[d, e]", "[demo-regression]") + CLAIM


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            OF_NUMBERS % ("a > b", "all", "macro_f1"),
            "claim x, on demo-regression: unknown metric 'macro_f1', it must be one of loss, pearson, spearman, rmse,",
        ),
        (OF_NUMBERS % ("a > b", "all", "overfit"), "unknown metric 'overfit'"),
        (OF_NUMBERS % ("a within 2 points of b", "all", "rmse"), "rmse has no points; write within 2 of, in its unit"),
        (HEAD + CLAIM % ("a within 2 of b", "d", "accuracy"), "accuracy is in percent; write within 2 points of"),
        (HEAD + CLAIM % ("a > bb", "d", "accuracy"), "mine.yaml, claim x: unknown row 'bb', did you mean 'b'"),
        (HEAD + CLAIM % ("a > b", "f", "accuracy"), "unknown dataset 'f', it must be one of d, e"),
        (HEAD + CLAIM % ("a > b", "d", "acuracy"), "unknown metric 'acuracy', did you mean 'accuracy'"),
        (HEAD + CLAIM % ("a is good", "d", "accuracy"), "'a is good' is not a statement; write one of"),
        (HEAD + CLAIM % ("a > a", "d", "accuracy"), "compares a row with itself"),
        (HEAD + CLAIM % ("a within 0 points of b", "d", "accuracy"), "needs a margin above 0"),
        (
            HEAD + CLAIM % ("a within 2 points of b", "d", "train_loss"),
            "is for loss, accuracy, micro_f1, macro_f1; for train",
        ),
        (HEAD + CLAIM % ("a best", "d", "accuracy"), "needs the rows it is best of"),
        (HEAD + CLAIM % ("[a > b, a > b]", "d", "accuracy"), "has one name twice"),
        (HEAD + CLAIM % ("a > b", "d", "3"), "metrics must be a name or a list of names"),
        (HEAD + CLAIM.replace("all", "many") % ("a > b", "d", "accuracy"), "unknown quantifier 'many'"),
        (HEAD + CLAIM.replace("text", "txt") % ("a > b", "d", "accuracy"), "unknown key 'txt', did you mean 'text'"),
        (HEAD + CLAIM.replace("x,", "1,") % ("a > b", "d", "accuracy"), "id must be text, not 1"),
        (HEAD + 2 * (CLAIM % ("a > b", "d", "accuracy")), "there are two claims of this id"),
        (HEAD + "- {id: x, text: t, quantifier: all}", "claim x: missing parts"),
        (HEAD + "- 5", "claim 1: expected a mapping"),
        (HEAD + "- {id: x, id: y}", "line 4: the key 'id' occurs twice"),
        (HEAD, "claims must be a list"),
        ("rows: [a]\nclaims: []", "missing datasets"),
        ("[]", "expected a mapping"),
        ("", "expected a mapping"),
        ("rows: &x [a]\ndatasets: *x\nclaims: []", "aliases are not read"),
        ("rows: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: [", "mine.yaml: while parsing"),
        ("[" * 900_000, "nested more than 20 deep"),
        ("#" * 1_000_001, "larger than 1,000,000 bytes"),
    ],
)
def test_errors_name_the_file_and_what_is_wrong(tmp_path, text, message):
    with pytest.raises(UserError) as error:
        load_claims(write(tmp_path, text))
    assert message in str(error.value)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_can_not_be_read(tmp_path):
    with pytest.raises(UserError, match=r"gone\.yaml"):
        load_claims(tmp_path / "gone.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"bytes\.yaml"):
        load_claims(tmp_path / "bytes.yaml")
