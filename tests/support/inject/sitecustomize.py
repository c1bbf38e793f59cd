"""Faults for the processes of a test, which has this folder on PYTHONPATH; nothing of it is in the product.

FAULT is JSON: at the ``nth`` audit event called ``event`` whose arguments hold ``path``, do ``action``: kill the driver
(the first of these processes), or raise the OSError of that name, for ``count`` events.
"""

import errno
import json
import os
import signal
import sys


def _install(fault):
    seen = 0

    def hook(event, arguments):
        nonlocal seen
        if event != fault["event"] or not any(fault["path"] in str(argument) for argument in arguments):
            return
        seen += 1
        if not fault["nth"] <= seen < fault["nth"] + fault.get("count", 1):
            return
        if fault["action"] == "kill":
            os.kill(int(os.environ["FAULT_DRIVER"]), signal.SIGKILL)
        else:
            number = getattr(errno, fault["action"])
            raise OSError(number, os.strerror(number), str(arguments[0]))

    sys.addaudithook(hook)


os.environ.setdefault("FAULT_DRIVER", str(os.getpid()))
if "FAULT" in os.environ:
    _install(json.loads(os.environ["FAULT"]))
