"""report.md: tables, what is left out and why, and the verdicts on claims."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.aggregate import Cell
from analysis.claims import Verdict
from analysis.load import Study
from analysis.names import NAMES, SPLITS, metric_name
from analysis.planning import seeds_phrase
from analysis.published import register
from analysis.render import escape_markdown, markdown
from analysis.tables import EPOCHS, Table, percent
from tunekit.store import UserError


def write_report(out: Path, title: str, tables: Sequence[Table], sections: Sequence[str]) -> Path:
    """Write ``out/report.md``. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.md"
    parts = [f"# {escape_markdown(title)}\n", *map(markdown, tables), *sections]
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def problems_markdown(study: Study, found: Sequence[Cell], select: str) -> str:
    """What the scores are, what ran, what failed and what is left out, counted and named."""
    trials = [run for cell in found for run in cell.runs]
    states = Counter("unfinished" if run.status is None else run.status for run in trials)
    splits = sorted({SPLITS[cell.split] for cell in found})
    lines = [
        "## What these numbers are\n",
        f"- Scores of the {EPOCHS[select]}, on the {' and '.join(splits)} split.",
        f"- {len(trials)} trials in {len(found)} cells: "
        + ", ".join(f"{n} {name}" for name, n in states.items())
        + ".",
    ]
    missing = sum(len(cell.unfinished) for cell in found)
    if missing:
        lines.append(f"- {missing} trials that were asked for have not ended.")
    lines += [f"- {escape_markdown(line)}." for line in study.later_seeds]
    failed = [(cell, run) for cell in found for run in cell.runs if run.error is not None]
    if failed:
        lines.append("\n### Trials that failed\n")
        for cell, run in failed:
            name = f"{cell.model} · {cell.dataset} · {NAMES.get(cell.method, cell.method)} · seed {run.seed}"
            first = (run.error or "").splitlines()[:1]
            lines.append(escape_markdown(f"- {name}: {run.status}: {''.join(first)}").replace("\\- ", "- ", 1))
    if study.problems:
        lines.append("\n### Left out or doubtful\n")
        for kind, count in Counter(problem.kind for problem in study.problems).items():
            lines.append(f"- {count} x {escape_markdown(kind)}:")
            lines += [f"  - {escape_markdown(p.detail)}" for p in study.problems if p.kind == kind]
    return "\n".join([*lines, ""])


def published_markdown(found: Sequence[Cell], metrics: Sequence[str]) -> str:
    """Each cell that the study published too: its value, the printed one, and the difference in points.

    Raises UserError where the study published none of these cells.
    """
    printed = {(score.model, score.method, score.dataset, score.metric): score for score in register()}
    lines = [
        "## Beside the published numbers\n",
        "| cell | metric | here | published | difference |",
        "|---|---|---|---|---|",
    ]
    for cell in found:
        for metric in metrics:
            score = printed.get((cell.model, cell.method, cell.dataset, metric))
            sample = None if score is None or cell.searched else cell.sample(metric)
            if score is None or sample is None:
                continue
            name = " · ".join(
                filter(None, [cell.model, cell.dataset, NAMES.get(cell.method, cell.method), cell.variant])
            )
            here = f"{percent(sample)} (n = {sample.n})"
            texts = (name, metric_name(metric), here, score.text, f"{100 * sample.mean - float(score.mean):+.2f}")
            lines.append(f"| {' | '.join(map(escape_markdown, texts))} |")
    if len(lines) == 3:
        raise UserError("--against published: the study published none of these cells; leave it out")
    return "\n".join([*lines, ""])


def figures_markdown(stems: Iterable[str]) -> str:
    """The learning curves, which lie in ``figures/``."""
    return "\n".join(["## Learning curves\n", *(f"![{stem}](figures/{stem}.png)\n" for stem in stems)])


def claims_markdown(verdicts: Sequence[Verdict]) -> str:
    """A line a claim: verdict, Holm-corrected p, and the seeds or numbers that are missing."""
    lines = ["## Claims\n", f"Holm over the claims that can be tested, of {len(verdicts)}; means over seeds.\n"]
    lines += ["| claim | verdict | p | why |", "|---|---|---|---|"]
    for one in verdicts:
        p = "" if one.p is None else f"{one.p:.3f}"
        needed = "" if one.needed is None else f"seeds a row that would decide it: {seeds_phrase(one.needed)}. "
        cells = (one.text, one.verdict.value, p, needed + one.reason)
        lines.append(f"| {' | '.join(escape_markdown(text) for text in cells)} |")
    return "\n".join([*lines, ""])
