"""Start or join Ray, with the settings that a sweep needs; and stop it."""

import os
from dataclasses import dataclass

# Ray reads these at import: uv would ship the working directory, Tune would swallow the first Ctrl-C and, in its new
# output engine, print tables beside ours; a failed attempt is one line of ours, its traceback lies in Tune's folder.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"

import ray  # noqa: E402

OBJECT_STORE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Session:
    """A connection to Ray."""

    dashboard: str | None
    """Address of the dashboard, None where it does not run."""
    num_cpus: float
    num_gpus: float
    ours: bool
    """Whether we started this Ray and so stop it."""


def connect() -> Session:
    """Join the cluster of ``RAY_ADDRESS`` or one this process is connected to, else start Ray on this machine.

    A Ray started here listens on loopback only; trials exchange no large objects, so its store is small.
    """
    ours = False
    if ray.is_initialized():
        url = None
    elif os.environ.get("RAY_ADDRESS"):
        url = ray.init(log_to_driver=False, logging_level="ERROR").dashboard_url
    else:
        ours = True
        url = ray.init(
            address="local",
            log_to_driver=False,
            logging_level="ERROR",
            dashboard_host="127.0.0.1",
            object_store_memory=OBJECT_STORE_BYTES,
        ).dashboard_url
    resources = ray.cluster_resources()
    dashboard = f"http://{url}" if url else None
    return Session(dashboard, resources.get("CPU", 0.0), resources.get("GPU", 0.0), ours)


def disconnect(session: Session) -> None:
    """Stop a Ray that ``connect`` started."""
    if session.ours:
        ray.shutdown()
