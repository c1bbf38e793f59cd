"""What a sweep prints of its own results when it ends."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from rich.console import Console
from rich.table import Table

from analysis.aggregate import cells
from analysis.load import load
from analysis.planning import detectable_difference
from analysis.render import terminal
from analysis.tables import build, default_specs
from tunekit.schema import Status, TrialSpec
from tunekit.store import Choice, ResultStore, SearchStudy, SearchTrial, Weighed, pareto, weigh

METRICS = ("accuracy", "macro_f1")
MORE_SEEDS = 20


def print_grid(store: ResultStore, specs: Sequence[TrialSpec]) -> None:
    """Print the score tables of the cells of ``specs``, last epoch, to standard output, never cut to its width."""
    study = load([store.root])
    wanted = {spec.cell for spec in specs}
    shown = [cell for cell in cells(study) if cell.key in wanted]
    for spec in default_specs(shown, METRICS):
        _print(terminal(build(spec)))


def print_search(store: ResultStore) -> None:
    """Print, for each study of the search in ``store``, its default against its choices, and what they lost on re-test.

    Validation scores are those of the search's own seeds; fresh ones and test are means over confirming seeds that
    completed, each at its best epoch on validation.
    """
    search = store.search()
    if search is None:
        return
    for study in search.studies:
        weighed = weigh(store, study)
        if weighed is None:
            continue
        metric = study.objectives[0]
        table = Table(
            title=f"{study.model} · {study.dataset} · {study.method}: {metric}, percent", title_justify="left"
        )
        for name in ("configuration", "trial", "validation, searched", "fresh seeds", "lost", "test", "trainable"):
            table.add_column(name, justify="left" if name == "configuration" else "right")
        for role, number in (("default", 0), ("best", weighed.chosen.best), ("1se", weighed.chosen.one_se)):
            table.add_row(*_row(store, study, weighed, role, number))
        _print(table)
        within = " ".join(map(str, weighed.chosen.within))
        spent = sum(trial.epochs for trial in study.trials), sum(trial.seconds for trial in study.trials)
        if len(study.objectives) > 1:
            front = pareto([trial.values for trial in study.trials if trial.values], study.directions)
            numbers = [trial.number for trial in study.trials if trial.values]
            _print(f"Pareto front of {', '.join(study.objectives)}: trials {' '.join(str(numbers[n]) for n in front)}")
        states = [trial.state.value for trial in study.trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        _print(
            f"± of validation: standard error over its items; within one of the best: trials {within}; "
            f"spent: {counts}, {spent[0]} epochs, {spent[1]:.0f} s"
        )


def _row(store: ResultStore, study: SearchStudy, weighed: Weighed, role: str, number: int) -> list[str]:
    trial = next((one for one in study.trials if one.number == number), None)
    candidate = next((one for one in weighed.candidates if one.number == number), None)
    label = f"{role} ({_settings(trial)})" if trial else role
    searched = "-" if candidate is None else f"{100 * candidate.score:.2f}"
    if candidate and number == weighed.chosen.best:
        searched += f" ± {100 * weighed.standard_error:.2f}"
    choice = next((one for one in study.choices if (one.role, one.number) == (role, number)), None)
    fresh, test, params = _confirmed(store, choice, study.objectives[0]) if choice else ([], [], None)
    lost = f"{100 * (candidate.score - fmean(fresh)):.2f}" if candidate and fresh else "-"
    params = candidate.num_trainable_params if candidate else params
    return [label, str(number), searched, _mean(fresh), lost, _mean(test), "-" if params is None else f"{params:,}"]


def _settings(trial: SearchTrial) -> str:
    return ", ".join(f"{k} {v:.2g}" if isinstance(v, float) else f"{k} {v}" for k, v in sorted(trial.params.items()))


def _confirmed(store: ResultStore, choice: Choice, metric: str) -> tuple[list[float], list[float], int | None]:
    """Validation and test scores of the confirming trials that completed, and their trainable parameters."""
    fresh, test, params = [], [], None
    for trial_id in choice.trial_ids:
        folder = store.find(trial_id)
        trial = store.read(folder) if folder else None
        if trial is None or trial.summary is None or trial.summary.status is not Status.COMPLETED:
            continue
        best = max(trial.epochs, key=lambda record: getattr(record, f"val_{metric}"))
        fresh.append(getattr(best, f"val_{metric}"))
        test.append(getattr(best, f"test_{metric}"))
        params = trial.summary.num_trainable_params
    return fresh, test, params


def _mean(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation and n, in percent."""
    if len(values) < 2:
        return f"{100 * values[0]:.2f} (n = 1)" if values else "-"
    return f"{100 * fmean(values):.2f} ± {100 * stdev(values):.2f} (n = {len(values)})"


def _print(shown: Table | str) -> None:
    width = Console(width=10_000).measure(shown).maximum
    Console(highlight=False, width=max(width, 80)).print(shown)


def outlook(store: ResultStore, specs: Sequence[TrialSpec], seconds: Mapping[str, float | None]) -> list[str]:
    """What 20 seeds would find that those of ``specs`` don't, a line a cell whose stored trials have a std.

    ``seconds`` of a trial, by cell. Differences are of two such rows' macro-F1, found with 80 % chance at 5 %.
    """
    if not store.trials_folder.is_dir():
        return []
    asked: dict[str, set[int]] = {}
    for spec in specs:
        asked.setdefault(spec.cell, set()).add(spec.seed)
    lines = []
    for cell in cells(load([store.root])):
        sample = cell.sample("macro_f1") if cell.key in asked else None
        if sample is None or not sample.std:
            continue
        planned = len(asked[cell.key])
        gaps = [detectable_difference(sample.std, sample.std, n) for n in (planned, MORE_SEEDS)]
        if planned >= MORE_SEEDS or None in gaps:
            continue
        points = [
            f"{n} seeds detect {100 * gap:.1f} points"
            for n, gap in zip((planned, MORE_SEEDS), gaps, strict=True)
            if gap
        ]
        each = seconds[cell.key]
        more = "" if each is None else f", for {(MORE_SEEDS - planned) * each / 60:,.0f} more minutes"
        lines.append(f"{cell.title}: {points[0]}, {points[1]}{more} (std of n = {sample.n})")
    return lines
