"""The options that a Python caller gives by name."""

import pytest

from tunekit.commands.checks import resources_of
from tunekit.errors import UserError
from tunekit.planning.options import RunOptions, options_from


def test_options_are_those_of_the_command():
    assert options_from({}) == RunOptions()
    options = options_from({"trials_per_device": 2, "track": "mlflow", "keep_models": "best", "max_concurrent": None})
    assert options == RunOptions(trials_per_device="2", track=("mlflow",), keep_models="best")
    assert resources_of(options).trials_per_device == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_concurent": 1}, "did you mean 'max_concurrent'"),
        ({"max_concurrent": "two"}, "max_concurrent must be a finite number, got 'two'"),
        ({"cpus_per_trial": None}, "cpus_per_trial must be"),
        ({"pack": 1.5}, "pack must be a whole number"),
        ({"retry_failed": "no"}, "retry_failed must be true or false"),
        ({"trials_per_device": 1.5}, "trials_per_device must be a whole number from 1 or 'auto'"),
        ({"trials_per_device": None}, "trials_per_device must be"),
        ({"keep_models": "bst"}, "keep_models must be one of none, last, best, all, got 'bst'"),
        ({"keep_models": ["best"]}, "keep_models must be one of"),
        ({"track": 1}, "track must be the name of a tracker"),
        ({"track": (1,)}, "track must be the name of a tracker"),
    ],
)
def test_a_value_of_another_type_is_refused_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as refused:
        options_from(values)
    assert "\n" not in str(refused.value)
