"""The report's section on searches: default against tuned, the budget, near-optimal learning rates, all trials."""

from collections import Counter
from collections.abc import Sequence

from analysis.compare import SHARE, Comparison, compare, score_of
from analysis.names import metric_name, rounded
from analysis.report.document import Block, Grid, Inline, Link, Paragraph, Points, Section
from analysis.search import (
    Confirmation,
    SearchResult,
    configuration,
    learning_rate,
    shown,
)
from analysis.search_statistics import MARGIN, importances, near, why_no_expected_best
from analysis.tables.table import difference_text
from analysis.tables.table import shown as score_text
from tunekit.parsing import how_many, number
from tunekit.store.search_records import SearchTrial

LESS_DEFAULT = "test, less the default"
"""The column of the comparison of a choice with the default."""


def search_section(found: Sequence[SearchResult]) -> Section:
    """Return the section on ``found``; empty where no sweep is a search."""
    if not found:
        return Section("Search", (), "search")
    about = Paragraph(
        "Configurations were chosen on validation; their search trials did not score test. The best of many is partly "
        "luck: ± on validation is its standard error over items (bootstrap, items of one group together), and chosen "
        "configurations were trained again on seeds that the search did not see."
    )
    blocks: list[Block] = [about, *tuned_grid(found), _budget(found), *_unequal(found), *_rates(found), *_notes(found)]
    parts = tuple(_trials(one, f"search-{place}") for place, one in enumerate(found, 1))
    return Section("Search", tuple(blocks), "search", parts)


def tuned_grid(found: Sequence[SearchResult]) -> list[Grid]:
    """Return the default, best and 1se of each study: on validation, on fresh seeds, on test.

    A configuration with several roles has one row. The list is empty where nothing completed.
    """
    rows = [_tuned_row(one, confirmed, roles) for one, confirmed, roles in choices(found)]
    head = (
        "search", "choice", "configuration", "validation, search", "validation, fresh seeds", "change on re-test",
        "test, fresh seeds", "n", LESS_DEFAULT, "trainable parameters",
    )  # fmt: skip
    in_percent = all((one.measure or SHARE).unit == "%" for one in found)
    unit = " in percent" if in_percent else " in the unit of their metric"
    caption = (
        f"Default against tuned. Scores{unit}, test at the best epoch on validation; in the search ± the standard "
        "error over items, over fresh seeds mean ± sample standard deviation; differences in points with their 95 % "
        "interval and uncorrected p, for new texts from the same source where predictions are stored, else on these "
        "test items (3 seeds or more). 1se: the configuration with the fewest trainable parameters among those within "
        "one standard error of the best on validation."
    )
    return [Grid(head, tuple(rows), caption)] if rows else []


def choices(found: Sequence[SearchResult]) -> list[tuple[SearchResult, Confirmation, str]]:
    """Return each chosen configuration of each study once, with its roles as text, such as ``best, 1se``."""
    chosen = []
    for one in found:
        for trial in dict.fromkeys(confirmed.trial.number for confirmed in one.roles):
            same = [confirmed for confirmed in one.roles if confirmed.trial.number == trial]
            chosen.append((one, same[0], ", ".join(confirmed.role for confirmed in same)))
    return chosen


def _tuned_row(one: SearchResult, confirmed: Confirmation, roles: str) -> tuple[Inline, ...]:
    value, measure = one.score(confirmed.trial), one.measure or SHARE
    error = confirmed.standard_error
    lost = ""
    if value is not None and confirmed.validation is not None:
        lost = measure.number(confirmed.validation.mean - value, "+")
    params = one.params.get(confirmed.trial.number)
    test = "" if confirmed.test is None else score_text(confirmed.test, measure)
    return (
        one.title,
        roles,
        configuration(one, confirmed.trial),
        "" if value is None else shown(one.objective, value, one.study.dataset, error),
        "" if confirmed.validation is None else score_text(confirmed.validation, measure),
        lost,
        Link(test, f"#{confirmed.cell.anchor}") if test and confirmed.cell else test,
        _count(confirmed),
        difference_text(versus_default(one, confirmed)),
        "" if params is None else f"{params:,}",
    )


def _count(confirmed: Confirmation) -> str:
    done = 0 if confirmed.test is None else confirmed.test.n
    return f"{done}" if done == confirmed.requested else f"{done}/{confirmed.requested}"


def versus_default(one: SearchResult, confirmed: Confirmation) -> Comparison | None:
    """Return the comparison of a choice with the default on test; None for the default, and without both scores."""
    default = one.role("default")
    if default is None or default.trial.number == confirmed.trial.number:
        return None
    if confirmed.scored is None or default.scored is None:
        return None
    return compare(score_of(confirmed.scored, one.objective), score_of(default.scored, one.objective))


def _budget(found: Sequence[SearchResult]) -> Grid:
    """Return the budget that each study spent, and the space that it searched."""
    rows: list[tuple[Inline, ...]] = []
    for one in found:
        study = one.study
        states = Counter(trial.state.value for trial in study.trials)
        counts = tuple(str(states[state]) for state in ("complete", "pruned", "failed"))
        epochs, seconds = (sum(getattr(trial, name) for trial in study.trials) for name in ("epochs", "seconds"))
        how = f"{study.sampler} (seed {study.sampler_seed}), {study.scheduler}"
        seeds = " ".join(map(str, study.seeds))
        spent = (str(study.planned), *counts, f"{epochs:,}", f"{seconds:,.0f}")
        rows.append((one.title, _space_text(one), how, seeds, *spent))
    head = ("search", "space", "how", "search seeds", "planned", "complete", "pruned", "failed", "epochs", "seconds")
    caption = (
        "The budget spent: trials, and the epochs and seconds of their training. A configuration that was suggested "
        "again took the score of its first trial and cost nothing."
    )
    return Grid(head, tuple(rows), caption)


def _space_text(one: SearchResult) -> str:
    """Return the ranges that were searched as text, with the number of configurations that they hold."""
    texts, sizes = [], []
    for name in one.parameters:
        given = one.study.space[name]
        if given["type"] == "categorical":
            choices = given["choices"]
            texts.append(f"{name.replace('_', ' ')} {', '.join(map(number, choices))}")
            sizes.append(str(len(choices)))
        else:
            low, high = (number(float(given[end])) for end in ("low", "high"))
            texts.append(f"{name.replace('_', ' ')} {low} to {high}{' (log)' if given['log'] else ''}")
            whole = given["type"] == "int"
            sizes.append(str(int(given["high"]) - int(given["low"]) + 1) if whole else "continuous")
    return f"{'; '.join(texts)}: {' x '.join(sizes)}" if texts else "nothing"


def _unequal(found: Sequence[SearchResult]) -> list[Points]:
    """Return a line for each model and dataset whose methods had unlike numbers of trials."""
    groups: dict[tuple[str, str], list[SearchResult]] = {}
    for one in found:
        groups.setdefault((one.model_name, one.dataset_name), []).append(one)
    lines = []
    for (model, dataset), members in groups.items():
        counts = {f"{one.method_name} {len(one.study.trials)}": len(one.study.trials) for one in members}
        if len(set(counts.values())) > 1:
            lines.append(
                f"{model}, {dataset}: unequal budgets ({', '.join(counts)} ended trials); tuned scores are not "
                "comparable until they are equal."
            )
    return [Points(tuple(lines))] if lines else []


def _rates(found: Sequence[SearchResult]) -> list[Grid]:
    """Return, for each study, the range of learning rates that do nearly as well as the best."""
    rows: list[tuple[Inline, ...]] = []
    for one in found:
        close = near(one)
        if close and one.measure is not None:
            low, high = learning_rate(close[0]), learning_rate(close[-1])
            best = next(trial for trial in one.complete if "learning_rate" in trial.params)
            texts = (rounded(learning_rate(best)), rounded(low), rounded(high), f"{high / low:.3g}", str(len(close)))
            rows.append((one.title, *texts, str(len(one.complete))))
    head = ("search", "best", "from", "to", "width (factor)", "configurations within", "of complete")
    caption = (
        f"Learning rates of the configurations at most {100 * MARGIN:g} point worse than the best on validation; of a "
        f"score without bounds, such as RMSE, at most {100 * MARGIN:g} %."
    )
    return [Grid(head, tuple(rows), caption)] if rows else []


def _notes(found: Sequence[SearchResult]) -> list[Points]:
    """Return what can't be shown, and why, with the studies of one reason on one line."""
    notes: dict[str, list[str]] = {}
    for one in found:
        for note in _missing(one):
            notes.setdefault(note, []).append(one.title)
    return [Points(tuple(f"{'; '.join(titles)}: {note}." for note, titles in notes.items()))] if notes else []


def _missing(one: SearchResult) -> list[str]:
    if not one.complete:
        return ["no trial is complete; there is nothing to choose"]
    notes = []
    if one.missing:
        are = "is" if one.missing == 1 else "are"
        notes.append(f"{how_many(one.missing, 'trial')} that search.json names {are} not in the store")
    notes += dict.fromkeys(
        f"no item standard error of the {role.role}, {role.unknown}" for role in one.roles if role.unknown
    )
    if not one.study.choices:
        notes.append("not confirmed on fresh seeds yet; the choices are those it would make now")
    if (why := why_no_expected_best(one)) is not None:
        notes.append(f"no expected validation performance against budget, {why}")
    if isinstance(shares := importances(one), str):
        notes.append(f"no parameter importance, {shares}")
    return notes


def _trials(one: SearchResult, anchor: str) -> Section:
    """Return all trials of a study, best first, with a mark on those that validation can't tell from the best."""
    within = {trial.number for trial in one.within}
    front = {trial.number for trial in one.front} if len(one.study.objectives) > 1 else set()
    roles: dict[int, list[str]] = {}
    for confirmed in one.roles:
        roles.setdefault(confirmed.trial.number, []).append(confirmed.role)
    done = {trial.number for trial in one.complete}
    ordered = [*one.complete, *(trial for trial in one.study.trials if trial.number not in done)]
    rows: list[tuple[Inline, ...]] = []
    for trial in ordered:
        marks = [*roles.get(trial.number, ()), *(["within one standard error"] if trial.number in within else [])]
        marks += ["Pareto front"] if trial.number in front else []
        rows.append(_trial_row(one, trial, ", ".join(marks)))
    names = [name.replace("_", " ") for name in one.parameters]
    others = [metric_name(name) for name in one.study.objectives[1:]]
    head = (
        "trial",
        *names,
        one.objective_name,
        *others,
        "state",
        "epochs",
        "trainable parameters",
        "remarks",
    )
    best = one.role("best")
    about: list[Block] = []
    if best is not None and best.standard_error is not None:
        about.append(
            Paragraph(
                f"{len(within)} of {len(done)} complete configurations lie within one item standard error "
                f"({shown(one.objective, best.standard_error, one.study.dataset)}) of the best."
            )
        )
    return Section(one.title, (*about, Grid(head, tuple(rows))), anchor)


def _trial_row(one: SearchResult, trial: SearchTrial, marks: str) -> tuple[Inline, ...]:
    settings = [rounded(trial.params[name]) if name in trial.params else "" for name in one.parameters]
    values = trial.values or (None,) * len(one.study.objectives)
    texts = [
        "" if v is None else shown(name, v, one.study.dataset)
        for name, v in zip(one.study.objectives, values, strict=True)
    ]
    params = one.params.get(trial.number)
    shown_params = "" if params is None else f"{params:,}"
    return (str(trial.number), *settings, *texts, trial.state.value, str(trial.epochs), shown_params, marks)
