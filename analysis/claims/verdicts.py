"""Verdicts on claims such as the study's nine, over any results: printed tables or a store.

A claim that says that all of its parts hold is tested by its largest p (intersection-union test, Berger 1982,
Technometrics 24). A claim that says that most of them hold is tested by the partial conjunction p of Benjamini and
Heller (2008, Biometrics 64) in Bonferroni's form. Both tests are valid however the parts depend on each other, and they
do depend: two metrics of one run, two methods beside one full fine-tuning. Holm corrects across the claims that are
tested; support and contradiction are a family each. A claim about what seeds don't move is compared, and is no member
of these families.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from analysis.claims.grammar import Claim, Quantifier, load_claims
from analysis.claims.measured import Lookup
from analysis.claims.part_tests import PartResult, Verdict, check, seeds_needed, verdict_of
from analysis.claims.std_tests import ENDLESS
from analysis.compare import Population
from analysis.statistics.multiple import holm
from analysis.statistics.power import POWER, seeds_phrase

__all__ = ["Claim", "Verdict", "PartResult", "ClaimResult", "evaluate", "load_claims"]


@dataclass(frozen=True)
class ClaimResult:
    """The verdict on one claim, with what it rests on."""

    id: str
    text: str
    verdict: Verdict
    p: float | None
    """The Holm-corrected p of the statement; None where it was not tested."""
    p_against: float | None
    """The Holm-corrected p of its opposite; None where it was not tested."""
    parts: tuple[PartResult, ...]
    needed: tuple[int | None, int | None] | None
    """The fewest and the most seeds a row that would decide an undecided claim if the estimated differences are true.

    A bound of None means more than ``power.MAX_SEEDS``.
    """
    reason: str
    on_these_items: "ClaimResult | None" = None
    """The verdict on these test items, where seeds alone vary; None where the verdict itself is for no new texts."""

    @property
    def deciding_p(self) -> str:
        """The p of the verdict's own direction as text, such as ``0.008 for`` or ``2.1e-15 against``.

        For an undecided claim it is the smaller one. It is empty where nothing was tested.
        """
        if self.p is None or self.p_against is None:
            return ""
        return f"{_p_text(self.p_against)} against" if self._against else f"{_p_text(self.p)} for"

    @property
    def _against(self) -> bool:
        """Whether the p that is shown is that of the opposite."""
        if self.verdict is not Verdict.UNDECIDED or self.p is None or self.p_against is None:
            return self.verdict is Verdict.CONTRADICTED
        return self.p_against < self.p

    @property
    def populations(self) -> str:
        """The populations that the verdict holds for, such as ``new texts from the same source``; parts may differ."""
        return _listed(part.tested.population for part in self.parts if part.tested)

    @property
    def tests(self) -> str:
        """The tests that gave the p of the parts in the verdict's own direction."""
        found = [part.tested for part in self.parts if part.tested]
        return _listed((one.opposing if self._against else one.supporting).test for one in found)

    @property
    def splits(self) -> str:
        """The splits that the verdict's scores are of."""
        return _listed(own.split for part in self.parts if part.tested for own in (part.a, part.b) if own.split)


def evaluate(claims: Sequence[Claim], lookup: Lookup, alpha: float = 0.05) -> list[ClaimResult]:
    """Return the verdict on each claim, in order; ``lookup`` gives what is known of a row on a dataset in a metric.

    Verdicts are for new texts wherever predictions are stored, with the verdict on these test items beside. A claim is
    supported, or contradicted, where the corrected one-sided p of its statement, or of its opposite, is at most
    ``alpha``. One part that is the other way contradicts "all" (smallest p times the number of parts). A claim is not
    testable where fewer parts can be tested than must hold. Raises ValueError unless 0 < alpha < 0.4.
    """
    known = cache(lookup)
    results = _evaluate(claims, known, alpha, new_text=True)
    if not any(_is_for_new_text(one) for one in results):
        return results
    here = _evaluate(claims, known, alpha, new_text=False)
    return [
        replace(one, on_these_items=other) if _is_for_new_text(one) else one
        for one, other in zip(results, here, strict=True)
    ]


def _is_for_new_text(one: ClaimResult) -> bool:
    return any(part.tested and part.tested.population is Population.NEW_TEXT for part in one.parts)


def _evaluate(claims: Sequence[Claim], lookup: Lookup, alpha: float, new_text: bool) -> list[ClaimResult]:
    if not 0 < alpha < POWER / 2:
        raise ValueError(f"alpha = {alpha} is not in (0, {POWER / 2})")
    results = [tuple(check(part, lookup, alpha, new_text) for part in claim.parts) for claim in claims]
    testable = [
        i for i, claim in enumerate(claims) if sum(part.tested is not None for part in results[i]) >= claim.required
    ]
    raw = {
        i: (
            at_least([part.p for part in results[i]], claims[i].required),
            at_least([part.p_against for part in results[i]], _to_refute(claims[i])),
        )
        for i in testable
    }
    family = [i for i in testable if not _is_compared(results[i])]
    supports, opposes = (holm([raw[i][side] for i in family]) for side in (0, 1))
    corrected = raw | dict(zip(family, zip(supports, opposes, strict=True), strict=True))
    return [
        _verdict(claim, parts, corrected.get(i), alpha, len(family))
        for i, (claim, parts) in enumerate(zip(claims, results, strict=True))
    ]


def _is_compared(parts: Sequence[PartResult]) -> bool:
    """Return whether the parts were compared and none was tested."""
    return all(part.tested.population is Population.COMPARED for part in parts if part.tested)


def at_least(p_values: Sequence[float], number: int) -> float:
    """Return the partial conjunction p that at least ``number`` of the alternatives hold.

    It is the largest p where ``number`` is that of all of them.
    """
    return min(1.0, (len(p_values) - number + 1) * sorted(p_values)[number - 1])


def _to_refute(claim: Claim) -> int:
    """Return the number of parts that must be the other way for too few to be left."""
    return len(claim.parts) - claim.required + 1


def _verdict(
    claim: Claim, parts: tuple[PartResult, ...], corrected: tuple[float, float] | None, alpha: float, family: int
) -> ClaimResult:
    if corrected is None:
        reason = "; ".join([*_missing(parts), *_note(claim)])
        return ClaimResult(claim.id, claim.text, Verdict.NOT_TESTABLE, None, None, parts, None, reason)
    p, p_against = corrected
    verdict = verdict_of(p, p_against, alpha)
    if _is_compared(parts):
        reason = "; ".join([*_comparisons(parts), *_missing(parts), *_note(claim)])
        return ClaimResult(claim.id, claim.text, verdict, None, None, parts, None, reason)
    undecided = verdict is Verdict.UNDECIDED
    can_plan = not any(part.tested and part.tested.spread and part.tested.spread.is_zero for part in parts)
    needed = _needed(claim, parts, alpha / family) if undecided and can_plan else None
    toward = sum(part.points(True) for part in parts)
    sure = sum(part.verdict is Verdict.SUPPORTED for part in parts)
    said = [f"{toward} of {len(parts)} parts point this way, {sure} with p <= {alpha:g} before correction"]
    if claim.quantifier is Quantifier.MOST:
        said.append(f"{claim.required} must hold")
    if opposed := [_name(part) for part in parts if part.verdict is Verdict.CONTRADICTED]:
        said.append(f"the other way with p <= {alpha:g}: {', '.join(opposed)}")
    if needed is not None:
        said.append(f"deciding it would take {seeds_phrase(needed)} seeds a row")
    elif undecided:
        said.append("how many seeds would decide it is not known, for neither seeds nor test items were found to vary")
    reason = "; ".join([*said, *_missing(parts), *_note(claim)])
    return ClaimResult(claim.id, claim.text, verdict, p, p_against, parts, needed, reason)


def _comparisons(parts: Sequence[PartResult]) -> list[str]:
    """Return what was compared, one line for each statement and outcome with all of its datasets."""
    datasets: dict[tuple[str, str, str], list[str]] = {}
    for part in parts:
        if part.tested:
            key = (part.part.statement, part.part.metric, part.tested.supporting.test)
            datasets.setdefault(key, []).append(part.part.dataset)
    return [
        f"{statement} on {', '.join(sets)} ({metric}): {test}" for (statement, metric, test), sets in datasets.items()
    ]


def _needed(claim: Claim, parts: Sequence[PartResult], alpha: float) -> tuple[int | None, int | None]:
    """Return the seeds a row that decide the claim at ``alpha``, to the side to which its parts point now.

    ``alpha`` is that of Holm's first step, and each part has power 0.8. The seeds are more than the claim has, since
    those did not decide it.
    """
    holds = sum(part.points(False) for part in parts) < _to_refute(claim)
    enough = claim.required if holds else _to_refute(claim)
    level = alpha / (len(parts) - enough + 1)
    bounds = zip(*(seeds_needed(part, level, holds) for part in parts), strict=True)
    more = 1 + max(sample.n for part in parts if part.tested for sample in (part.tested.a, part.tested.b))
    low, high = (max(more, sorted(bound)[enough - 1]) for bound in bounds)
    return None if low >= ENDLESS else low, None if high >= ENDLESS else high


def _p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def _note(claim: Claim) -> list[str]:
    return [claim.note] if claim.note else []


def _name(result: PartResult) -> str:
    return f"{result.part.statement} on {result.part.dataset} ({result.part.metric})"


def _missing(parts: Sequence[PartResult]) -> list[str]:
    """Return what is missing, with the rows that lack a metric on the same datasets on one line."""
    lacking: dict[tuple[str, str], dict[str, None]] = {}
    for part in parts:
        for row in part.missing:
            lacking.setdefault((part.part.metric, str(row)), {})[part.part.dataset] = None
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (metric, name), datasets in lacking.items():
        together.setdefault((metric, tuple(datasets)), []).append(name)
    absent = [f"no {metric} of {', '.join(names)} on {', '.join(sets)}" for (metric, sets), names in together.items()]
    return [*absent, *dict.fromkeys(part.reason for part in parts if part.reason)]
