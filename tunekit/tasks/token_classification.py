"""A tag for each word of a text, which mark entities (BIO): trained by cross-entropy, chosen by entity F1.

The first token of a word carries its tag. Further tokens of the word do not count. A word may not have been read, since
its text was cut to the maximum length or the tokenizer gives no token for it. It has the logits 0 and so the first tag,
``O``: an entity there is missed, and no trial is scored on fewer words than another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.schema import Direction
from tunekit.tasks.base import IGNORED, TASKS, Constants, Metric, Task
from tunekit.tasks.bio import types_of
from tunekit.tasks.entity_scores import tallies

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Array = npt.NDArray[Any]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy (N,) of each token, for (N, C) logits and (N,) tags; 0 for a token without one."""
    from torch.nn import functional as F

    return F.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)


def targets(labels: Sequence[Array], constants: Constants) -> Array:
    """Return the tags of all words, text by text, as int64."""
    import numpy as np

    return np.concatenate(labels).astype(np.int64)


def predicted(outputs: Sequence[Array], constants: Constants) -> list[Array]:
    """Return the tag with the largest logit of each word, for each text int32 (words,)."""
    import numpy as np

    return [np.argmax(of_text, axis=1).astype(np.int32) for of_text in outputs]


def scores(
    labels: Sequence[Array], outputs: Sequence[Array], constants: Constants, label_names: Sequence[str]
) -> dict[str, float]:
    """Return the scores of the words' logits, for each text (words, C), against its tags (words,).

    The loss is the mean cross-entropy over words, and accuracy the share of words whose tag is predicted. Precision,
    recall and F1 are of entities, as ``seqeval`` counts them by default: one is found where its type and its words are.
    ``f1_X`` is the F1 of the entities of type X. A score without any entity to count is 0.
    """
    import numpy as np
    import torch
    from torch.nn import functional as F

    logits, tags = torch.from_numpy(np.concatenate(outputs)).double(), torch.from_numpy(targets(labels, constants))
    names = np.asarray(label_names, dtype=object)
    gold, found = ([names[one].tolist() for one in texts] for texts in (labels, predicted(outputs, constants)))
    types = types_of(label_names)
    counts = tallies(gold, found, types).sum(axis=0)  # (3, T): found, gold and predicted entities
    hits, num_gold, num_predicted = counts.sum(axis=1)
    by_type = zip(types, f1_of(counts), strict=True)
    return {
        "loss": float(F.cross_entropy(logits, tags)),
        "accuracy": float((logits.argmax(1) == tags).double().mean()),
        "precision": float(hits / max(1, num_predicted)),
        "recall": float(hits / max(1, num_gold)),
        "entity_f1": float(f1_of(counts.sum(axis=1, keepdims=True))[0]),
        **{f"f1_{kind}": float(value) for kind, value in by_type},
    }


def f1_of(counts: Array) -> Array:
    """Return the F1 (...) of found, gold and predicted entities (3, ...); 0 where there are none."""
    import numpy as np

    hits, sizes = counts[0], counts[1] + counts[2]
    found: Array = np.divide(2.0 * hits, sizes, out=np.zeros(np.shape(sizes)), where=sizes > 0)
    return found


def answers(outputs: Sequence[Array], constants: Constants, label_names: Sequence[str]) -> dict[str, list[str]]:
    """Return the tags of each text, one for each of its words, with a space between."""
    return {"tags": [" ".join(label_names[tag] for tag in tags) for tags in predicted(outputs, constants)]}


TASKS.register("token_classification")(
    Task(
        name="token_classification",
        head_class="ForTokenClassification",
        metrics=(
            Metric(name="loss", label="loss", direction=Direction.MIN, bounds=(0.0, None)),
            Metric(name="accuracy", label="accuracy of words", direction=Direction.MAX, unit="%", bounds=(0.0, 1.0)),
            Metric(name="precision", label="precision", direction=Direction.MAX, unit="%", bounds=(0.0, 1.0)),
            Metric(name="recall", label="recall", direction=Direction.MAX, unit="%", bounds=(0.0, 1.0)),
            Metric(name="entity_f1", label="entity F1", direction=Direction.MAX, unit="%", bounds=(0.0, 1.0)),
        ),
        primary="entity_f1",
        reported=("precision", "recall", "entity_f1"),
        loss=cross_entropy,
        scores=scores,
        predicted=predicted,
        answers=answers,
        described="A tagger of words with {count} tags, which mark entities (BIO)",
        reading=(
            "# The first token of each word carries its tag.",
            'words, names = inputs.word_ids(), manifest["label_names"]',
            "for place, word in enumerate(words):",
            "    if word is not None and word not in words[:place]:",
            "        print(word, names[logits[0, place].argmax().item()])",
        ),
        form="tags",
        stored_as=None,
        targets=targets,
    )
)
