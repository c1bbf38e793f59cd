"""What Ray says is at most a line."""

import io
import logging

import pytest

from tunekit.runner import in_one_line


@pytest.mark.parametrize("name", ["ray.tune.execution.experiment_state", "ray.tune.execution.tune_controller"])
def test_what_tune_can_not_write_of_its_own_is_one_line(name):
    logger, said = logging.getLogger(name), io.StringIO()
    assert in_one_line in logger.filters
    handler = logging.StreamHandler(said)
    logger.addHandler(handler)
    try:
        raise OSError(28, "No space left on device: 100 %")
    except OSError:
        logger.exception("Saving %s failed with exception: ", "state")
    finally:
        logger.removeHandler(handler)
    assert said.getvalue() == "Saving state failed with exception: [Errno 28] No space left on device: 100 %\n"
