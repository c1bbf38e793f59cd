"""The model card of an export: README.md with the scores of the cell, the seed and the protocol.

Names that users chose are written as slugs, or as JSON in a fenced block, so that none of them is read as markup.
"""

import json
from statistics import mean, stdev
from typing import Any

from tunekit.data.base import DATASETS
from tunekit.export.which_trial import ChosenTrial, epoch_of
from tunekit.schema import slug
from tunekit.store.records import CompletedTrial
from tunekit.tasks import Task, task_of

SPLITS = (("val", "validation"), ("test", "test"))
EPOCH_RULES = {"best": "the best epoch on validation", "last": "the last epoch"}
PIPELINES = {"ForSequenceClassification": "text-classification", "ForTokenClassification": "token-classification"}
"""The hub's name of a model's use, by the class of its head."""
LOADING_LINES = {
    "whole": 'model = {auto}.from_pretrained(".").eval()',
    "peft": 'model = PeftModel.from_pretrained(base, ".").eval()',
    "adapters": 'base.load_adapter(".", use_safetensors=True, set_active=True)\nmodel = base.eval()',
}
LIBRARY_NAMES = {"whole": "transformers", "peft": "peft", "adapters": "adapters"}
WITHOUT_BIASES = (
    "# adapters 1.3.0 gives fused modules that have no biases random ones.",
    "for module in base.modules():",
    '    if type(module).__name__ == "LoRAMergedLinear":',
    "        module.bias = None",
)
"""The lines after ``adapters.init`` that remove these biases."""
IMPORTS = {"whole": "", "peft": "from peft import PeftModel\n", "adapters": "import adapters\n"}


def card(
    chosen: ChosenTrial, manifest: dict[str, Any], hub_id: str | None, written_by: dict[str, Any], merged: bool,
    *, licence: str, fused_without_biases: bool,
) -> str:  # fmt: skip
    """Return the Markdown text of README.md.

    ``manifest`` is the content of tunekit.json. ``hub_id`` is the id of the pretrained model on the hub, None where it
    has none. ``written_by`` is the source code that exported the model. ``merged`` says whether an update was merged,
    ``licence`` is that of data that is not registered, empty where it is not known, and ``fused_without_biases`` says
    whether the model's queries, keys and values are one module that has no biases.
    """
    spec, kind = chosen.trial.spec, manifest["kind"]
    method = f"{slug(spec.method)}{', merged' if merged else ''}"
    task = task_of(spec.dataset)
    head = [f"library_name: {LIBRARY_NAMES[kind]}", f"pipeline_tag: {PIPELINES[task.head_class]}", "license: unknown"]
    head += [f"base_model: {hub_id}"] if hub_id else []
    data = DATASETS[spec.dataset].licence if spec.dataset in DATASETS else licence or "that of the owner's own file"
    return (
        "\n\n".join(
            [
                "\n".join(["---", *head, "---"]),
                f"# {slug(spec.model)} · {slug(spec.dataset)} · {method}",
                f"{task.described.format(count=len(manifest['label_names']))}, trained and exported by tunekit: "
                f"seed {spec.seed}, weights after epoch {chosen.epoch} of {spec.epochs}.",
                "## Use",
                "In this folder:",
                f"```python\n{_code(manifest, hub_id, task, fused_without_biases)}\n```",
                "Or `tunekit predict . FILE`, which does it for the rows of a CSV, JSON Lines, Parquet or text file.",
                _input(manifest),
                "## Scores",
                _scores(chosen),
                _protocol(chosen),
                "## Labels and training",
                _fenced(_training(manifest)),
                "## Made with",
                _fenced(_provenance(chosen.trial, written_by)),
                "## Licence",
                f"Unknown: nobody has said under which licence these weights may be used. The data's licence: {data}. "
                "That of the pretrained model holds too.",
            ]
        )
        + "\n"
    )


def _training(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the names of the outputs, the constants where the task has some, and the spec."""
    constants = {"constants": manifest["constants"]} if manifest.get("constants") else {}
    return {"labels": dict(enumerate(manifest["label_names"])), **constants, "spec": manifest["spec"]}


def _code(manifest: dict[str, Any], hub_id: str | None, task: Task, fused_without_biases: bool) -> str:
    """Return the Python code that loads the model and prints its prediction for a text."""
    kind, count = manifest["kind"], len(manifest["label_names"])
    if manifest["has_base"]:
        base = '"base"'
    else:
        base = f'"{hub_id}", revision="{manifest["revision"]}", num_labels={count}, use_safetensors=True'
    auto = f"AutoModel{task.head_class}"
    loaded = [] if kind == "whole" else [f"base = {auto}.from_pretrained({base})"]
    if kind == "adapters":
        loaded += ["adapters.init(base)", *(WITHOUT_BIASES if fused_without_biases else ())]
    arguments = '"a text".split(), is_split_into_words=True' if task.of_words else '"a text"'
    if manifest["pairs"]:
        arguments = '"a text" + tokenizer.sep_token + "its pair"' if manifest["pair_as"] == "sep_token" else (
            '"a text", "its pair"'
        )  # fmt: skip
    return "\n".join(
        [
            "import json",
            f"{IMPORTS[kind]}from transformers import {auto}, AutoTokenizer",
            "",
            'manifest = json.load(open("tunekit.json", encoding="utf-8"))',
            'tokenizer = AutoTokenizer.from_pretrained(".")',
            *loaded,
            LOADING_LINES[kind].format(auto=auto),
            f"length = min({manifest['spec']['max_length']}, tokenizer.model_max_length)",
            f'inputs = tokenizer({arguments}, truncation=True, max_length=length, return_tensors="pt")',
            "logits = model(**inputs).logits",
            *task.reading,
        ]
    )


def _input(manifest: dict[str, Any]) -> str:
    """Return a sentence that says what an input is."""
    if not manifest["pairs"]:
        return "An input is one text."
    restaurant = " (Restaurant: the aspect, then its sentence)" if manifest["spec"]["dataset"] == "restaurant" else ""
    return f"An input is two texts{restaurant}."


def _scores(chosen: ChosenTrial) -> str:
    """Return a table with a row for each metric that the task reports.

    It shows the score of the exported trial, and the mean ± sample standard deviation over the cell's completed seeds.
    """
    count = len(chosen.cell_trials)
    seeds = f"{count} seeds" if count == chosen.num_requested else f"{count} of {chosen.num_requested} seeds"
    task = task_of(chosen.trial.spec.dataset)
    metrics = [task.metric(name) for name in task.reported]
    unit = "percent" if all(metric.unit == "%" for metric in metrics) else "score"
    lines = [f"| {unit} | seed {chosen.trial.spec.seed} | mean ± std, {seeds} |", "|---|---|---|"]
    for split, split_name in SPLITS:
        for metric in metrics:
            score = _score(chosen.trial, chosen.epoch_rule, f"{split}_{metric.name}")
            scores = [_score(trial, chosen.epoch_rule, f"{split}_{metric.name}") for trial in chosen.cell_trials]
            values = [value for value in scores if value is not None]
            if score is not None and len(values) == count:
                spread = [stdev(values)] if count > 1 else []
                own, *over_seeds = metric.numbers(score, mean(values), *spread)
                lines.append(f"| {split_name} {metric.label} | {own} | {' ± '.join(over_seeds)} |")
    return "\n".join(lines)


def _score(trial: CompletedTrial, epoch_rule: str, name: str) -> float | None:
    """Return the score ``name`` of the epoch that ``epoch_rule`` names, of the last epoch where there are fewer."""
    epoch = min(epoch_of(trial, epoch_rule), len(trial.epochs))
    return trial.epochs[epoch - 1].score(name)


def _protocol(chosen: ChosenTrial) -> str:
    """Return sentences on the epoch, the seed and the splits of the scores."""
    summary = chosen.trial.summary
    rule = EPOCH_RULES.get(chosen.epoch_rule, f"epoch {chosen.epoch_rule}")
    if chosen.epoch_rule == "best" and summary.best_epoch is None:
        rule = "the last epoch (there is no validation part)"
    scored = "Test was scored, and chose nothing." if chosen.trial.spec.score_test else "Test was not scored."
    validation = (
        "The validation scores of a seed that was chosen on validation are optimistic."
        if "validation" in chosen.reason
        else ""
    )
    return (
        f"Of each seed {rule}; std is the sample standard deviation over seeds. Seed {chosen.trial.spec.seed}: "
        f"{chosen.reason}. {scored} {validation}".strip()
    )


def _provenance(trial: CompletedTrial, written_by: dict[str, Any]) -> dict[str, Any]:
    """Return the versions of everything that the trial was trained and exported with."""
    provenance = trial.summary.provenance
    return {
        "trial_id": trial.spec.trial_id,
        "fingerprint": vars(trial.fingerprint),
        "commit": provenance.get("commit"),
        "source_hash": provenance.get("source_hash"),
        "versions": provenance.get("versions"),
        "execution": trial.summary.execution,
        "exported_by": written_by,
    }


def _fenced(content: dict[str, Any]) -> str:
    """Return ``content`` as JSON in a fenced block."""
    return f"```json\n{json.dumps(content, indent=1)}\n```"
