"""Processor seconds of ``tunekit report``, each time as a whole new process that reads every record anew.

Three cases on stores that ``support/generated.py`` writes: a grid of 60 trials that keep steps and predictions with
logits, the same grid without figures, and 320 trials imported from a table of runs.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from analysis.foreign.importing import import_experiment
from benchmarks.support.answers import TUNEKIT, processor_seconds
from benchmarks.support.generated import SEEDS, write_grid, write_runs
from benchmarks.support.harness import Outcome

IMPORTED = 320


def run(quick: bool) -> Outcome:
    """Return the seconds of each case, repeat by repeat; the cases take turns."""
    seeds, imported, repeats = (SEEDS[:1], 20, 1) if quick else (SEEDS, IMPORTED, 3)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_grid(work / "grid", seeds)
        write_runs(work / "runs.csv", imported)
        import_experiment(work / "runs.csv", {}, work / "imported")
        of_grid = len(list((work / "grid" / "trials").iterdir()))
        cases = {
            f"{of_grid} trials": ("grid", ()),
            f"{of_grid} trials, --figures none": ("grid", ("--figures", "none")),
            f"{imported} imported trials": ("imported", ()),
        }
        seconds: dict[str, Any] = {name: [] for name in cases}
        for _ in range(repeats):
            for name, (store, flags) in cases.items():
                shutil.rmtree(work / store / "cache", ignore_errors=True)
                command = ("report", str(work / store), "--out", str(work / "out"), *flags)
                seconds[name].append(processor_seconds((*TUNEKIT, *command)))
    return Outcome(figures={"processor seconds": seconds})
