"""All code that uses Ray. This file alone sets the environment variables that Ray reads while it is imported.

Python imports a package before its modules, so no module of ``tunekit.runner`` can import Ray before this has run.
"""

import os

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
