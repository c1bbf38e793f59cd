"""The nine tasks of GLUE (Wang et al. 2018, arXiv 1804.07461), on a text or a pair of texts each, and their suite.

The labels of their own test parts are not public. So the development part is test, and validation is drawn from train.
The metric of CoLA is the Matthews correlation, the metric of STS-B is Pearson's r, and the others have accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunekit.data.base import DEFAULT_TASK
from tunekit.data.hub_catalog import HUB_DATASETS, SUITES, HubEntry
from tunekit.data.sources import DataSource

REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
HIDDEN = "the labels of GLUE's own test part are not public"


@dataclass(frozen=True)
class _Task:
    display_name: str
    text: str | tuple[str, str]
    metric: str | None = "accuracy"
    """None for the metric of the task."""
    task: str = DEFAULT_TASK
    test_split: str = "validation"
    remark: str = HIDDEN


_SENTENCES = ("sentence1", "sentence2")
_TASKS = {
    "cola": _Task("CoLA", "sentence", "mcc"),
    "sst2": _Task("SST-2", "sentence"),
    "mrpc": _Task("MRPC", _SENTENCES),
    "qqp": _Task("QQP", ("question1", "question2")),
    "stsb": _Task("STS-B", _SENTENCES, metric=None, task="regression"),
    "mnli": _Task(
        "MNLI",
        ("premise", "hypothesis"),
        test_split="validation_matched",
        remark=f"{HIDDEN}; the mismatched development part is not used",
    ),
    "qnli": _Task("QNLI", ("question", "sentence")),
    "rte": _Task("RTE", _SENTENCES),
    "wnli": _Task("WNLI", _SENTENCES),
}

for _name, _one in _TASKS.items():
    HUB_DATASETS.register(_name)(
        HubEntry(
            source=DataSource(
                f"hf:nyu-mll/glue/{_name}@{REVISION}",
                text=_one.text,
                skip_bad_rows=True,  # users can't mend rows of the hub; rows that are left out are counted and shown
                task=_one.task,
                primary_metric=_one.metric,
                test_split=_one.test_split,
                name=_one.display_name,
            ),
            licence="other (the card of GLUE); that of each task's source holds",
            remark=_one.remark,
        )
    )
SUITES.register("glue")(tuple(_TASKS))
