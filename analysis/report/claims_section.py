"""The report's section on claims: each verdict with its p, the texts it holds for, and the runs it used."""

from collections.abc import Sequence

from analysis.claims.grammar import OFF_ITEMS
from analysis.claims.part_tests import PartResult, Tested, Verdict
from analysis.claims.verdicts import ClaimResult
from analysis.compare import Population
from analysis.names import bounds_text
from analysis.report.document import Grid, Inline, Paragraph, Points, Section
from tunekit.tasks import task_of

MIB = 2**20


def claims_section(verdicts: Sequence[ClaimResult], every: bool = True) -> Section:
    """Return a row a claim: its verdict, the p of that direction, what it holds for, and why; below, what it used.

    Without ``every``, claims that can't be tested are counted and not listed. It is empty where none is left.
    """
    shown = [one for one in verdicts if every or one.verdict is not Verdict.NOT_TESTABLE]
    if not shown:
        return Section("Claims", (), "claims")
    rows: list[tuple[Inline, ...]] = [
        (one.text, one.verdict.value, one.deciding_p, _holds_for(one), _here(one), one.reason) for one in shown
    ]
    tested = sum(one.p is not None for one in verdicts)
    corrected = f"corrected by Holm (1979) over the {tested} claims that were tested" if tested > 1 else "not corrected"
    about = Paragraph(
        "The p is one-sided, for or against the claim as the verdict goes (of an undecided claim the smaller one), and "
        f"{corrected}. A verdict for new texts from the same source lets seeds and test items vary; one on these test "
        "items lets seeds vary, and other items may say otherwise. For new texts two tests are made, over seeds and "
        "items and over seeds alone, and the larger p is reported; the test named is the one that gave it. What seeds "
        "do not move, such as bytes, is compared in every run and not tested."
    )
    left_out = len(verdicts) - len(shown)
    are = "is" if left_out == 1 else "are"
    lines = [Points((f"{left_out} of {len(verdicts)} claims can't be tested here and {are} left out.",))]
    p = f"p, {'Holm over the claims' if tested > 1 else 'uncorrected'}"
    head = ("claim", "verdict", p, "holds for", "on these test items alone", "why")
    return Section("Claims", (about, Grid(head, tuple(rows)), *(lines if left_out else ())), "claims", _used(shown))


def _holds_for(one: ClaimResult) -> str:
    """Return the population, the split and the test of a verdict in one line."""
    by = f"by {one.tests}" if one.p is not None else ""
    return ", ".join(filter(None, [one.populations, f"on {one.splits}" if one.splits else "", by]))


def _here(one: ClaimResult) -> str:
    """Return the verdict on these test items where the claim's own is for new texts."""
    here = one.on_these_items
    return "" if here is None else f"{here.verdict.value}, {here.deciding_p} ({here.tests})"


def _used(shown: Sequence[ClaimResult]) -> tuple[Section, ...]:
    """Return a section with the configurations, split, population and test that each part of the claims used."""
    rows: list[tuple[Inline, ...]] = [
        (one.id, part.part.statement, part.part.dataset, part.part.metric, *_texts(part, part.tested))
        for one in shown
        for part in one.parts
        if part.tested
    ]
    head = (
        "claim", "statement", "dataset", "metric", "configurations", "split", "n", "difference", "holds for", "test",
        "p for, uncorrected", "p against, uncorrected", "verdict of this part",
    )  # fmt: skip
    caption = (
        "What each verdict used, part by part. The p here are uncorrected; differences of scores are in points, or in "
        "the score's unit where that is not percent."
    )
    return (Section("What the verdicts used", (Grid(head, tuple(rows), caption),), "claims-used"),) if rows else ()


def _texts(part: PartResult, tested: Tested) -> tuple[str, ...]:
    about = dict.fromkeys(f"{row}: {own.configuration}" for row, own in ((part.part.a, part.a), (part.part.b, part.b)))
    splits = dict.fromkeys(own.split for own in (part.a, part.b) if own.split)
    compared = tested.population is Population.COMPARED
    return (
        "; ".join(about),
        ", ".join(splits),
        f"{tested.a.n}, {tested.b.n}",
        _difference(part, tested),
        tested.population.value,
        f"{_tests(tested)}{f' ({tested.why_not_new_text})' if tested.why_not_new_text else ''}",
        "" if compared else f"{tested.p:.3g}",
        "" if compared else f"{tested.p_against:.3g}",
        part.verdict.value,
    )


def _tests(tested: Tested) -> str:
    """Return the test that gave both p, or the two that did."""
    supporting, opposing = tested.supporting.test, tested.opposing.test
    return supporting if supporting == opposing else f"for: {supporting}; against: {opposing}"


def _difference(part: PartResult, tested: Tested) -> str:
    """Return a minus b with its interval, in a unit for reading: MiB, seconds or points."""
    unit, by = {"peak_memory_bytes": (" MiB", 1 / MIB), "train_seconds": (" s", 1.0)}.get(part.part.metric, ("", 1.0))
    if part.part.metric not in OFF_ITEMS:
        by = task_of(part.part.dataset).measure(part.part.metric).scale
    bounds = tested.interval
    around = "" if bounds is None else f" {bounds_text(by * bounds.low, by * bounds.high, '+,.4g')}"
    return f"{by * tested.difference:+,.4g}{unit}{around}"
