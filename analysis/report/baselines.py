"""The scores of classifiers that learn nothing, beside those of the methods: the majority class and the memoriser."""

from collections.abc import Sequence

from analysis.cells import Cell
from analysis.configurations import Configurations, configurations
from analysis.names import metric_name
from analysis.report.audit import DatasetAudit, single_copies
from tunekit.parsing import how_many

BASELINE_SCORES = ("accuracy", "macro_f1")
"""The scores of a baseline, in the order in which an audit has them."""
TRIVIAL = {
    "majority": "always predicts the most frequent class of the training items",
    "memoriser": (
        "predicts for a text of the training items the label that it has most often there, and for other texts the "
        "most frequent class,"
    ),
}


def baseline_sentences(members: Sequence[Configurations], audit: DatasetAudit) -> list[str]:
    """Return sentences on the test scores of trivial classifiers, and on how many cells are below them."""
    if "majority" not in audit.baselines:
        return []
    scores = {
        name: " and ".join(
            f"{metric_name(metric)} {100 * score:.2f} %" for metric, score in zip(BASELINE_SCORES, found, strict=True)
        )
        + " on test"
        for name, found in audit.baselines.items()
    }
    told = [f"A classifier that {TRIVIAL['majority']} has {scores['majority']}."]
    known, tested = (int(audit.counts[name]["test"]) for name in ("in train", "items"))
    if known:
        trained = int(audit.counts["items"]["train"])
        told.append(
            f"The texts of {known:,} of the {tested:,} test items are also among all {trained:,} training items of "
            "the dataset."
        )
    if audit.baselines["memoriser"] != audit.baselines["majority"]:
        told.append(
            "A classifier that predicts for such a text the label that it has most often there, and for other texts "
            f"the most frequent class, has {scores['memoriser']}. {_below(members, audit.baselines['memoriser'])}"
        )
    return told


def trivial_sentences(found: Sequence[Cell], audits: Sequence[DatasetAudit]) -> str:
    """Return a sentence for each dataset on whose test split no row is above the better of two trivial classifiers.

    The rows are the cells that score tables show, by the primary metric of the task. It is empty where every dataset
    has a row that is above both.
    """
    known = {name: one.baselines for name, one in single_copies(audits).items() if one.baselines}
    shown: dict[str, list[Cell]] = {}
    for one in configurations(found):
        for cell in [one.chosen] if one.chosen else one.cells:
            if cell.split == "test" and cell.dataset in known and cell.task.primary in BASELINE_SCORES:
                shown.setdefault(cell.dataset, []).append(cell)
    told = []
    for dataset, members in shown.items():
        metric = members[0].task.primary
        place = BASELINE_SCORES.index(metric)
        means = [sample.mean for cell in members if (sample := cell.sample(metric)) is not None]
        name = max(TRIVIAL, key=lambda one: known[dataset][one][place])
        score = known[dataset][name][place]
        if means and max(means) <= score:
            told.append(
                f"On {members[0].dataset_name} no row has a higher mean {metric_name(metric)} than a trivial "
                f"classifier: one that {TRIVIAL[name]} has {100 * score:.2f} %."
            )
    return " ".join(told)


def _below(members: Sequence[Configurations], baseline: tuple[float, float]) -> str:
    """Return a sentence on how many cells scored on test have lower means than a baseline's accuracy and macro-F1."""
    scored = [cell for one in members for cell in one.cells if cell.split == "test" and cell.completed]
    accuracy, macro = (
        sum(sample.mean < limit for cell in scored if (sample := cell.sample(metric)) is not None)
        for metric, limit in zip(BASELINE_SCORES, baseline, strict=True)
    )
    return (
        f"Its accuracy is above the mean of {accuracy} of {how_many(len(scored), 'cell')} here, and its macro-F1 above "
        f"that of {macro}."
    )
