"""Each cell beside the numbers that are printed for it: reproduced within noise, or not."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.cells import Cell
from analysis.claims.published import PublishedScore, elsewhere, register
from analysis.configurations import Configurations, configurations
from analysis.names import SPLITS, bounds_text, metric_name
from analysis.report.document import Grid, Inline, Link, Paragraph, Section
from analysis.statistics.grim import Fit, grim
from analysis.statistics.multiple import holm
from analysis.statistics.this_set import MIN_SEEDS, Difference, Sample, welch
from analysis.tables.table import percent
from tunekit.errors import UserError

ALPHA = 0.05


@dataclass(frozen=True)
class Reproduction:
    """A cell beside one printed score of the same model, method, dataset and metric."""

    here: Configurations
    score: PublishedScore
    sample: Sample | None
    """The scores of the configuration that counts; None where none was chosen."""
    compared: Difference | None
    """Welch's t of the scores here against the printed mean, std and n; None where it can't be made."""
    reason: str
    """The reason why the comparison can't be made; empty where it is."""


def reproductions(found: Sequence[Cell], metrics: Sequence[str]) -> list[Reproduction]:
    """Return each method's configuration that counts beside every printed score of it, in ``metrics``."""
    printed = dict.fromkeys([*_once(register()), *elsewhere()])
    result = []
    for one in configurations(found):
        for score in printed:
            names = (one.first.model, one.first.method, one.first.dataset)
            if names == (score.model, score.method, score.dataset) and score.metric in metrics:
                result.append(_reproduction(one, score))
    return result


def published_section(found: Sequence[Cell], metrics: Sequence[str]) -> Section:
    """Return each cell beside its printed score, with the difference in points and whether it was reproduced.

    Raises UserError where nothing is printed for any of these cells.
    """
    shown = reproductions(found, metrics)
    if not shown:
        raise UserError("--against published: the study published none of these cells; leave it out")
    tested = [one.compared.p for one in shown if one.compared]
    corrected = iter(holm(tested))
    rows = []
    for one in shown:
        p_holm = next(corrected) if one.compared else None
        rows.append((*_names(one), *_numbers(one, p_holm), answer(one, p_holm), _grim(one.score)))
    about = Paragraph(
        "On these test items: Welch's t of the scores here against the printed mean, standard deviation and number of "
        f"runs, since printed numbers come without predictions. Differs: p is at most {ALPHA} after Holm's correction "
        f"over these {len(tested)} comparisons. Reproduced within noise: p alone is above {ALPHA}. That does not show "
        "that the means are equal; the 95 % interval of the difference says how far apart they may be."
    )
    head = (
        "cell", "configuration", "metric", "here", "printed", "source", "difference", "p, uncorrected", "p, Holm",
        "answer", "GRIM",
    )  # fmt: skip
    return Section("Beside the published numbers", (about, Grid(head, tuple(rows))), "published")


def answer(one: Reproduction, p_holm: float | None) -> str:
    """Return whether the printed score was reproduced, in words."""
    if one.compared is None or p_holm is None:
        return f"not testable: {one.reason}"
    if p_holm <= ALPHA:
        return "differs"
    if one.compared.p <= ALPHA:
        return "undecided: differs alone, but not among all comparisons"
    return "reproduced within noise"


def grim_note(score: PublishedScore) -> str:
    """Return the objection of GRIM to a printed mean accuracy; empty where it fits, or GRIM does not apply."""
    if score.metric != "accuracy" or not score.items or not score.n:
        return ""
    found = grim(score.mean, score.items, score.n)
    if found.verdict is Fit.FITS:
        return ""
    return f"{found.verdict.value}; {100 * found.chance_rounded:.1f} % of all values would pass that"


def _once(scores: Sequence[PublishedScore]) -> list[PublishedScore]:
    """Return the scores with each cell and metric once: full RoBERTa is in two of the study's tables."""
    first: dict[tuple[str, ...], PublishedScore] = {}
    for one in scores:
        first.setdefault((one.model, one.method, one.dataset, one.metric), one)
    return list(first.values())


def _reproduction(one: Configurations, score: PublishedScore) -> Reproduction:
    cell = one.chosen
    sample = None if cell is None else cell.sample(score.metric)
    reason = _why_not(one, score, sample)
    if sample is None or score.std is None or score.n is None or reason:
        return Reproduction(one, score, sample, None, reason)
    compared = welch(sample, Sample(float(score.mean / 100), float(score.std / 100), score.n))
    return Reproduction(one, score, sample, compared, "" if compared else "neither mean varies over its runs")


def _why_not(one: Configurations, score: PublishedScore, sample: Sample | None) -> str:
    if one.chosen is None:
        return one.how
    if one.chosen.failures:
        return "trials failed"
    if one.chosen.split != "test":
        return "test was not scored here, and what is printed is on test"
    if sample is None:
        return "no score here"
    if sample.n < MIN_SEEDS:
        return f"{sample.n} seeds here, and a test takes {MIN_SEEDS}"
    if score.std is None:
        return "no standard deviation is printed"
    return "the number of runs is not printed" if score.n is None else ""


def _names(one: Reproduction) -> tuple[Inline, ...]:
    first = one.here.first
    title = " · ".join([first.model_name, first.method_name, first.dataset_name])
    chosen = one.here.chosen
    if chosen is None:
        return title, "none chosen", metric_name(one.score.metric)
    about = f"{chosen.variant}: {one.here.how}" if one.here.how else "the only one"
    return Link(title, f"#{chosen.anchor}"), f"{about}, {SPLITS[chosen.split]}", metric_name(one.score.metric)


def _numbers(one: Reproduction, p_holm: float | None) -> tuple[str, ...]:
    printed = f"{one.score.text} (n = {one.score.n})" if one.score.n else one.score.text
    if one.sample is None:
        return "", printed, one.score.source, "", "", ""
    here = f"{percent(one.sample)} (n = {one.sample.n})"
    difference = f"{100 * one.sample.mean - float(one.score.mean):+.2f}"
    if one.compared is None or p_holm is None:
        return here, printed, one.score.source, difference, "", ""
    bounds = one.compared.interval
    around = f"{difference} {bounds_text(100 * bounds.low, 100 * bounds.high, '+.2f')}"
    return here, printed, one.score.source, around, f"{one.compared.p:.3g}", f"{p_holm:.3g}"


def _grim(score: PublishedScore) -> str:
    if score.metric != "accuracy" or not score.items or not score.n:
        return ""
    return grim_note(score) or "fits"
