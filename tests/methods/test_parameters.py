"""Values of hyperparameters: those of a field's type, however they are given, and no others."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import complete_params


@dataclass(frozen=True, kw_only=True)
class OfEachKind:
    count: int = 1
    share: float = 0.5
    on: bool = False
    names: str = "a,b"

    display_name: ClassVar[str] = "Of each kind"
    learning_rate: ClassVar[float] = 1e-3


@pytest.fixture(autouse=True, scope="module")
def registered():
    METHODS.register("of-each-kind")(OfEachKind)
    yield
    METHODS.remove("of-each-kind")


def completed(**given):
    return complete_params("of-each-kind", given)


@given(count=st.integers(-(2**62), 2**62), share=st.floats(allow_nan=False, allow_infinity=False), on=st.booleans())
def test_a_value_and_its_text_are_one(count, share, on):
    values = {"count": count, "share": share, "on": on, "names": "a,b"}
    texts = {"count": str(count), "share": repr(share), "on": str(on).lower(), "names": " a , b"}
    assert completed(**values) == completed(**texts) == values
    assert [type(value) for value in completed(**texts).values()] == [int, float, bool, str]


WRONG = {
    "count": [True, "true", 1.5, "1.5", "1e3", "1_000", "", " 1", "0x10", "１", None, [1], float("inf"), float("nan")],
    "share": [True, "true", "1_0.5", "", "0,5", "half", "nan", "inf", None, [0.5], float("nan")],
    "on": [0, 1, 1.0, "True", "yes", "on", "1", "", "false ", None, [True]],
    "names": [True, 1, 0.5, None, ["a", "b"]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_value_of_another_type_is_refused_by_name(name, value):
    with pytest.raises(UserError, match=f"method 'of-each-kind': {name} takes ") as refused:
        completed(**{name: value})
    assert "\n" not in str(refused.value)
