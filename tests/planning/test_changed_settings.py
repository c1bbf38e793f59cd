"""A plan shows every setting of a trial that is not at its default, and shows each once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.methods import METHODS
from tunekit.methods.base import complete_params
from tunekit.planning.changed_settings import HEAD, changed_settings
from tunekit.schema import TrialSpec
from tunekit.store.requests import cell_names

SETTINGS = {
    "learning_rate": (1e-3, 2e-3),
    "batch_size": (32, 8),
    "epochs": (10, 3),
    "train_limit": (None, 40),
    "class_weights": ("none", "balanced", "yes=2"),
    "label_smoothing": (0.0, 0.1),
    "lr_schedule": ("linear", "cosine"),
    "patience": (None, 2),
}


def plain(method: str, **changes: object) -> TrialSpec:
    """A spec whose settings are at their default but for ``changes``."""
    return TrialSpec(
        **{
            "model": "tiny-bert",
            "dataset": "demo",
            "method": method,
            "seed": 1,
            "learning_rate": METHODS[method].learning_rate,
            "method_params": complete_params(method, {}),
            **changes,
        }
    )


@st.composite
def sweeps(draw):
    """Some specs: settings shared by all, by a method, or had by one alone."""
    made = []
    shared = draw(st.fixed_dictionaries({}, optional={name: st.sampled_from(v) for name, v in SETTINGS.items()}))
    for _ in range(draw(st.integers(1, 6))):
        own = draw(st.fixed_dictionaries({}, optional={name: st.sampled_from(v) for name, v in SETTINGS.items()}))
        method = draw(st.sampled_from(("full", "lora", "head")))
        changes = {**shared, **own, "model": draw(st.sampled_from(("tiny-bert", "tiny-roberta")))}
        if method == "lora":
            changes["method_params"] = complete_params("lora", {"r": draw(st.sampled_from((8, 16)))})
        made.append(plain(method, **changes))
    return made


@pytest.mark.slow
@given(sweeps())
def test_every_changed_setting_is_shown_once(specs):
    names, lines = cell_names(specs), changed_settings(specs)
    shown: dict[str, list[str]] = {}
    for line in lines[1:]:
        group, _, settings = line.strip().rpartition(": ")
        assert group not in shown
        shown[group] = settings.split(", ")
    for spec in specs:
        default = plain(spec.method, model=spec.model)
        changed = {name: getattr(spec, name) for name in SETTINGS if getattr(spec, name) != getattr(default, name)}
        changed |= {k: v for k, v in spec.method_params.items() if v != default.method_params[k]}
        name = names[spec.cell]
        in_name = set(name.split(", ")[1:])
        said = [one for group in ("all trials", spec.method, name) for one in shown.get(group, ())]
        texts = {f"{key} {value}" for key, value in changed.items()}
        assert len(said) == len(set(said))
        assert set(said) <= texts <= set(said) | in_name
        assert not set(said) & in_name


def test_settings_at_their_default_are_not_shown():
    assert changed_settings([plain("full"), plain("lora")]) == []


def test_what_all_trials_share_comes_first_and_left_out_settings_nowhere():
    specs = [plain("full", epochs=3, learning_rate=1e-4), plain("lora", epochs=3)]
    assert changed_settings(specs) == [HEAD, "  all trials: epochs 3", "  full: learning_rate 1e-4"]
    assert changed_settings(specs, {spec.cell: ("epochs",) for spec in specs}) == [
        HEAD,
        "  full: learning_rate 1e-4",
    ]
