"""Verdicts on claims such as the study's nine, over any results: printed tables or a store.

A claim that all of its parts hold is tested by its largest p (intersection-union test, Berger 1982, Technometrics 24),
one that most of them hold by the partial conjunction p of Benjamini & Heller (2008, Biometrics 64), Bonferroni's form;
both stand however the parts depend on each other, and they do: two metrics of one run, two methods beside one full
fine-tuning. Holm corrects across the claims that can be tested; support and contradiction are a family each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.claims.grammar import Claim, Quantifier, load_claims
from analysis.claims.part_tests import ENDLESS, PartResult, Verdict, check, seeds_needed, verdict_of
from analysis.claims.published import Lookup
from analysis.statistics.multiple import holm
from analysis.statistics.power import POWER, seeds_phrase

__all__ = ["Claim", "Verdict", "PartResult", "ClaimResult", "evaluate", "load_claims"]


@dataclass(frozen=True)
class ClaimResult:
    """What the numbers say of one claim. ``p`` and ``p_against`` are Holm-corrected; None where it was not tested."""

    id: str
    text: str
    verdict: Verdict
    p: float | None
    p_against: float | None
    parts: tuple[PartResult, ...]
    needed: tuple[int | None, int | None] | None
    """The fewest and the most seeds a row that would decide an undecided claim, if the differences are what they look
    like.

    A bound of None says more than ``power.MAX_SEEDS``.
    """
    reason: str


def evaluate(claims: Sequence[Claim], lookup: Lookup, alpha: float = 0.05) -> list[ClaimResult]:
    """Return the verdict on each claim, in order; ``lookup`` gives the cell's sample for (model, method, dataset,
    metric).

    A claim is supported, or contradicted, where the corrected one-sided p of its statement, or of its opposite, is at
    most ``alpha``. One part that is the other way contradicts "all" (smallest p times the number of parts). Not
    testable: fewer parts can be tested than must hold. ValueError unless 0 < alpha < 0.4.
    """
    if not 0 < alpha < POWER / 2:
        raise ValueError(f"alpha = {alpha} is not in (0, {POWER / 2})")
    results = [tuple(check(part, lookup, alpha) for part in claim.parts) for claim in claims]
    testable = [sum(part.tested is not None for part in parts) for parts in results]
    tested = [i for i, claim in enumerate(claims) if testable[i] >= claim.required]
    supports = holm([at_least([part.p for part in results[i]], claims[i].required) for i in tested])
    opposes = holm([at_least([part.p_against for part in results[i]], _to_refute(claims[i])) for i in tested])
    corrected = dict(zip(tested, zip(supports, opposes, strict=True), strict=True))
    return [
        _verdict(claim, parts, corrected.get(i), alpha, len(tested))
        for i, (claim, parts) in enumerate(zip(claims, results, strict=True))
    ]


def at_least(p_values: Sequence[float], number: int) -> float:
    """Return the partial conjunction p that at least ``number`` of the alternatives hold.

    The largest p where that is all.
    """
    return min(1.0, (len(p_values) - number + 1) * sorted(p_values)[number - 1])


def _to_refute(claim: Claim) -> int:
    """Return how many parts must be the other way for too few to be left."""
    return len(claim.parts) - claim.required + 1


def _verdict(
    claim: Claim, parts: tuple[PartResult, ...], corrected: tuple[float, float] | None, alpha: float, family: int
) -> ClaimResult:
    if corrected is None:
        reason = "; ".join([*_missing(parts), *_note(claim)])
        return ClaimResult(claim.id, claim.text, Verdict.NOT_TESTABLE, None, None, parts, None, reason)
    p, p_against = corrected
    verdict = verdict_of(p, p_against, alpha)
    needed = _needed(claim, parts, alpha / family) if verdict is Verdict.UNDECIDED else None
    toward = sum(part.points(True) for part in parts)
    sure = sum(part.verdict is Verdict.SUPPORTED for part in parts)
    said = [f"{toward} of {len(parts)} parts point this way, {sure} with p <= {alpha:g} before correction"]
    if claim.quantifier is Quantifier.MOST:
        said.append(f"{claim.required} must hold")
    if opposed := [_name(part) for part in parts if part.verdict is Verdict.CONTRADICTED]:
        said.append(f"the other way with p <= {alpha:g}: {', '.join(opposed)}")
    if needed is not None:
        said.append(f"deciding it would take {seeds_phrase(needed)} seeds a row")
    tests = dict.fromkeys(part.tested.test for part in parts if part.tested)
    reason = "; ".join([*said, *_missing(parts), *_note(claim), f"test: {', '.join(tests)}"])
    return ClaimResult(claim.id, claim.text, verdict, p, p_against, parts, needed, reason)


def _needed(claim: Claim, parts: Sequence[PartResult], alpha: float) -> tuple[int | None, int | None]:
    """Return the seeds that decide the claim at ``alpha``, Holm's first step, to the side to which its parts point now.

    Power 0.8 a part. More than it has, since these did not decide it.
    """
    holds = sum(part.points(False) for part in parts) < _to_refute(claim)
    enough = claim.required if holds else _to_refute(claim)
    level = alpha / (len(parts) - enough + 1)
    bounds = zip(*(seeds_needed(part, level, holds) for part in parts), strict=True)
    more = 1 + max(sample.n for part in parts if part.tested for sample in (part.tested.a, part.tested.b))
    low, high = (max(more, sorted(bound)[enough - 1]) for bound in bounds)
    return None if low >= ENDLESS else low, None if high >= ENDLESS else high


def _note(claim: Claim) -> list[str]:
    return [claim.note] if claim.note else []


def _name(result: PartResult) -> str:
    return f"{result.part.statement} on {result.part.dataset} ({result.part.metric})"


def _missing(parts: Sequence[PartResult]) -> list[str]:
    """Return what is missing, rows that lack a metric on the same datasets together."""
    lacking: dict[tuple[str, str], dict[str, None]] = {}
    for part in parts:
        for row in part.missing:
            lacking.setdefault((part.part.metric, str(row)), {})[part.part.dataset] = None
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (metric, name), datasets in lacking.items():
        together.setdefault((metric, tuple(datasets)), []).append(name)
    absent = [f"no {metric} of {', '.join(names)} on {', '.join(sets)}" for (metric, sets), names in together.items()]
    return [*absent, *dict.fromkeys(part.reason for part in parts if part.reason)]
