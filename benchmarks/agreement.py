"""Do packs and Trainer train the same as single trials? Scores over seeds with dropout on, not speed.

MiniLM on Restaurant, a few hundred rows, three methods, ten seeds: each seed alone, all as one pack, and by Hugging
Face's Trainer (P0's settings, its own order and dropout). What is compared is test macro-F1 after the last epoch: the
difference of means with its 90 % Welch interval, the ratio of standard deviations, and the seeds that an interval of
half a width of one point would need. The same spec trained five times, alone and in a pack, is the noise floor.
"""

import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.support.harness import Outcome
from benchmarks.support.trial import Case, case_of, pack_of, prepared_of
from tunekit.engine.member import LabelledSplit
from tunekit.tasks.classification import label_scores

RATES = {"full": 5e-4, "adapter": 2e-3, "lora": 5e-3}
"""So high that a few epochs of a few rows teach every method something."""
ROWS, EPOCHS, BATCH_SIZE, SEEDS = 128, 3, 16, 10
EVERY = 3
"""Of the test part every third row is scored: the whole run is to end within 20 minutes on two cores."""
FLOOR = 5
"""Times that one spec is trained."""
CONFIDENCE = 0.9
HALF_WIDTH_POINTS = 1.0


def run(quick: bool) -> Outcome:
    """Figures by method; no ratios."""
    model, rows, seeds = ("tiny-bert", 32, 3) if quick else ("minilm", ROWS, SEEDS)
    figures: dict[str, Any] = {
        "model": model, "dataset": "restaurant", "rows": rows, "test rows, one in": EVERY, "epochs": EPOCHS,
        "batch_size": BATCH_SIZE, "seeds": seeds, "precision": "fp32", "learning rates": RATES,
    }  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        for method in RATES:
            cases = [_case(model, method, rows, seed) for seed in range(1, seeds + 1)]
            again = [cases[0]] * FLOOR
            packed = pool.submit(of_pack, cases)
            packed_again = pool.submit(of_pack, again)
            alone = list(pool.map(of_pack, [[case] for case in [*cases, *again[1:]]]))
            peer = list(pool.map(of_trainer, cases))
            single = [found for [found] in alone[:seeds]]
            figures[method] = {
                "single": single, "packed": packed.result(), "trainer": peer,
                "packed less single": compared(packed.result(), single),
                "single less trainer": compared(single, peer),
                "largest difference of a seed, packed and single":
                    100 * max(abs(a - b) for a, b in zip(packed.result(), single, strict=True)),
                "noise floor": {
                    "single": spread([single[0], *(found for [found] in alone[seeds:])]),
                    "packed": spread(packed_again.result()),
                },
            }  # fmt: skip
            sys.stderr.write(f"{method}: {figures[method]}\n")
    return Outcome(figures=figures)


def _case(model: str, method: str, rows: int, seed: int) -> Case:
    case = case_of(model, "restaurant", method, rows=rows, seed=seed, batch_size=BATCH_SIZE, epochs=EPOCHS)
    return replace(case, spec=replace(case.spec, learning_rate=RATES[method]))


def of_pack(cases: Sequence[Case]) -> list[float]:
    """Test macro-F1 in [0, 1] of each case, trained as one pack."""
    pack = pack_of(cases)
    for _ in range(EPOCHS):
        pack.train_epoch()
    return [_macro_f1(cases[0], logits) for logits in pack.predict(_scored(cases[0]))]


def of_trainer(case: Case) -> float:
    """Test macro-F1 in [0, 1] after Hugging Face's Trainer."""
    from transformers import PrinterCallback, Trainer

    from benchmarks.support.peers import PEERS, Rows, options_of

    with TemporaryDirectory() as folder:
        trainer = Trainer(**options_of(PEERS["p0"], case, output_dir=folder))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return _macro_f1(case, trainer.predict(Rows(_scored(case))).predictions)


def _macro_f1(case: Case, logits: np.ndarray) -> float:
    return label_scores(_scored(case).labels, logits.argmax(axis=1), len(prepared_of(case).data.label_names))[
        "macro_f1"
    ]


def _scored(case: Case) -> LabelledSplit:
    test = prepared_of(case).splits["test"]
    return test.subset(np.arange(0, len(test), EVERY))


def compared(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Difference of means in points with its interval, the ratio of standard deviations, and the seeds needed."""
    found = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(CONFIDENCE)
    deviations = [float(np.std(part, ddof=1)) for part in (ours, theirs)]
    quantile = stats.norm.ppf((1 + CONFIDENCE) / 2)
    return {
        "points": 100 * (float(np.mean(ours)) - float(np.mean(theirs))),
        "low": 100 * float(found.low),
        "high": 100 * float(found.high),
        "ratio of standard deviations": deviations[0] / deviations[1],
        "seeds needed for half a width of one point": math.ceil(
            (quantile * 100 / HALF_WIDTH_POINTS) ** 2 * sum(one**2 for one in deviations)
        ),
    }


def spread(found: Sequence[float]) -> float:
    """Largest less smallest, in points."""
    return 100 * (max(found) - min(found))


def _one_thread() -> None:
    torch.set_num_threads(1)
