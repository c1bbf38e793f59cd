"""Trials that differ in all that members of a pack may differ in, and how they are trained and compared."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.support.trial import without_dropout
from tests.support.trials import build, specify
from tunekit.engine.member import Member
from tunekit.engine.train import Pack
from tunekit.methods import METHODS
from tunekit.schema import TrialSpec

CPU = torch.device("cpu")
SETTINGS = (
    {"seed": 1, "learning_rate": 1e-3},
    {"seed": 2, "learning_rate": 5e-3, "weight_decay": 0.1},
    {"seed": 3, "learning_rate": 2e-3, "warmup_ratio": 0.1},
)
"""What the three members of a pack are trained with."""
WIDTHS = ({"reduction_factor": 2}, {"reduction_factor": 8}, {"reduction_factor": 4})
PARAMS: dict[str, Sequence[dict[str, object]]] = {
    "adapter": WIDTHS,
    "pfeiffer": WIDTHS,
    "parallel": WIDTHS,
    "lora": ({"r": 2}, {"r": 8, "lora_alpha": 32}, {"r": 4, "lora_alpha": 4}),
    "lora_plus": ({"r": 2}, {"r": 8, "ratio": 4.0}, {"r": 4, "ratio": 1.0}),
    "pissa": ({"r": 4}, {"r": 4}, {"r": 4}),
    "rslora": ({"r": 2}, {"r": 8, "lora_alpha": 4}, {"r": 4, "lora_alpha": 4}),
}
"""The hyperparameters of the three members, by method; those that are not here have none."""
PACKED = [name for name in METHODS if not any(hasattr(METHODS[name], reason) for reason in ("padded", "single"))]
"""The methods that train in packs."""


def specs_of(method: str, **common: object) -> list[TrialSpec]:
    """Members that differ in all that members may differ in."""
    fields = {"dataset": "demo", "batch_size": 8, "train_limit": 76, "epochs": 5, **common}
    params = PARAMS.get(method, ({}, {}, {}))
    rates = {"full": 0.2}.get(method, 1.0)  # rates of full fine-tuning are smaller
    settings = [{**one, "learning_rate": rates * one["learning_rate"]} for one in SETTINGS]
    return [
        specify(method=method, method_params=own, **fields, **setting)
        for own, setting in zip(params, settings, strict=True)
    ]


def member_of(spec: TrialSpec, *, dropout: bool = True, dtype: torch.dtype = torch.float32) -> Member:
    prepared, model = build(spec)
    model = model.to(dtype) if dropout else without_dropout(model).to(dtype)
    return Member(spec, model, prepared.splits["train"], CPU)


def train(members: Sequence[Member], epochs: int, make: Callable[[Sequence[Member]], Pack] = Pack) -> np.ndarray:
    """Losses (members, steps) over ``epochs`` of the pack that ``make`` makes."""
    pack = make(members)
    losses = [[epoch.losses for epoch in pack.train_epoch()] for _ in range(epochs)]
    pack.close()
    return np.concatenate(losses, axis=1)


def apart(one: Member, other: Member) -> float:
    """Largest difference of two members' weights and moments."""
    found = []
    for (name, p), (_, q) in zip(one.model.named_parameters(), other.model.named_parameters(), strict=True):
        found.append((p - q).detach().abs().max())
        if p.requires_grad:
            assert p.is_contiguous(), name
            found += [
                (getattr(one.trained[name], moment) - getattr(other.trained[name], moment)).abs().max()
                for moment in ("first", "second")
            ]
    assert one.step == other.step
    return float(torch.stack(found).max())


def check_packs(
    specs: Sequence[TrialSpec], make: Callable[[Sequence[Member]], Pack] = Pack, *, moved: float = 0.005
) -> None:
    """Check that trials give in a pack the losses and weights that each gives alone, over two epochs, in float64.

    The losses of each trial have to differ by more than ``moved``. In float32 the same sums in another order differ,
    and AdamW makes of a gradient that is nothing but rounding a step as large as any: MiniLM's weights are 1e-3 apart
    after four steps then. Learning rates are float32 on a device and float64 on the host, which is what the bounds
    leave.
    """
    packed, alone = ([member_of(spec, dropout=False, dtype=torch.float64) for spec in specs] for _ in range(2))
    found = train(packed, 2, make)
    expected = np.concatenate([train([member], 2) for member in alone])
    assert np.ptp(expected, axis=1).min() > moved, "losses that never move would agree with anything"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert max(apart(*pair) for pair in zip(packed, alone, strict=True)) < 1e-6
