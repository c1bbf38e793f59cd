"""The combinations of model, method and task in which contracts are held: those that the plan does not refuse.

A test takes the combinations that show every pair, or every value; the others have the mark ``contracts``, and
``make contracts`` runs them, too.
"""

from collections.abc import Sequence
from functools import cache
from itertools import product

import pytest

from tests.support.combinations import Row, covering
from tests.support.trials import specify
from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.models.catalog import MODELS
from tunekit.models.families import FAMILIES, Family
from tunekit.models.loading import resolve_model
from tunekit.planning.fitting import check_fit, config_of
from tunekit.schema import TrialSpec
from tunekit.tasks import TASKS

DEMOS = {
    "classification": "demo",
    "multi_label": "demo-multi",
    "regression": "demo-regression",
    "token_classification": "demo-tags",
}
"""The generated dataset of each task; a new task needs one."""
SEEDED = [name for name in MODELS if MODELS[name].seeded]
"""The tiny models, which are built from a seed."""
OFFLINE = [name for name in MODELS if MODELS[name].hub_id is None]
"""The models that are here without a network."""


def spec_of(model: str, method: str, task: str, **changes: object) -> TrialSpec:
    """Two steps an epoch, where ``changes`` say nothing else."""
    fields = {"dataset": DEMOS[task], "train_limit": 8, "batch_size": 4, **changes}
    return specify(model=model, method=method, **fields)


def family_of(model: str) -> Family:
    """The family of a registered model."""
    return FAMILIES[MODELS[model].shape.model_type]


@cache
def refusal(model: str, method: str, task: str) -> str | None:
    """The line in which the plan refuses a combination; None where it does not."""
    config = config_of(resolve_model(model))
    assert config is not None
    try:
        check_fit(spec_of(model, method, task), config)
    except UserError as error:
        return str(error)
    return None


def all_of(models: Sequence[str], methods: Sequence[str] = tuple(METHODS)) -> list[Row]:
    """All combinations that the plan does not refuse."""
    return [row for row in product(models, methods, TASKS) if refusal(*row) is None]


def every_combination(
    models: Sequence[str], methods: Sequence[str] = tuple(METHODS), rare: Sequence[str] = (), strength: int = 2
) -> pytest.MarkDecorator:
    """Give a test all combinations. ``make contracts`` alone runs those of the models ``rare``, and of the others those
    that show no further part of ``strength`` values.

    Combinations of a model with pretrained weights have the mark ``model``.
    """
    few = set(covering(all_of([model for model in models if model not in rare], methods), strength))

    def marks(row: Row) -> list[pytest.MarkDecorator]:
        real = [] if row[0] in SEEDED else [pytest.mark.model]
        return real if row in few else [*real, pytest.mark.contracts]

    marked = [pytest.param(*row, marks=marks(row), id="-".join(row)) for row in all_of(models, methods)]
    return pytest.mark.parametrize(("model", "method", "task"), marked)
