"""Score tables are filled here: the best of each column, and the comparison of the other rows with it."""

from collections.abc import Mapping

from analysis.compare import Comparison, Population, compare
from analysis.statistics.multiple import STEP_DOWN, against_best, pairs
from analysis.statistics.power import ALPHA
from analysis.statistics.this_set import WELCH
from analysis.tables.notes import Letters, sentences
from analysis.tables.table import Entry, Standing, Table, TableSpec


def build(spec: TableSpec) -> Table:
    """Return the table that ``spec`` asks for.

    The best mean of each column is bold. Every other row is compared with it (``analysis.compare``), and comes out as
    not significantly different from it, worse, or not tested; p values are corrected over the whole table. Where two
    rows can be tested, a row that can't be takes no part in bold either. Why a row is not tested, failed trials, trials
    that predicted one class only, and mixed ways of execution are lettered notes.
    """
    best = {column: top for column in spec.columns if spec.ranked and (top := _best(spec, column)) is not None}
    versus = _versus(spec, best)
    standings = {
        (number, column): _standing(spec, number, best.get(column), column, versus.get((number, column)))
        for number, row in enumerate(spec.rows)
        for column in row.scores
    }
    tested = [one for one in versus.values() if one.tested]
    untested = {one.reason for one in versus.values() if not one.tested}
    say_why = bool(tested) or len(untested) > 1
    mixed = len({one.population for one in tested}) > 1
    on_new_text = {one.test for one in tested if one.population is Population.NEW_TEXT}
    entries, letters = {}, Letters()
    for number, row in enumerate(spec.rows):
        for column, score in row.scores.items():
            one = versus.get((number, column))
            why_not = _why_not(one) if one and say_why and score.sample else ""
            of_test = _of_test(one, mixed, len(on_new_text) > 1) if one and one.tested else ""
            marks = letters.of(score, why_not, of_test)
            entries[number, column] = Entry(score, standings[number, column], one, marks)
    said = sentences(spec, standings, versus)
    return Table(spec, entries, (*said, *spec.notes, *letters.notes()), best)


def _versus(spec: TableSpec, best: Mapping[str, int]) -> dict[tuple[int, str], Comparison]:
    """Return the comparison of each row with the best of its column, p values corrected over the whole table."""
    found = {
        (number, column): compare(row.scores[column], spec.rows[top].scores[column])
        for column, top in best.items()
        for number, row in enumerate(spec.rows)
        if number != top and column in row.scores
    }
    tested = {column: [key for key, one in found.items() if key[1] == column and one.tested] for column in best}
    corrected = against_best([[found[key].p or 0.0 for key in keys] for keys in tested.values()])
    number = pairs([len(keys) + 1 for keys in tested.values()])
    name = f"{STEP_DOWN}, {number} at first" if number > 1 else "none (one pair of rows)"
    for keys, p_values in zip(tested.values(), corrected, strict=True):
        found |= {key: found[key].corrected(p, name) for key, p in zip(keys, p_values, strict=True)}
    return found


def _of_test(one: Comparison, populations: bool, tests: bool) -> str:
    """Return the note on the test of a row, for a table whose rows differ in ``populations`` or in ``tests``.

    It is empty where the sentences below the table say it of every row.
    """
    if one.population is Population.THIS_SET:
        return "compared on these test items alone" if populations else ""
    return f"p is that of {WELCH}, the larger one" if tests and one.test == WELCH else ""


def _why_not(one: Comparison) -> str:
    """Return why a row was not tested, with a clause on a mean better than the bold one; empty where it was tested."""
    if one.tested or one.exact:
        return ""
    better = one.difference is not None and one.measure.sign * one.difference > 0
    which = "higher" if one.measure.sign > 0 else "lower"
    return f"{one.reason}{f', so that its {which} mean is not bold' if better else ''}"


def _best(spec: TableSpec, column: str) -> int | None:
    """Return the number of the best row; None where fewer than two rows take part.

    Where two rows can be tested it is the best of those that can, so that one lucky run hides no verdict.
    """
    scores = {n: row.scores[column] for n, row in enumerate(spec.rows) if column in row.scores}
    part = {n: score.taking_part for n, score in scores.items() if score.taking_part is not None}
    testable = {n: sample for n, sample in part.items() if not scores[n].untestable}
    shown = testable if len(testable) > 1 else part
    if len(shown) < 2:
        return None
    return max(shown, key=lambda n: (scores[n].measure.sign * shown[n].mean, -(shown[n].std or 0), spec.rows[n].label))


def _standing(spec: TableSpec, number: int, best: int | None, column: str, versus: Comparison | None) -> Standing:
    if number == best:
        return Standing.BEST
    if best is None or versus is None:
        return Standing.NOT_TESTED
    if versus.p_corrected is not None or versus.exact:
        if _printed(spec, number, column) == _printed(spec, best, column):
            return Standing.BEST
        difference = versus.measure.sign * (versus.difference or 0)
        worse = difference < 0 if versus.p_corrected is None else versus.p_corrected <= ALPHA
        return Standing.WORSE if worse else Standing.ALIKE
    return Standing.NOT_TESTED


def _printed(spec: TableSpec, number: int, column: str) -> str:
    score = spec.rows[number].scores[column]
    return "" if score.sample is None else score.measure.number(score.sample.mean)
