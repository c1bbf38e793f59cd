"""Changes inside Ray Tune, for the driver that runs it. Importing this module makes them."""

import logging
import sys
from typing import Any

from ray.air._internal import usage
from ray.exceptions import RayActorError
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from tunekit.errors import first_line

# Tune would hand secrets to each trial by way of a log that everyone on the machine can read; no trial needs them.
_SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
_FOR_TRIALS = frozenset(class_cache.ENV_VARS_TO_PROPAGATE - _SECRETS)
class_cache.DEFAULT_ENV_VARS = {}


def pass_environment(*, inherited: bool) -> None:
    """Have Tune name this process's settings to the trials' processes, unless these have ``inherited`` them.

    Ray gives a process that it has started in advance only to an actor that names no environment variables.
    """
    class_cache.ENV_VARS_TO_PROPAGATE = set() if inherited else set(_FOR_TRIALS)


pass_environment(inherited=False)


def load_event_writer() -> None:
    """Import tensorboardX, by which Tune writes TensorBoard's events, without torch.

    It would import torch for an annotation, which takes a driver longer than all else.
    """
    modules: dict[str, Any] = sys.modules
    if "torch" in modules:
        return
    modules["torch"] = None  # importing torch then raises ImportError, which tensorboardX expects
    try:
        import tensorboardX  # noqa: F401
    finally:
        del modules["torch"]


load_event_writer()

# Tune would import each tracker's library that is installed, a second or more, to count callbacks for a statistic.
setattr(usage, "tag_callbacks", lambda callbacks: False)  # noqa: B010  (types forbid the assignment)


def in_one_line(record: logging.LogRecord) -> bool:
    """Replace an error's traceback by its first line. Return True: as a logging filter this drops no record."""
    if record.exc_info and isinstance(record.exc_info[1], Exception):
        record.msg, record.args = f"{record.getMessage().rstrip(': ')}: {first_line(record.exc_info[1])}", None
        record.exc_info = None
    return True


# These loggers show a traceback where Tune can't write its own state (a full disk, say), which we never read.
for _module in (
    "ray.tune.execution.experiment_state",
    "ray.tune.execution.tune_controller",
    "ray.train._internal.storage",
):
    logging.getLogger(_module).addFilter(in_one_line)

_trial_task_failure = TuneController._trial_task_failure


def _retry_unbegun_trial(controller: TuneController, trial: Trial, exception: Exception) -> None:
    """Replace Tune's method, so that a trial is retried when the actor that it was to re-use fails before it begins.

    Tune would count the death of such an actor twice, the second time with the trial queued again, and give it up.
    """
    if trial in controller._resetting_trials and trial.status == Trial.PENDING:
        controller._resetting_trials.remove(trial)
        if isinstance(exception, RayActorError):
            return  # Tune heard of the actor's death just before, and has queued the trial again
        controller._unstage_trial_with_resources(trial)
        controller._set_trial_status(trial, Trial.RUNNING)
    _trial_task_failure(controller, trial, exception)


setattr(TuneController, "_trial_task_failure", _retry_unbegun_trial)  # noqa: B010  (types forbid the assignment)
