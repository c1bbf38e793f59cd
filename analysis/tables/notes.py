"""The notes below a score table: sentences on comparisons, marks and what a paper may write, and lettered notes."""

from collections.abc import Iterable, Mapping

from analysis.compare import Comparison, Population, Score
from analysis.statistics.power import ALPHA
from analysis.statistics.this_set import WELCH
from analysis.tables.table import Standing, TableSpec

LEVEL = f"{100 * ALPHA:g} %"
MAY_WRITE = {
    Population.NEW_TEXT: "and a paper may say so of new texts from the same source",
    Population.THIS_SET: "and a paper may say so of these test items, not of new texts",
}
MAY_WRITE_MIXED = (
    "and a paper may say so of new texts from the same source, where a letter says so of these test items alone"
)


def sentences(
    spec: TableSpec, standings: Mapping[tuple[int, str], Standing], versus: Mapping[tuple[int, str], Comparison]
) -> list[str]:
    """Return sentences on a table's values, its comparisons, its marks, and on what a paper may write.

    ``versus`` are its comparisons with the best of each column, by the number of the row and the column.
    """
    samples = [score.sample for row in spec.rows for score in row.scores.values() if score.sample is not None]
    if not samples:
        return ["No trial has completed yet."]
    found = [_values([sample.n for sample in samples])]
    if not spec.ranked:
        return found
    compared = list(versus.values())
    tested = [one for one in compared if one.tested]
    if not compared:
        return [*found, "Nothing is compared: no column has two rows that take part."]
    if not tested:
        reasons = list(dict.fromkeys(one.reason for one in compared))
        why = reasons[0] if len(reasons) == 1 else "the letters say why"
        highest = "highest" if compared[0].measure.sign > 0 else "lowest"
        return [*found, f"The {highest} mean of a column is bold. No difference was tested ({why})."]
    return [*found, *_compared(spec, versus), *_marks(tested, set(standings.values()))]


def _values(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    if high == 1:
        return "Each value is the score of one seed."
    seeds = f"{high}" if low == high else f"{low} to {high}"
    return f"Each value is the mean ± the sample standard deviation over {seeds} seeds."


def _compared(spec: TableSpec, versus: Mapping[tuple[int, str], Comparison]) -> list[str]:
    """Return the sentences on what was compared, for which texts, by which tests and with which correction."""
    tested = [one for one in versus.values() if one.tested]
    on_new_text = [one for one in tested if one.population is Population.NEW_TEXT]
    parts = []
    if on_new_text:
        parts.append("for new texts from the same source: seeds and test items vary")
    if len(on_new_text) < len(tested):
        where = ", or, where a letter says so, " if parts else ""
        parts.append(f"{where}on these test items alone: only seeds vary ({WELCH})")
    found = [f"Each row is compared with the best of its column (bold) {''.join(parts)}."]
    if on_new_text:
        found.append(_larger(on_new_text))
    found += _groups(spec, versus)
    correction = tested[0].correction
    found.append(f"Correction of p: {correction}.")
    return found


def _larger(compared: list[Comparison]) -> str:
    """Return the sentences on the two tests for new texts, of which the larger p is reported."""
    names = (test.name for one in compared if one.estimate for test in one.estimate.tests if test.name != WELCH)
    made = " or ".join(dict.fromkeys(names))
    used = dict.fromkeys(one.test for one in compared)
    if len(used) > 1:
        which = f"the {made}, except where the letter of a score names {WELCH}"
    else:
        which = f"{WELCH if WELCH in used else f'the {made}'} in every row"
    return (
        f"Each difference is tested twice, by a {made} over seeds and items and by {WELCH} alone, and the larger p is "
        f"reported. Here that is the p of {which}."
    )


def _groups(spec: TableSpec, versus: Mapping[tuple[int, str], Comparison]) -> list[str]:
    """Return the sentence on related items, which names each column whose test items are in groups of several."""
    found = {}
    for (_, column), one in versus.items():
        spread = one.estimate.spread if one.estimate else None
        if spread and spread.groups < spread.items:
            found[column] = f"{spread.items:,} items in {spread.groups:,} groups"
    if not found:
        return []
    sizes = list(dict.fromkeys(found.values()))
    if len(sizes) == 1 and len(found) == len(spec.columns):
        which = sizes[0]
    else:
        which = "; ".join(f"{spec.columns[column]} {size}" for column, size in found.items())
    return [f"Items of one group, such as equal texts, are drawn together ({which})."]


def _marks(tested: list[Comparison], standings: set[Standing]) -> list[str]:
    """Return the sentences on the meaning of † and of no mark, and on what a paper may write."""
    found = []
    if Standing.ALIKE in standings:
        found.append(
            f"† marks what does not differ significantly from the best of its column ({LEVEL}); this does not show "
            "equality."
        )
    if Standing.WORSE in standings:
        populations = {one.population for one in tested}
        may = MAY_WRITE[populations.pop()] if len(populations) == 1 else MAY_WRITE_MIXED
        others = "Every other tested score" if found else "Every tested score"
        found.append(f"{others} is significantly worse than the best of its column ({LEVEL}), {may}.")
    else:
        found.append("No row is significantly worse than the best.")
    reasons = _listed(one.why_this_set for one in tested if one.why_this_set)
    if reasons:
        found.append(f"There is no test for new texts ({reasons}).")
    return found


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


class Letters:
    """The notes on single entries, lettered in the order in which they appear."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def of(self, score: Score, why_not: str, of_test: str) -> str:
        """Return the letters of an entry.

        ``why_not`` is the reason why it is not tested, empty where that needs no letter. ``of_test`` is the note on a
        test that differs from those of other rows, empty where it does not.
        """
        texts = []
        if score.failures:
            failed = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in score.failures.items())
            texts.append(f"{failed}, so the row takes no part in bold type and tests")
        elif score.left_out:
            texts.append(f"{score.left_out}, so the row takes no part in bold type and tests")
        elif why_not:
            texts.append(f"not tested: {why_not}")
        if of_test:
            texts.append(of_test)
        if score.num_filled:
            texts.append(f"{score.num_filled} failed, counted with the score of the majority class")
        if score.num_collapsed:
            texts.append(f"{score.num_collapsed} of the runs predicted one class only")
        if score.cell is not None and score.cell.num_by_patience:
            texts.append(f"{score.cell.num_by_patience} of {len(score.cell.completed)} trials stopped by patience")
        if score.num_executions > 1:
            texts.append("mixes ways of execution (device, threads, packed or not)")
        for text in texts:
            self.found.setdefault(text, chr(ord("a") + len(self.found) % 26))
        return "".join(self.found[text] for text in texts)

    def notes(self) -> list[str]:
        """Return the lettered notes."""
        return [f"{letter}: {text}." for text, letter in self.found.items()]
