"""How often tables and claims err, and how often they find a difference: simulated studies whose truth is known.

Each study draws its test items, the methods' habits on them and the seeds anew. A run gives an item the class with the
largest of K latent values: skill for the gold class, the difficulty of the item, shared by all rows and in part by its
group, the row's own habit on the item, and noise of seed and item. A run answers a share of the items with less skill;
the share varies over seeds around one half, more in a loud row than in a quiet one, so that rows have equal means at
unequal standard deviations. Without a gap every row has the same expected score on new texts, and every row that is
called worse is an error.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from analysis.claims.verdicts import at_least
from analysis.statistics.multiple import against_best, holm
from analysis.statistics.new_text import SeedPredictions, Variation, difference, variations
from analysis.statistics.power import ALPHA
from analysis.statistics.this_set import Sample, welch
from benchmarks.support.harness import Outcome

NULLS, STUDIES, DRAWS = 300, 40, 100
"""The studies without a gap, those with one, and the draws of items for macro-F1 in each (a report takes 2,000)."""
ROWS, COLUMNS = 20, 3
TABLES: Mapping[str, Sequence[tuple[range, range]]] = {
    "2 x 1": [(range(start, start + 2), range(1)) for start in range(0, 20, 2)],
    "3 x 3": [(range(start, start + 3), range(3)) for start in range(0, 18, 6)],
    "10 x 3": [(range(10), range(3)), (range(10, 20), range(3))],
    "20 x 1": [(range(20), range(1)), (range(20), range(1, 2))],
    "20 x 3": [(range(20), range(3))],
}
"""The tables that are made of the rows and columns of one study, the first of each with its best row."""
SEEDS = (5, 3, 20)
ITEMS: Mapping[int, Sequence[float]] = {139: (71, 26, 25, 7, 5, 5), 1120: (65, 18, 17), 300: (5, 3, 2)}
"""The shares of the gold classes by the number of items."""
METRICS = ("accuracy", "macro_f1")
SKILLS = (2.9, 1.6)
GAP = 0.3
"""What the best row of a study with a gap has in skill above the others: four to five points of accuracy."""
HABIT = 0.45
"""The standard deviation of a row's own liking of a class for an item."""
SHARES = {"equal": (0.06, 0.06), "unequal": (0.12, 0.02)}
"""The standard deviation over seeds of the share of items that are answered with more skill, by turns of the rows."""


@dataclass(frozen=True)
class Design:
    """The size of a study."""

    seeds: int
    items: int
    stds: str = "equal"


def run(quick: bool) -> Outcome:
    """Figures: for each design the share of tables and claims with an error, and the share of worse rows found."""
    designs = [Design(3, 139)]
    if not quick:
        designs = [Design(seeds, items) for seeds, items in product(SEEDS, ITEMS)]
        designs += [Design(seeds, 139, "unequal") for seeds in SEEDS]
    nulls, studies = (2, 1) if quick else (NULLS, STUDIES)
    found = []
    for design in designs:
        start = time.monotonic()
        found.append(asdict(design) | {"tables": of_tables(design, nulls, studies), "claims": of_claims(design, nulls)})
        sys.stderr.write(f"{found[-1]} {time.monotonic() - start:.0f} s\n")
    return Outcome(figures={"nulls": nulls, "studies": studies, "draws": DRAWS, "designs": found})


def of_tables(design: Design, nulls: int, studies: int) -> dict[str, Any]:
    """Return, by table, the percentages of tables in which some row is called worse without a gap, and of worse rows
    that are found with one.

    ``on these items`` stands for Welch's t over seeds, corrected in the same way, as a table without predictions has.
    """
    rng = np.random.default_rng([design.seeds, design.items, len(design.stds)])
    wrong: dict[tuple[str, str], list[bool]] = {}
    found: dict[tuple[str, str], list[float]] = {}
    for gap in [0.0] * nulls + [GAP] * studies:
        columns = [study(design, gap, rng, ROWS) for _ in range(COLUMNS)]
        for test, p_of in comparisons_of(columns).items():
            for name, tables in TABLES.items():
                if gap:
                    worse = worse_rows(*tables[0], p_of)
                    found.setdefault((name, test), []).append(float(np.mean([column[1:] for column in worse])))
                else:
                    errors = [any(map(any, worse_rows(*table, p_of))) for table in tables]
                    wrong.setdefault((name, test), []).extend(errors)
    return {
        name: {
            test: {"wrong": _percent(wrong[name, test]), "found": _percent(found[name, test])}
            for own, test in wrong
            if own == name
        }
        for name in TABLES
    }


def _percent(values: Sequence[float]) -> float:
    return round(100 * float(np.mean(values)), 1)


def of_claims(design: Design, nulls: int) -> dict[str, float]:
    """Return the percentages of studies in which some of three claims is supported, or contradicted, without a gap.

    Each claim says that one row is above another in both metrics; all parts must hold, and Holm corrects over claims.
    """
    rng = np.random.default_rng([design.seeds, design.items, len(design.stds), 1])
    wrong: dict[str, list[float]] = {"supported": [], "contradicted": []}
    for _ in range(nulls):
        rows = study(design, 0.0, rng, 3)
        varied = [variations(rows, metric, DRAWS) for metric in METRICS]
        parts = [[_one_sided(of[a], of[b]) for of in varied] for a, b in ((0, 1), (0, 2), (1, 2))]
        supports = holm([at_least([above for above, _ in claim], len(claim)) for claim in parts])
        opposes = holm([at_least([below for _, below in claim], 1) for claim in parts])
        wrong["supported"].append(min(supports) <= ALPHA)
        wrong["contradicted"].append(min(opposes) <= ALPHA)
    return {name: _percent(values) for name, values in wrong.items()}


def _one_sided(a: Variation, b: Variation) -> tuple[float, float]:
    found = difference(a, b)
    if found is None:
        return 1.0, 1.0
    above, below = found.one_sided()
    return above.p, below.p


P = Callable[[int, int, int], float]
"""The two-sided p of two rows, by their numbers, in a column."""


def comparisons_of(columns: Sequence[Sequence[SeedPredictions]]) -> dict[str, tuple[list[list[float]], P]]:
    """Return, for each metric and kind of test, the mean of each row in each column, and the p of two rows."""
    found: dict[str, tuple[list[list[float]], P]] = {}
    for metric in METRICS:
        varied = [variations(rows, metric, DRAWS) for rows in columns]
        samples = [[Sample.of(row.scores) for row in rows] for rows in varied]
        means = [[sample.mean for sample in column] for column in samples]

        def new_text(column: int, a: int, b: int, varied: Sequence[Sequence[Variation]] = varied) -> float:
            one = difference(varied[column][a], varied[column][b])
            return 1.0 if one is None else one.p

        def this_set(column: int, a: int, b: int, samples: Sequence[Sequence[Sample]] = samples) -> float:
            one = welch(samples[column][a], samples[column][b])
            return 1.0 if one is None else one.p

        found[metric] = means, cache(new_text)
        found[f"{metric}, on these items"] = means, cache(this_set)
    return found


def worse_rows(rows: range, columns: range, test: tuple[list[list[float]], P]) -> list[list[bool]]:
    """Return which rows of a table are called worse than the best of their column, as a report calls them."""
    means, p_of = test
    best = [max(rows, key=lambda row: means[column][row]) for column in columns]
    p_values = [
        [p_of(column, row, top) for row in rows if row != top] for column, top in zip(columns, best, strict=True)
    ]
    corrected = [iter(one) for one in against_best(p_values)]
    return [
        [row != top and next(of_column) <= ALPHA for row in rows]
        for top, of_column in zip(best, corrected, strict=True)
    ]


def study(design: Design, gap: float, rng: np.random.Generator, num_rows: int) -> list[SeedPredictions]:
    """Return the predictions of the rows of one column, the first ``gap`` better in skill than the others."""
    shares = np.array(ITEMS[design.items], dtype=float)
    classes, items = len(shares), design.items

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((*shape, classes), dtype=np.float32)

    gold = np.concatenate([np.arange(classes), rng.choice(classes, items - classes, p=shares / shares.sum())])
    groups = np.arange(items) if items == min(ITEMS) else np.arange(items) // 2
    difficulty = np.float32(0.75) * normal(items) + np.float32(0.5) * normal(int(groups.max()) + 1)[groups]
    right = np.eye(classes, dtype=np.float32)[gold]
    rows = []
    for row in range(num_rows):
        latent = difficulty + np.float32(HABIT) * normal(items)
        spread = SHARES[design.stds][row % 2]
        share = np.clip(rng.normal(0.5, spread, design.seeds), 0, 1)
        more = rng.random((design.seeds, items)) < share[:, None]
        skill = np.where(more, *map(np.float32, SKILLS)) + np.float32(gap if row == 0 else 0.0)
        values = latent + skill[:, :, None] * right + np.float32(0.25) * normal(design.seeds, items)
        rows.append(SeedPredictions(gold, values.argmax(axis=2), groups, classes))
    return rows
