"""Score tables are filled here: mean ± sample std over seeds in percent, the best of each column, and its tests."""

from analysis.cells import Cell
from analysis.statistics.this_set import Sample, holm, smallest_p, welch
from analysis.tables.table import Entry, Score, Table, TableRow, TableSpec

ALPHA = 0.05


def score_of(cell: Cell, metric: str, left_out: str = "") -> Score:
    """Return the score of ``cell`` for a table; ``left_out`` says why it takes no part in bold or tests."""
    return Score(
        sample=cell.sample(metric),
        expected=len(cell.expected),
        metric=metric,
        failures=dict(cell.failures),
        num_filled=sum(trial.filled for trial in cell.trials),
        num_collapsed=cell.num_collapsed,
        num_executions=len(cell.executions),
        cell=cell,
        left_out=left_out,
    )


def build(spec: TableSpec) -> Table:
    """Return the table that ``spec`` asks for.

    The best mean of each column is bold. A dagger marks what Welch's t test, with Holm's correction over the whole
    table, can't separate from it at 5 %. Failed trials, trials that predicted one class only, and mixed ways of
    execution are lettered notes.
    """
    best = {column: _best(spec, column) for column in spec.columns if spec.ranked}
    tests: dict[tuple[int, str], float] = {}
    for number, row in enumerate(spec.rows):
        for column, top in best.items():
            sample = _eligible(row, column)
            if sample is None or top is None or number == top[0]:
                continue
            comparison = welch(sample, top[1])
            if comparison is not None:
                tests[number, column] = comparison.p
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    entries, letters = {}, _Letters()
    for number, row in enumerate(spec.rows):
        for column, score in row.scores.items():
            sample, top = _eligible(row, column), best.get(column)
            entries[number, column] = Entry(
                score=score,
                bold=sample is not None and top is not None and _printed(sample) == _printed(top[1]),
                dagger=corrected.get((number, column), 0) > ALPHA,
                tested=(number, column) in tests,
                marks=letters.of(score),
            )
    alike = any(entry.dagger for entry in entries.values())
    return Table(spec, entries, (*_statistics(spec, len(tests), alike), *spec.notes, *letters.notes()))


def _eligible(row: TableRow, column: str) -> Sample | None:
    """Return the sample of a row that takes part in bold and tests; None where it has none that does."""
    score = row.scores.get(column)
    return None if score is None else score.taking_part


def _best(spec: TableSpec, column: str) -> tuple[int, Sample] | None:
    """Return number and sample of the best row; None where fewer than two rows take part."""
    samples = [(n, sample) for n, row in enumerate(spec.rows) if (sample := _eligible(row, column)) is not None]
    return max(samples, key=lambda item: item[1].mean) if len(samples) > 1 else None


def _printed(sample: Sample) -> str:
    return f"{100 * sample.mean:.2f}"


def _statistics(spec: TableSpec, family: int, alike: bool) -> list[str]:
    counts = {s.sample.n for row in spec.rows for s in row.scores.values() if s.sample is not None}
    if not counts:
        return ["no trial has completed yet"]
    n = min(counts)
    notes = [f"mean ± sample standard deviation (ddof = 1) over seeds, n = {'-'.join(map(str, sorted(counts)))}"]
    if not spec.ranked:
        return notes
    if not family:
        return [*notes, "not tested: a test takes two rows with at least 3 seeds each, and scores that vary"]
    floors = [f"{test} {'none' if p is None else f'{p:.3g}'}" for test, p in smallest_p(n, n).items()]
    notes.append(
        f"each row against the best of its column on this test set: Welch t, Holm over {family}"
        + (f"; smallest p that a test can reach at n = {n}: {', '.join(floors)}" if floors else "")
    )
    return (
        [*notes, "† not separable from the best at 5 % (which does not show that they are equal)"] if alike else notes
    )


class _Letters:
    """The notes on single entries, lettered in the order in which they appear."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def of(self, score: Score) -> str:
        texts = [
            f"{count} {kind.replace('_', ' ')}: no part in bold or tests" for kind, count in score.failures.items()
        ]
        if score.left_out:
            texts.append(f"{score.left_out}: no part in bold or tests")
        if score.num_filled:
            texts.append(f"{score.num_filled} failed, counted with the score of the majority class")
        if score.num_collapsed:
            texts.append(f"{score.num_collapsed} of the runs predicted one class only")
        if score.num_executions > 1:
            texts.append("mixes ways of execution (device, threads, packed or not)")
        for text in texts:
            self.found.setdefault(text, chr(ord("a") + len(self.found) % 26))
        return "".join(self.found[text] for text in texts)

    def notes(self) -> list[str]:
        return [f"{letter}: {text}" for text, letter in self.found.items()]
