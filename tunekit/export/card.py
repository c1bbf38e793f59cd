"""The model card of an export: README.md with the cell's statistics, the seed and the protocol. Standard library only.

Names that others chose stand as slugs or as JSON in a fenced block, so that none is markup.
"""

import json
from statistics import mean, stdev
from typing import Any

from tunekit.data.base import DATASETS
from tunekit.export.which_trial import ChosenTrial, epoch_of
from tunekit.schema import slug
from tunekit.store.records import StoredTrial

METRICS = (("accuracy", "accuracy"), ("macro_f1", "macro-F1"))
SPLITS = (("val", "validation"), ("test", "test"))
RULES = {"best": "the best epoch on validation", "last": "the last epoch"}
ENDING = {
    "whole": 'model = AutoModelForSequenceClassification.from_pretrained(".").eval()',
    "peft": 'model = PeftModel.from_pretrained(base, ".").eval()',
    "adapters": 'adapters.init(base)\nbase.load_adapter(".", use_safetensors=True, set_active=True)\n'
    "model = base.eval()",
}
LIBRARIES = {"whole": "transformers", "peft": "peft", "adapters": "adapters"}
IMPORTS = {"whole": "", "peft": "from peft import PeftModel\n", "adapters": "import adapters\n"}


def card(
    chosen: ChosenTrial, manifest: dict[str, Any], hub_id: str | None, written_by: dict[str, Any], merged: bool
) -> str:
    """The Markdown of README.md; ``manifest`` as in tunekit.json, ``written_by`` is the commit that exported."""
    spec, kind = chosen.trial.spec, manifest["kind"]
    method = f"{slug(spec.method)}{', merged' if merged else ''}"
    head = [f"library_name: {LIBRARIES[kind]}", "pipeline_tag: text-classification", "license: unknown"]
    head += [f"base_model: {hub_id}"] if hub_id else []
    data = DATASETS[spec.dataset].licence if spec.dataset in DATASETS else "that of the owner's own file"
    return (
        "\n\n".join(
            [
                "\n".join(["---", *head, "---"]),
                f"# {slug(spec.model)} · {slug(spec.dataset)} · {method}",
                f"A text classifier of {len(manifest['label_names'])} classes, trained and exported by tunekit: "
                f"seed {spec.seed}, weights after epoch {chosen.epoch} of {spec.epochs}.",
                "## Use",
                "In this folder:",
                f"```python\n{_code(manifest, hub_id)}\n```",
                "Or `python -m tunekit predict . FILE`, which labels a CSV, JSON Lines, Parquet or text file.",
                _input(manifest),
                "## Scores",
                _scores(chosen),
                _protocol(chosen),
                "## Labels and training",
                _fenced({"labels": dict(enumerate(manifest["label_names"])), "spec": spec.to_dict()}),
                "## Made with",
                _fenced(_provenance(chosen.trial, written_by)),
                "## Licence",
                f"Unknown: nobody has said under which licence these weights may be used. The data's licence: {data}. "
                "That of the pretrained model holds too.",
            ]
        )
        + "\n"
    )


def _code(manifest: dict[str, Any], hub_id: str | None) -> str:
    kind, count = manifest["kind"], len(manifest["label_names"])
    if manifest["has_base"]:
        base = '"base"'
    else:
        base = f'"{hub_id}", revision="{manifest["revision"]}", num_labels={count}, use_safetensors=True'
    loaded = [] if kind == "whole" else [f"base = AutoModelForSequenceClassification.from_pretrained({base})"]
    arguments = '"a text"'
    if manifest["pairs"]:
        arguments = '"a text" + tokenizer.sep_token + "its pair"' if manifest["pair_as"] == "sep_token" else (
            '"a text", "its pair"'
        )  # fmt: skip
    return "\n".join(
        [
            "import json",
            f"{IMPORTS[kind]}from transformers import AutoModelForSequenceClassification, AutoTokenizer",
            "",
            'labels = json.load(open("tunekit.json", encoding="utf-8"))["label_names"]',
            'tokenizer = AutoTokenizer.from_pretrained(".")',
            *loaded,
            ENDING[kind],
            f"length = min({manifest['spec']['max_length']}, tokenizer.model_max_length)",
            f'inputs = tokenizer({arguments}, truncation=True, max_length=length, return_tensors="pt")',
            "logits = model(**inputs).logits",
            "print(labels[logits.argmax().item()], logits.softmax(-1).tolist())",
        ]
    )


def _input(manifest: dict[str, Any]) -> str:
    if not manifest["pairs"]:
        return "An input is one text."
    restaurant = " (Restaurant: the aspect, then its sentence)" if manifest["spec"]["dataset"] == "restaurant" else ""
    return f"An input is two texts{restaurant}."


def _scores(chosen: ChosenTrial) -> str:
    """A row a metric: the exported trial, and mean ± sample standard deviation over the cell's completed seeds."""
    count = len(chosen.alike)
    of = f"{count} seeds" if count == chosen.num_asked else f"{count} of {chosen.num_asked} seeds"
    lines = [f"| percent | seed {chosen.trial.spec.seed} | mean ± std, {of} |", "|---|---|---|"]
    for split, split_name in SPLITS:
        for metric, name in METRICS:
            own = _score(chosen.trial, chosen.rule, f"{split}_{metric}")
            values = [_score(trial, chosen.rule, f"{split}_{metric}") for trial in chosen.alike]
            if own is not None and None not in values:
                spread = f" ± {100 * stdev(values):.2f}" if count > 1 else ""
                lines.append(f"| {split_name} {name} | {100 * own:.2f} | {100 * mean(values):.2f}{spread} |")
    return "\n".join(lines)


def _score(trial: StoredTrial, rule: str, name: str) -> float | None:
    epochs = trial.epochs
    return getattr(epochs[min(epoch_of(trial, rule), len(epochs)) - 1], name)


def _protocol(chosen: ChosenTrial) -> str:
    summary = chosen.trial.summary
    rule = RULES.get(chosen.rule, f"epoch {chosen.rule}")
    if chosen.rule == "best" and summary.best_epoch is None:
        rule = "the last epoch (there is no validation part)"
    scored = "Test was scored, and chose nothing." if chosen.trial.spec.score_test else "Test was not scored."
    validation = (
        "Validation scores of what was chosen on validation are optimistic." if "validation" in chosen.why else ""
    )
    return (
        f"Of each seed {rule}; std is the sample standard deviation over seeds. Seed {chosen.trial.spec.seed}: "
        f"{chosen.why}. {scored} {validation}".strip()
    )


def _provenance(trial: StoredTrial, written_by: dict[str, Any]) -> dict[str, Any]:
    found = trial.summary.provenance
    return {
        "trial_id": trial.spec.trial_id,
        "fingerprint": vars(trial.fingerprint),
        "commit": found.get("commit"),
        "source_hash": found.get("source_hash"),
        "versions": found.get("versions"),
        "execution": trial.summary.execution,
        "exported_by": written_by,
    }


def _fenced(content: dict[str, Any]) -> str:
    return f"```json\n{json.dumps(content, indent=1)}\n```"
