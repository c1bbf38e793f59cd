"""All that knows Ray. This file alone sets what Ray reads while it is imported, and changes what Ray does inside.

Python imports a package before its modules, so no module of ``tunekit.runner`` can import Ray before this has run.
"""

import logging
import os

from tunekit.errors import first_line

# uv would have Ray ship the working directory to its workers.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# A worker stays in its folder: paths that a user gave are relative to it.
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Tune would take the first Ctrl-C for itself.
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
# Tune's new output engine would print tables beside ours.
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
# We say in one line why an attempt failed; Tune keeps the traceback in its own folder.
os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"
if not os.environ.get("RAY_ADDRESS"):
    # The node's address is then the loopback one, so that no port of a Ray that we start is seen from outside.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

from ray.exceptions import RayActorError  # noqa: E402
from ray.tune.execution import class_cache  # noqa: E402
from ray.tune.execution.tune_controller import TuneController  # noqa: E402
from ray.tune.experiment import Trial  # noqa: E402

# Tune would hand secrets to each trial by way of a log that everyone on the machine can read; no trial needs them.
_SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
_FOR_TRIALS = frozenset(class_cache.ENV_VARS_TO_PROPAGATE - _SECRETS)
class_cache.DEFAULT_ENV_VARS = {}


def pass_environment(*, inherited: bool) -> None:
    """Have Tune name this process's settings to the processes of trials, unless they have ``inherited`` them.

    Ray gives a process that it has started in advance only to an actor that names no environment variables.
    """
    class_cache.ENV_VARS_TO_PROPAGATE = set() if inherited else set(_FOR_TRIALS)


pass_environment(inherited=False)


def in_one_line(record: logging.LogRecord) -> bool:
    """Put an error's first line in the place of its traceback. Return True: as a logging filter this drops nothing."""
    if record.exc_info and isinstance(record.exc_info[1], Exception):
        record.msg, record.args = f"{record.getMessage().rstrip(': ')}: {first_line(record.exc_info[1])}", None
        record.exc_info = None
    return True


# These loggers tell with a traceback that Tune can't write its own state (a full disk, say), which we never read.
for _module in (
    "ray.tune.execution.experiment_state",
    "ray.tune.execution.tune_controller",
    "ray.train._internal.storage",
):
    logging.getLogger(_module).addFilter(in_one_line)

_trial_task_failure = TuneController._trial_task_failure


def _retry_unbegun_trial(controller: TuneController, trial: Trial, exception: Exception) -> None:
    """Replace Tune's method: a trial is retried, too, when the actor that it was to re-use fails before it has begun.

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
