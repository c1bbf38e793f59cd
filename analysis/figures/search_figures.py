"""The figures of searches: the methods of each dataset over learning rate and budget, and those of each study."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import cm, colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.captioned import CaptionedFigure, figure_stem
from analysis.figures.drawing import wrapped
from analysis.figures.search_plots import (
    LATER,
    contour,
    expected_curves,
    history,
    importance_bars,
    objectives,
    sensitivity,
    slice_of,
)
from analysis.names import metric_name, numbered
from analysis.search import SearchResult, configuration, learning_rate
from analysis.search_statistics import (
    expected_score,
    importances,
    margin_text,
    near,
    random_trials,
    why_no_expected_best,
)
from tunekit.parsing import how_many
from tunekit.store.search_records import TrialState

MAX_SLICES = 4
"""The most parameters that are drawn beside each other."""
MIN_CONTOUR = 6
"""The number of complete trials below which no surface is drawn."""


def search_figures(found: Sequence[SearchResult]) -> list[CaptionedFigure]:
    """Return all figures of ``found``, kind by kind; figures that would be empty are left out."""
    shown = [one for one in found if one.complete]
    groups: dict[tuple[str, str, str], list[SearchResult]] = {}
    for one in shown:
        groups.setdefault((one.study.model, one.study.dataset, one.objective), []).append(one)
    figures: list[CaptionedFigure] = []
    for draw in (_sensitivity, _expected):
        figures += [captioned for members in groups.values() for captioned in draw(members)]
    for draw_one in (_history, _slices, _contour, _importance, _front):
        figures += [captioned for one in shown for captioned in draw_one(one)]
    return figures


def _trials(one: SearchResult) -> pd.DataFrame:
    """Return a row a trial as ``analysis.figures.search_plots`` takes them, its parameters as ``param:<name>``."""
    scale = _scale(one)
    rows = []
    for trial in one.study.trials:
        score = one.score(trial)
        rows.append(
            {
                "number": trial.number,
                "score": np.nan if score is None else scale * score,
                "state": trial.state.value,
                "label": configuration(one, trial),
                **{f"param:{name}": trial.params.get(name) for name in one.study.space},
            }
        )
    return pd.DataFrame(rows)


def _scale(one: SearchResult) -> float:
    """Return the factor by which a value of the first objective is multiplied to be shown."""
    return 1.0 if one.measure is None else one.measure.scale


def _axis_name(one: SearchResult) -> str:
    name = one.objective_name
    return f"{name} (%)" if one.measure is not None and one.measure.unit == "%" else name


def _captioned(kind: str, one: SearchResult, caption: str, figure: Figure) -> CaptionedFigure:
    """Return a figure of one study."""
    stem = figure_stem(kind, one.study.model, one.study.method, one.study.dataset)
    return CaptionedFigure(stem, f"{one.title}: {caption}", kind, figure)


def _labels(members: Sequence[SearchResult]) -> list[str]:
    """Return the methods' names, with the sampler where a name occurs twice."""
    names = [one.method_name for one in members]
    return numbered(
        [
            name if names.count(name) == 1 else f"{name}, {one.study.sampler}"
            for name, one in zip(names, members, strict=True)
        ]
    )


def _sensitivity(members: Sequence[SearchResult]) -> list[CaptionedFigure]:
    series, ranges = {}, {}
    for label, one in zip(_labels(members), members, strict=True):
        if near(one) and one.measure is not None:
            series[label] = _trials(one).rename(columns={"param:learning_rate": "learning_rate"})
            ranges[label] = (learning_rate(near(one)[0]), learning_rate(near(one)[-1]))
    if not series:
        return []
    first = members[0]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    sensitivity(series, ranges, figure.subplots(), _axis_name(first), margin_text(first))
    figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    figure.suptitle(wrapped(f"{first.model_name}, {first.dataset_name}: learning rate", 85, 2), fontsize=10)
    caption = (
        f"{first.model_name}, {first.dataset_name}: {first.objective_name} against the learning rate, a "
        "point a configuration (hollow where a scheduler stopped it), running mean and one standard deviation over "
        f"complete ones; bars: learning rates within {margin_text(first)} of the method's best."
    )
    return [
        CaptionedFigure(
            figure_stem("sensitivity", first.study.model, first.study.dataset), caption, "sensitivity", figure
        )
    ]


def _expected(members: Sequence[SearchResult]) -> list[CaptionedFigure]:
    series, epochs, failed, worst = {}, [], 0, None
    for label, one in zip(_labels(members), members, strict=True):
        if why_no_expected_best(one) is None:
            trials = random_trials(one)
            curve = expected_score(one)
            series[label] = curve.assign(mean=_scale(one) * curve["mean"], std=_scale(one) * curve["std"])
            epochs.append(sum(trial.epochs for trial in trials) / len(trials))
            failed += sum(trial.state is TrialState.FAILED for trial in trials)
            worst = one.measure and one.measure.worst
    if not series:
        return []
    first = members[0]
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    expected_curves(series, figure.subplots(), _axis_name(first))
    figure.suptitle(wrapped(f"{first.model_name}, {first.dataset_name}: what a budget buys", 80, 2), fontsize=10)
    caption = (
        f"{first.model_name}, {first.dataset_name}: expected best {first.objective_name} of n random "
        f"trials, ± one standard deviation, of {how_many(_range(epochs), 'epoch')} each (Dodge et al. 2019)."
        + (f" {failed} failed trials count as {worst:g}." if failed else "")
    )
    return [CaptionedFigure(figure_stem("budget", first.study.model, first.study.dataset), caption, "budget", figure)]


def _history(one: SearchResult) -> list[CaptionedFigure]:
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    history(_trials(one), figure.subplots(), _axis_name(one), maximise=one.study.sign > 0)
    figure.suptitle(wrapped(f"{one.title}: {one.study.sampler}, {one.study.scheduler}", 80, 2), fontsize=10)
    caption = f"{one.objective_name} of each trial of the search, and the best complete one."
    return [_captioned("history", one, caption, figure)]


def _slices(one: SearchResult) -> list[CaptionedFigure]:
    names = list(one.parameters)[:MAX_SLICES]
    trials = _trials(one)
    trials = trials[trials["score"].notna()]
    if not names:
        return []
    figure = Figure(figsize=(1.2 + 2.9 * len(names), 3.2), layout="constrained")
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for name, ax in zip(names, axes, strict=True):
        own = trials.dropna(subset=[f"param:{name}"])
        slice_of(own, f"param:{name}", ax, _words(name), log=_is_log(one, name))
    axes[0].set_ylabel(_axis_name(one))
    scale = cm.ScalarMappable(Normalize(trials["number"].min(), trials["number"].max()), colormaps[LATER])
    figure.colorbar(scale, ax=list(axes), label="trial", ticks=MaxNLocator("auto", integer=True))
    figure.suptitle(wrapped(one.title, 30 * len(names) + 10, 2), fontsize=10)
    caption = f"{one.objective_name} over each parameter that was searched; later trials lighter, stopped ones hollow."
    return [_captioned("slice", one, caption, figure)]


def _contour(one: SearchResult) -> list[CaptionedFigure]:
    names = [name for name in _by_importance(one) if _is_numeric(one, name)][:2]
    if len(names) < 2 or len(one.complete) < MIN_CONTOUR:
        return []
    shares = sorted(names, key=one.parameters.index)
    trials = _trials(one).rename(columns={f"param:{name}": _words(name) for name in shares})
    figure = Figure(figsize=(5.6, 4), layout="constrained")
    ax = figure.subplots()
    words = (_words(shares[0]), _words(shares[1]))
    try:
        contour(trials, words, (_is_log(one, shares[0]), _is_log(one, shares[1])), ax, _axis_name(one))
    except ValueError:  # all on one line: there is no surface
        return []
    ax.set(xlabel=words[0], ylabel=words[1])
    figure.suptitle(wrapped(one.title, 60, 2), fontsize=10)
    caption = (
        f"{one.objective_name} over {words[0]} and {words[1]}, linear between the complete "
        "trials (white), whatever their other parameters."
    )
    return [_captioned("contour", one, caption, figure)]


def _importance(one: SearchResult) -> list[CaptionedFigure]:
    shares = importances(one)
    if isinstance(shares, str):
        return []
    figure = Figure(figsize=(5.2, 1.3 + 0.4 * len(shares)), layout="constrained")
    importance_bars({_words(name): share for name, share in shares.items()}, figure.subplots())
    figure.suptitle(wrapped(one.title, 60, 2), fontsize=10)
    caption = (
        f"what each parameter decided about reaching the best quarter of {len(one.complete)} complete "
        "trials, at least five, within what was tried (PED-ANOVA, Watanabe et al. 2023)."
    )
    return [_captioned("importance", one, caption, figure)]


def _front(one: SearchResult) -> list[CaptionedFigure]:
    if len(one.study.objectives) != 2:
        return []
    front = {trial.number for trial in one.front}
    scales = (_scale(one), 1.0)  # the second one is a size
    rows = [
        (trial.number, *(s * v for s, v in zip(scales, trial.values or (), strict=True)), trial.number in front)
        for trial in one.complete
    ]
    names = (_axis_name(one), metric_name(one.study.objectives[1]))
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    objectives(pd.DataFrame(rows, columns=["number", "score", "second", "front"]), figure.subplots(), names)
    figure.suptitle(wrapped(one.title, 60, 2), fontsize=10)
    caption = (
        "the complete trials by both objectives. The dashed line joins the Pareto-optimal ones, which are numbered: no "
        "other is as good in both and better in one."
    )
    return [_captioned("front", one, caption, figure)]


def _by_importance(one: SearchResult) -> list[str]:
    """Return the parameters, the most important first, or in the order of the space where that is not known."""
    shares = importances(one)
    return list(one.parameters) if isinstance(shares, str) else list(shares)


def _is_numeric(one: SearchResult, name: str) -> bool:
    values = [trial.params.get(name) for trial in one.complete]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _is_log(one: SearchResult, name: str) -> bool:
    """Return whether a parameter's axis is logarithmic.

    A range is as it was searched, and choices are where each is at least twice the last.
    """
    given = one.study.space[name]
    if given["type"] != "categorical":
        return bool(given["log"])
    choices = given["choices"]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in choices)
    return numeric and len(choices) > 2 and all(b >= 2 * a for a, b in zip(choices, choices[1:], strict=False))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
