"""How often tables and claims err, and how often they find a difference: simulated studies whose truth is known.

Each study draws its test items, the methods' habits on them and the seeds anew. A run gives an item the class with the
largest of K latent values: skill for the gold class, the difficulty of the item, shared by all rows and in part by its
group, the row's own habit on the item, and noise of seed and item. A run answers a share of the items with less skill;
the share varies over seeds around one half, more in a loud row than in a quiet one, so that rows have equal means at
unequal standard deviations. Without a gap every row has the same expected score on new text, and every row that is
called worse is an error.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from analysis.claims.verdicts import at_least
from analysis.statistics.multiple import against_best, holm
from analysis.statistics.new_text import SeedPredictions, Variation, difference, variations
from analysis.statistics.power import ALPHA
from analysis.statistics.this_set import Sample, welch
from benchmarks.harness import Outcome

NULLS, SMALL_NULLS, STUDIES, DRAWS = 400, 2000, 100, 200
"""The replicates without a gap, those of tables of up to nine values, and those with a gap; and the draws of items for
macro-F1 in each (a report takes 2,000)."""
SHAPES = ((2, 1), (3, 3), (10, 3), (20, 1), (20, 3))
"""Rows and columns of the tables."""
SEEDS = (3, 5, 20)
ITEMS: Mapping[int, Sequence[float]] = {139: (71, 26, 25, 7, 5, 5), 300: (5, 3, 2), 1120: (65, 18, 17)}
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

    rows: int
    columns: int
    seeds: int
    items: int
    stds: str


def run(quick: bool) -> Outcome:
    """Figures: for each design the share of studies with an error, and the share of worse rows that are found."""
    designs = [Design(3, 1, 3, 139, "unequal")] if quick else list(_designs())
    tables = []
    for design in designs:
        start = time.monotonic()
        nulls = 4 if quick else SMALL_NULLS if design.rows * design.columns <= 9 else NULLS
        tables.append(asdict(design) | {"nulls": nulls} | of_tables(design, nulls, 2 if quick else STUDIES))
        sys.stderr.write(f"{tables[-1]} {time.monotonic() - start:.0f} s\n")
    claims = []
    for seeds, items in [(5, 139)] if quick else product(SEEDS, ITEMS):
        claims.append(of_claims(Design(3, 1, seeds, items, "equal"), 4 if quick else SMALL_NULLS))
        sys.stderr.write(f"{claims[-1]}\n")
    return Outcome(figures={"studies": STUDIES, "draws": DRAWS, "tables": tables, "claims": claims})


def _designs() -> Iterator[Design]:
    """Yield every size with equal standard deviations, and those of 139 items with unequal ones too."""
    for items, (rows, columns), seeds in product(ITEMS, SHAPES, SEEDS):
        yield Design(rows, columns, seeds, items, "equal")
        if items == min(ITEMS):
            yield Design(rows, columns, seeds, items, "unequal")


def of_tables(design: Design, nulls: int, studies: int) -> dict[str, Any]:
    """Return the percentages of tables in which some row is called worse without a gap, and of worse rows found.

    ``on these items`` stands for Welch's t over seeds, corrected in the same way, as a table without predictions has.
    """
    rng = np.random.default_rng([design.rows, design.columns, design.seeds, design.items, len(design.stds)])
    wrong: dict[str, list[bool]] = {}
    found: dict[str, list[float]] = {}
    for _ in range(nulls):
        for name, worse in _worse([study(design, 0.0, rng) for _ in range(design.columns)]).items():
            wrong.setdefault(name, []).append(any(any(column) for column in worse))
    for _ in range(studies):
        for name, worse in _worse([study(design, GAP, rng) for _ in range(design.columns)]).items():
            found.setdefault(name, []).append(float(np.mean([column[1:] for column in worse])))
    return {
        "wrong": {name: round(100 * float(np.mean(values)), 1) for name, values in wrong.items()},
        "found": {name: round(100 * float(np.mean(values)), 1) for name, values in found.items()},
    }


def of_claims(design: Design, nulls: int) -> dict[str, Any]:
    """Return the percentages of studies in which some of three claims is supported, or contradicted, without a gap.

    Each claim says that one row is above another in both metrics; all parts must hold, and Holm corrects over claims.
    """
    rng = np.random.default_rng([design.seeds, design.items])
    pairs = [(a, b) for a in range(design.rows) for b in range(a)]
    wrong: dict[str, list[bool]] = {"supported": [], "contradicted": []}
    for _ in range(nulls):
        rows = study(design, 0.0, rng)
        varied = [variations(rows, metric, DRAWS) for metric in METRICS]
        parts = [[_one_sided(of_metric[a], of_metric[b]) for of_metric in varied] for a, b in pairs]
        supports = holm([at_least([above for above, _ in claim], len(claim)) for claim in parts])
        opposes = holm([at_least([below for _, below in claim], 1) for claim in parts])
        wrong["supported"].append(min(supports) <= ALPHA)
        wrong["contradicted"].append(min(opposes) <= ALPHA)
    shares = {name: round(100 * float(np.mean(values)), 1) for name, values in wrong.items()}
    return {"seeds": design.seeds, "items": design.items, "nulls": nulls, "claims": len(pairs)} | shares


def _one_sided(a: Variation, b: Variation) -> tuple[float, float]:
    found = difference(a, b)
    return (1.0, 1.0) if found is None else found.one_sided()


def _worse(columns: Sequence[Sequence[SeedPredictions]]) -> dict[str, list[list[bool]]]:
    """Return, for each metric and kind of test, which rows of each column are called worse than its best."""
    found = {}
    for metric in METRICS:
        varied = [variations(rows, metric, DRAWS) for rows in columns]
        found[metric] = _called_worse([_new_text_p(rows) for rows in varied])
        found[f"{metric}, on these items"] = _called_worse([_this_set_p(rows) for rows in varied])
    return found


def _new_text_p(rows: Sequence[Variation]) -> list[float | None]:
    """Return the p of each row against the best, None for the best itself."""
    best = int(np.argmax([row.scores.mean() for row in rows]))
    tests = [None if number == best else difference(row, rows[best]) for number, row in enumerate(rows)]
    return [None if number == best else (1.0 if one is None else one.p) for number, one in enumerate(tests)]


def _this_set_p(rows: Sequence[Variation]) -> list[float | None]:
    samples = [Sample.of(row.scores) for row in rows]
    best = int(np.argmax([sample.mean for sample in samples]))
    tests = [None if number == best else welch(sample, samples[best]) for number, sample in enumerate(samples)]
    return [None if number == best else (1.0 if one is None else one.p) for number, one in enumerate(tests)]


def _called_worse(columns: Sequence[Sequence[float | None]]) -> list[list[bool]]:
    corrected = [iter(one) for one in against_best([[p for p in column if p is not None] for column in columns])]
    return [
        [p is not None and next(of_column) <= ALPHA for p in column]
        for column, of_column in zip(columns, corrected, strict=True)
    ]


def study(design: Design, gap: float, rng: np.random.Generator) -> list[SeedPredictions]:
    """Return the predictions of each row of one column, the first ``gap`` better in skill than the others."""
    shares = np.array(ITEMS[design.items], dtype=float)
    classes, items = len(shares), design.items

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((*shape, classes), dtype=np.float32)

    gold = np.concatenate([np.arange(classes), rng.choice(classes, items - classes, p=shares / shares.sum())])
    groups = np.arange(items) if items == min(ITEMS) else np.arange(items) // 2
    difficulty = np.float32(0.75) * normal(items) + np.float32(0.5) * normal(int(groups.max()) + 1)[groups]
    right = np.eye(classes, dtype=np.float32)[gold]
    rows = []
    for row in range(design.rows):
        latent = difficulty + np.float32(HABIT) * normal(items)
        spread = SHARES[design.stds][row % 2]
        share = np.clip(rng.normal(0.5, spread, design.seeds), 0, 1)
        more = rng.random((design.seeds, items)) < share[:, None]
        skill = np.where(more, *map(np.float32, SKILLS)) + np.float32(gap if row == 0 else 0.0)
        values = latent + skill[:, :, None] * right + np.float32(0.25) * normal(design.seeds, items)
        rows.append(SeedPredictions(gold, values.argmax(axis=2), groups, classes))
    return rows
