"""What must hold for every task with every method: resumed bits, packs, an exported model that predicts the same."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from tests.support.packs import PACKED, apart, member_of, train
from tests.support.runs import begin, finish, numbers
from tests.support.trials import specify
from tunekit.data.base import DATASETS
from tunekit.errors import UserError
from tunekit.export.export import Request, export
from tunekit.export.loading import load_exported
from tunekit.export.which_trial import choose_trial
from tunekit.methods import METHODS
from tunekit.tasks import TASKS

pytestmark = pytest.mark.slow

DEMOS = {"classification": "demo", "multi_label": "demo-multi", "regression": "demo-regression"}
"""The generated dataset of each task; a new task needs one."""
every_pair = pytest.mark.parametrize(("task", "method"), list(product(TASKS, METHODS)))


NO_FORMAT = ("prefix",)
"""Methods whose parameters no library's format holds, which ``tunekit export`` says in a line."""


def spec_of(task, method, **changes):
    """Two steps an epoch."""
    return specify(dataset=DEMOS[task], method=method, train_limit=8, batch_size=4, **changes)


def exported_from(folder, spec):
    """The model of the trial in ``folder``/whole, exported and loaded back."""
    names, said = {"model": spec.model, "dataset": spec.dataset, "method": spec.method}, []
    chosen = choose_trial(folder / "whole", names, (), None, "last")
    export(chosen, folder / "whole", Request(folder / "to"), said.append)
    assert any("predicts what the trial recorded" in line for line in said)
    return load_exported(folder / "to")


@every_pair
def test_a_trial_is_resumed_with_equal_bits_and_exported_with_equal_predictions(task, method, tmp_path):
    spec = spec_of(task, method)
    whole = begin(spec, tmp_path / "whole", keep="last")
    finish(whole)
    broken = begin(spec, tmp_path / "broken", keep="last")
    broken.last_checkpoint = -float("inf")  # a checkpoint is due, however short the epoch was
    broken.train_epoch()
    resumed = begin(spec, tmp_path / "broken", keep="last")
    assert len(resumed.records) == 1
    finish(resumed)
    assert numbers(resumed.records) == numbers(whole.records)
    weights = [dict(run.member.model.named_parameters()) for run in (whole, resumed)]
    assert all(torch.equal(parameter, weights[1][name]) for name, parameter in weights[0].items())

    if method in NO_FORMAT:
        with pytest.raises(UserError, match="no library's format holds"):
            exported_from(tmp_path, spec)
        return
    exported, test = exported_from(tmp_path, spec), DATASETS[spec.dataset].load()["test"]
    outputs = exported.outputs(list(test["text"]), list(test["pair"]) if exported.manifest.pairs else None)
    predicted = TASKS[task].predicted(outputs, exported.manifest.constants)
    stored = pd.read_parquet(whole.folder / "predictions.parquet")
    stored = stored[(stored["split"] == "test") & (stored["epoch"] == 2)]
    if task == "multi_label":
        predicted = np.array(["".join(map(str, row)) for row in predicted])
    if task == "regression":
        np.testing.assert_allclose(predicted, stored["predicted"], rtol=1e-4)
    else:
        assert predicted.tolist() == stored["predicted"].tolist()


@pytest.mark.parametrize(("task", "method"), [pair for pair in product(TASKS, PACKED) if pair[0] != "classification"])
def test_packs_give_each_trial_its_own_numbers(task, method):
    """Those of classification are in ``tests/engine/test_packs.py``."""
    specs = [replace(spec_of(task, method), seed=seed, learning_rate=rate) for seed, rate in ((1, 1e-3), (2, 5e-3))]
    packed, alone = ([member_of(spec, dropout=False) for spec in specs] for _ in range(2))
    found = train(packed, 2)
    expected = np.concatenate([train([member], 2) for member in alone])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert max(apart(*pair) for pair in zip(packed, alone, strict=True)) < 1e-4
